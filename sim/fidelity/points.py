"""Operating points (CSV, one a row): closed loops of so many clients, and bursts of all requests at once."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sim.fidelity.server import played, seen_by_clients, server
from sim.fidelity.table import Prediction
from sim.fidelity.tuned_on import is_tuned_on
from sim.scenario import Scenario
from sim.schema import TraceError

_MEASURED = {
    "ttft_ms_mean": ("ttft_mean_s", 1e-3), "ttft_ms_p50": ("ttft_p50_s", 1e-3), "ttft_ms_p99": ("ttft_p99_s", 1e-3),
    "tpot_ms_mean": ("tpot_mean_s", 1e-3), "tpot_ms_p50": ("tpot_p50_s", 1e-3), "tpot_ms_p99": ("tpot_p99_s", 1e-3),
    "e2e_s_p50": ("e2e_p50_s", 1.0), "out_tok_s": ("output_tok_per_s", 1.0), "total_tok_s": ("total_tok_per_s", 1.0),
}  # fmt: skip
_TASKS_PER_CLIENT = 10  # as the closed-loop sweeps state
_SHAREGPT_TASKS = 200  # per client, not stated: enough that the lengths drawn have their mean
_SHAREGPT_CV = {"input": 1.2, "output": 1.0}  # not stated by these runs; about what ShareGPT samples show

_ENGINES = {"NIM": "trt_llm_2024", "vllm v0.11": "vllm_0_11"}  # files in conf/engine, by how an engine's name begins
SWEEP_OVERHEAD_S = 0.024  # what each request costs the vLLM of the closed-loop sweeps, as their description says
_ASYNC_SINCE = "2026"  # vLLM schedules asynchronously by default from 0.14 on
_LARGE_CARD = {"max_num_batched_tokens": 8192, "max_num_seqs": 1024}  # vLLM's server defaults on H100-class cards
_OTHER_CARD = {"max_num_batched_tokens": 2048, "max_num_seqs": 256}  # and on others; recalled, not re-fetched


def predictions(path: Path, only: str, replications: int) -> Iterator[Prediction]:
    """Every metric of every row whose name contains `only`; its stage is the row's number, from 0. Raises SimError."""
    for i, row in enumerate(_rows(path)):
        name = name_of(row)
        if only in name or only in row["source"]:
            found = [seen_by_clients(played(scenario_of(row), k)) for k in range(replications)]
            measured = {m: float(row[c]) * unit for c, (m, unit) in _MEASURED.items() if row.get(c)}
            tuned_on = is_tuned_on(row["source"], row["gpu"])
            for metric in found[0]:
                predicted = float(np.mean([once[metric] for once in found]))
                yield Prediction(name, i, metric, predicted, measured.get(metric), False, tuned_on, family_of(row))


def name_of(row: dict[str, str]) -> str:
    """Model, number format, card, tensor parallelism, lengths and load, in a few words."""
    load = f"c{_whole(row['concurrency'])}" if row.get("concurrency") else f"burst of {_burst(row)}"
    shape = f"{_whole(row['input_len'])}x{_whole(row['output_len'])}"
    model = row["model"].rpartition("/")[2]
    return f"{row['engine'].split()[0]} {model} {row['dtype']} {row['gpu']} tp{_whole(row['tp'])} {shape} {load}"


def family_of(row: dict[str, str]) -> str:
    """Rows of one engine, model and card; bursts apart from closed loops."""
    kind = "" if row.get("concurrency") else " burst"
    return f"{row['engine'].split()[0]} {row['model'].rpartition('/')[2]} {row['gpu']}{kind}"


def scenario_of(row: dict[str, str]) -> Scenario:
    """The row as a Scenario: its clients, its lengths, its server; no prompt repeats another."""
    n_clients = int(float(row["concurrency"])) if row.get("concurrency") else None
    per_client = _TASKS_PER_CLIENT if "ShareGPT" not in row.get("notes", "") else _SHAREGPT_TASKS
    n_tasks = per_client * n_clients if n_clients else _burst(row)
    run = {"gpu": row["gpu"], "model": row["model"], "dtype": row["dtype"], "tensor_parallel": float(row["tp"] or 1)}
    engine, flags = _engine(row)
    arrivals = {"kind": "closed_loop", "n_clients": n_clients or n_tasks, "n_tasks": n_tasks}
    return server(run, flags, engine=engine, arrivals=arrivals, lengths=_lengths(row), horizon_s=None)


def _engine(row: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """The file in conf/engine, and how the row's server differed from it."""
    for begins, file in _ENGINES.items():
        if row["engine"].startswith(begins):
            return file, {"prefix_caching": False}
    notes, large = row.get("notes", ""), row["gpu"].startswith(("H100", "H200", "B200", "MI300"))
    flags = (_LARGE_CARD if large else _OTHER_CARD) | {"prefix_caching": False}
    dated = re.search(r"\b20\d\d-\d\d-\d\d\b", notes)
    flags["async_scheduling"] = bool(dated) and dated[0] >= _ASYNC_SINCE
    if "sweep" in notes:
        flags["request_overhead_s"] = SWEEP_OVERHEAD_S
    return "vllm", flags


def _lengths(row: dict[str, str]) -> dict[str, Any]:
    bounds = [max(1.0, float(row[name])) for name in ("input_len", "output_len")]
    if "ShareGPT" in row.get("notes", ""):
        spreads = (
            {"mean_tokens": mean, "cv": cv, "max_tokens": 4096}
            for mean, cv in zip(bounds, _SHAREGPT_CV.values(), strict=True)
        )
        return {"kind": "lognormal", **dict(zip(("input", "output"), spreads, strict=True))}
    low = 0.8 if "uniform in [0.8L,L]" in row.get("notes", "") else 1.0
    longest = [round(bound) for bound in bounds]
    return {"kind": "uniform", "max_input_tokens": longest[0], "max_output_tokens": longest[1], "low_fraction": low}


def _burst(row: dict[str, str]) -> int:
    found = re.search(r"all (\d+) requests sent at once", row.get("notes", ""))
    if not found:
        raise TraceError(f"{row['source']}: has neither a concurrency nor a number of requests sent at once")
    return int(found[1])


def _whole(text: str) -> str:
    return f"{float(text or 1):g}"


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    needed = ("source", "engine", "gpu", "model", "dtype", "tp", "input_len", "output_len")
    missing = [name for name in needed if not rows or name not in rows[0]]
    if missing:
        raise TraceError(f"{path}: column {missing[0]!r}: is missing")
    return rows
