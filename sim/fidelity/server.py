"""A measured server as a Scenario, its requests as a log to replay, and what its clients would have seen."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import OmegaConf

from sim.engine.hardware import gpu_named, model_named
from sim.engine.names import gpu_file, model_file, names_fp8
from sim.ledger.audit import audit
from sim.scenario import Scenario, compose_config, parse
from sim.simulate import simulate
from sim.work import Outcome

_FLAGS = (
    "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_blocks", "prefix_caching",
    "async_scheduling", "request_overhead_s", "sampler",
)  # fmt: skip
_PERCENTILES = (50, 90, 99)
_NO_LIMIT = 1_000_000_000


class Sent(NamedTuple):
    """One request of a measured run; `prefix` as in the prefix column of a log."""

    arrived_s: float
    input_tokens: int
    output_tokens: int
    prefix: str = ""


def server(run: dict[str, Any], flags: dict[str, Any], *, engine: str = "vllm", **more: Any) -> Scenario:
    """The Scenario of a run's model, GPU and engine flags; `more` says what it is asked to serve.

    Whatever a run does not state is as in conf/engine/<engine>.yaml. Every request goes to the engine at once: a
    measured server has no queue before its own. Raises ConfigError.
    """
    raw = _base(engine)
    gpu, model = gpu_named(gpu_file(run["gpu"])), model_named(model_file(run["model"]))
    options = raw["engine"] | {k: flags[k] for k in _FLAGS if flags.get(k) is not None}
    options["block_tokens"] = flags.get("block_size") or options["block_tokens"]
    options["tensor_parallel"] = int(run.get("tensor_parallel") or run.get("n_gpus") or 1)
    if "fp8" in str(run.get("dtype")).lower() or names_fp8(run["model"]):
        options["weight_dtype"] = "fp8"
    if "fp8" in str(run.get("kv_dtype")).lower():
        options["kv_dtype"] = "fp8"
    raw |= {"gpu": gpu.model_dump(), "model": model.model_dump(), "engine": options}
    raw["scaling"]["n_replicas"] = int(run.get("replicas") or run.get("data_parallel") or 1)
    raw["queue"] = {"max_requests_per_replica": _NO_LIMIT}
    raw["prices"]["gpu"]["usd_per_gpu_hour"].setdefault(gpu.name, 1.0)  # nobody asks for the bill
    return parse(raw | more)


@cache
def _composed(engine: str) -> Any:
    return compose_config(
        "scaling=always_on", "cold_start=instant", "routing=fleet_only", "api=none", f"engine={engine}"
    )


def _base(engine: str) -> dict[str, Any]:
    return OmegaConf.to_container(_composed(engine), resolve=True)


def write_requests(path: Path, requests: Iterable[Sent]) -> None:
    """A log that `arrivals=replay` reads, in order of time."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Sent._fields)
        writer.writerows(requests)


def played(scenario: Scenario, replication: int = 0) -> dict[str, np.ndarray]:
    """The requests of one run in order of arrival, its books audited."""
    facts = simulate(scenario, replication=replication, measure_peak=False).facts
    audit(facts)
    order = np.lexsort((facts.requests["call_index"], facts.requests["task_id"]))
    return {name: column[order] for name, column in facts.requests.items()}


def seen_by_clients(
    requests: dict[str, np.ndarray], rows: slice = slice(None), makespan_s: float | None = None
) -> dict[str, float]:
    """Metrics of some requests, as load generators define them; latencies over those that finished.

    ITL = (mean E2E - mean TTFT) / (mean output tokens - 1); TPOT the same request by request; rates from the first
    arrival to the last completion, or over `makespan_s`.
    """
    part = {name: column[rows] for name, column in requests.items()}
    part = {name: column[part["outcome"] == Outcome.FINISHED] for name, column in part.items()}
    output = part["output_tokens"]
    if not len(output):
        return {}
    ttft_s, e2e_s = part["first_token_s"] - part["arrived_s"], part["finished_s"] - part["arrived_s"]
    found = _statistics("ttft", ttft_s) | _statistics("e2e", e2e_s)
    if output.mean() > 1:
        found["itl_mean_s"] = float((e2e_s.mean() - ttft_s.mean()) / (output.mean() - 1))
        several = output > 1
        found |= _statistics("tpot", (e2e_s - ttft_s)[several] / (output[several] - 1))
    if makespan_s is None:
        makespan_s = float(part["finished_s"].max() - requests["arrived_s"][rows].min())
    found |= {"makespan_s": makespan_s, "requests_per_s": len(output) / makespan_s}
    found["output_tok_per_s"] = float(output.sum()) / makespan_s
    found["total_tok_per_s"] = float(output.sum() + part["input_tokens"].sum()) / makespan_s
    return found


def _statistics(name: str, values_s: np.ndarray) -> dict[str, float]:
    percentiles = np.percentile(values_s, _PERCENTILES)
    found = {f"{name}_p{p}_s": float(value) for p, value in zip(_PERCENTILES, percentiles, strict=True)}
    return {f"{name}_mean_s": float(values_s.mean())} | found
