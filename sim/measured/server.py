"""A measured server as a Scenario, its requests as a log to replay, and what its clients would have seen."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from omegaconf import OmegaConf

from sim.hardware.fits import kv_blocks_of
from sim.hardware.gpu import Gpu, gpu_named
from sim.hardware.model import Model, model_named
from sim.hardware.names import gpu_file, model_file, names_context
from sim.ledger.audit import audit
from sim.measured.number_formats import checkpoint, kv_format
from sim.measured.stated import FlagsStated, ServerStated
from sim.scenarios import Scenario, compose_config, parse
from sim.schema import ConfigError
from sim.simulation import simulate
from sim.work import Outcome

_FLAGS = (
    "max_num_seqs", "max_num_batched_tokens", "max_model_len", "gpu_memory_utilization", "kv_cache_blocks",
    "chunked_prefill", "prefix_caching", "async_scheduling", "request_overhead_s", "sampler",
)  # fmt: skip
_LARGE_CARD, _OTHER_CARD = (8192, 1024), (2048, 256)  # tokens of a step, sequences; recalled, not re-fetched
_PERCENTILES = (50, 90, 99)
_NO_LIMIT = 1_000_000_000


class Sent(NamedTuple):
    """One request of a measured run; `prefix` as in the prefix column of a log."""

    arrived_s: float
    input_tokens: int
    output_tokens: int
    prefix: str = ""


class Play(NamedTuple):
    """How runs are played.

    `unknown_model` stands for models that conf/model has not; `tell` is called with each line that a reader of the
    results should know. With `as_sent`, requests of a staged run leave when requests/<id>.csv beside its file says.
    """

    replications: int = 5
    unknown_model: Model | None = None
    tell: Callable[[str], None] = lambda line: None
    as_sent: bool = False


def server(run: ServerStated, play: Play, *, engine: str = "vllm", own_sampler: bool = False, **more: Any) -> Scenario:
    """The Scenario of a run's model, GPU and engine flags; `more` says what it is asked to serve.

    Flags that a run does not state are vLLM's own defaults, then those of conf/engine/<engine>.yaml. `own_sampler`:
    clients ask for nothing, so the model's generation_config decides. Every request goes to the engine at once: a
    measured server has no queue before its own. Raises ConfigError.
    """
    raw, flags = _base(engine), run.engine
    if engine == "vllm" and flags.name and "vllm" not in flags.name.lower():
        play.tell(f"engine {flags.name!r} is not known: played as vLLM")
    gpu = gpu_named(gpu_file(run.gpu))
    model, weight_dtype = checkpoint(run, _model(run.model, play.unknown_model))
    context = flags.max_model_len or names_context(run.model) or 0
    model = model.model_copy(update={"max_context_tokens": max(context, model.max_context_tokens)})
    options = raw["engine"] | (_server_defaults(gpu, flags, model.max_context_tokens) if engine == "vllm" else {})
    options |= {"sampler": model.default_sampler} if own_sampler else {}
    options |= {k: getattr(flags, k) for k in _FLAGS if getattr(flags, k) is not None}
    options["block_tokens"] = flags.block_size or options["block_tokens"]
    options["tensor_parallel"] = run.gpus_per_replica
    options |= {"weight_dtype": weight_dtype, "kv_dtype": kv_format(run)}
    raw |= {"gpu": gpu.model_dump(), "model": model.model_dump(), "engine": options}
    raw["scaling"]["n_replicas"] = run.n_replicas
    raw["queue"] = {"max_requests_per_replica": _NO_LIMIT}
    raw["prices"]["gpu"]["usd_per_gpu_hour"].setdefault(gpu.name, 1.0)  # nobody asks for the bill
    return parse(raw | more)


def _model(hugging_face_id: str, unknown: Model | None) -> Model:
    try:
        return model_named(model_file(hugging_face_id))
    except ConfigError:
        if unknown is None:
            raise
        return unknown.model_copy(update={"hugging_face_id": hugging_face_id, "config_path": None})


def _server_defaults(gpu: Gpu, flags: FlagsStated, context_tokens: int) -> dict[str, int]:
    """What `vllm serve` takes where it is not told: by the card's memory, A100 apart; each makes room for the other.

    A step has room for the longest prompt where prompts are not cut (recalled, not re-fetched).
    """
    large = gpu.memory_gb >= 70 and not gpu.name.startswith("a100")
    tokens, sequences = _LARGE_CARD if large else _OTHER_CARD
    if flags.chunked_prefill is False:
        tokens = max(tokens, context_tokens)
    return {
        "max_num_batched_tokens": max(tokens, flags.max_num_seqs or 0),
        "max_num_seqs": min(sequences, flags.max_num_batched_tokens or tokens),
    }


@cache
def _composed(engine: str) -> Any:
    return compose_config(
        "scaling=always_on", "cold_start=instant", "routing=fleet_only", "api=none", f"engine={engine}"
    )


def _base(engine: str) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(_composed(engine), resolve=True))


def write_requests(path: Path, requests: Iterable[Sent]) -> None:
    """A log that `arrivals=replay` reads, in order of time."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Sent._fields)
        writer.writerows(requests)


def played(scenario: Scenario, replication: int = 0, tell: Callable[[str], None] = lambda line: None) -> dict:
    """The requests of one run by column, in order of arrival, its books audited.

    Tells of requests that were too long. Raises ConfigError if all of them were.
    """
    facts = simulate(scenario, replication=replication, measure_peak=False).facts
    audit(facts)
    n, n_refused = len(facts.requests["outcome"]), int((facts.requests["outcome"] == Outcome.REFUSED).sum())
    if n_refused:
        engine = scenario.engine
        cache_tokens = kv_blocks_of(scenario.gpu, scenario.model, engine) * engine.block_tokens + 1
        limits = [(scenario.max_context_tokens, "the context"), (cache_tokens, "the KV cache")]
        if not engine.chunked_prefill:
            limits.append((engine.max_num_batched_tokens + 1, "a step, as prompts are not cut"))
        most, why = min(limits)
        line = f"{n_refused} of {n} requests refused: input + output longer than the {most} tokens of {why}"
        if n_refused == n:
            raise ConfigError(line)
        if replication == 0:
            tell(line)
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


def means(found: list[dict[str, float]]) -> dict[str, float]:
    """Every metric over the replications that have it."""
    metrics = dict.fromkeys(metric for once in found for metric in once)
    return {metric: float(np.mean([once[metric] for once in found if metric in once])) for metric in metrics}


def _statistics(name: str, values_s: np.ndarray) -> dict[str, float]:
    percentiles = np.percentile(values_s, _PERCENTILES)
    found = {f"{name}_p{p}_s": float(value) for p, value in zip(_PERCENTILES, percentiles, strict=True)}
    return {f"{name}_mean_s": float(values_s.mean())} | found
