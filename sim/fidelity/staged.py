"""Runs with load stages (JSON of `{schema, units, experiments}`): each stage begins when the one before has drained."""

from __future__ import annotations

import csv
import math
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sim.fidelity.server import Sent, played, seen_by_clients, server, write_requests
from sim.fidelity.table import Prediction
from sim.fidelity.tuned_on import is_tuned_on
from sim.schema import ConfigError, TraceError

CLIENT_GIVES_UP_S = 300.0  # the load generator of the measured runs
_SAMPLING = {"sampler": "top_p"}  # the load generator asks for nothing, so the model's generation_config decides
_PAUSE_S = 100_000.0  # between stages: longer than anything takes to drain; an idle server costs nothing to simulate


def predictions(run: dict[str, Any], replications: int, requests_csv: Path | None = None) -> Iterator[Prediction]:
    """Every metric of every stage of a run, and of all stages together, as means over replications.

    With `requests_csv` requests are sent when they were and as long as they were, instead of at random.
    """
    found = [_once(run, replication, requests_csv) for replication in range(replications)]
    for i, stage in enumerate(run["stages"]):
        overloaded = bool(stage.get("overloaded") or run.get("overloaded"))
        yield from _rows(run, stage.get("stage", i), [once[i] for once in found], stage, overloaded)
    if len(run["stages"]) > 1:
        all_stages = [once[-1] for once in found]
        yield from _rows(run, "overall", all_stages, run.get("overall") or {}, bool(run.get("overloaded")))


def _rows(run, stage, found: list[dict[str, float]], source: dict, overloaded: bool) -> Iterator[Prediction]:
    tuned_on = is_tuned_on(run["id"], run["gpu"]) and not overloaded
    measured = source.get("measured") or {}
    for metric in found[0]:
        predicted = float(np.mean([once[metric] for once in found if metric in once]))
        yield Prediction(run["id"], stage, metric, predicted, measured.get(metric), overloaded, tuned_on)


def _once(run: dict[str, Any], replication: int, requests_csv: Path | None = None) -> list[dict[str, float]]:
    """Metrics of each stage, then of all; one replication has its own arrivals and its own prompts."""
    rng = np.random.default_rng([replication, zlib.crc32(run["id"].encode())])
    sent, ends = [], []
    recorded = _recorded(requests_csv) if requests_csv else None
    for i, stage in enumerate(run["stages"]):
        begins_s = sent[-1].arrived_s + _PAUSE_S if sent else 0.0
        sent += _requests(stage, rng, begins_s, len(sent), recorded and recorded[i])
        ends.append(len(sent))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "sent.csv"
        write_requests(log, sent)
        requests = played(_scenario(run, log), replication)
    begins = [0, *ends[:-1]]
    metrics = [seen_by_clients(requests, slice(begin, end)) for begin, end in zip(begins, ends, strict=True)]
    busy_s = sum(found.get("makespan_s", 0.0) for found in metrics)
    return [*metrics, seen_by_clients(requests, makespan_s=busy_s)]


def _scenario(run: dict[str, Any], log: Path):
    patience_s = CLIENT_GIVES_UP_S if run.get("overloaded") else None
    flags = _SAMPLING | (run.get("engine") or {})
    scenario = server(run, flags, arrivals={"kind": "replay", "path": str(log)}, horizon_s=None, drain_s=_PAUSE_S)
    return scenario.model_copy(update={"queue": scenario.queue.model_copy(update={"patience_s": patience_s})})


def _requests(
    stage: dict[str, Any], rng: np.random.Generator, begins_s: float, already: int, recorded: list[Sent] | None
) -> list[Sent]:
    """What a stage sends. Request i of a run repeats prompt i - period; the prompts of a group begin alike."""
    n = len(recorded or ()) or int(stage.get("n_requests") or round(stage["rate_rps"] * stage["duration_s"]))
    times_s = begins_s + (np.array([s.arrived_s for s in recorded]) if recorded else _moments(stage, n, rng))
    period = stage.get("prompt_repeat_period_requests") or stage.get("n_distinct_prompts")
    n_prompts = int(period) if period else n
    prompt_rng = rng if not period else np.random.default_rng(rng.bit_generator.seed_seq.entropy)
    lengths = _lengths(stage["prompt_tokens"], n_prompts, prompt_rng)
    shared = int(stage.get("shared_prefix_tokens") or 0)
    n_groups = int(stage.get("n_prefix_groups") or 1)
    groups = prompt_rng.permutation(np.arange(n_prompts) % n_groups)
    outputs = _lengths(stage["output_tokens"], n, rng)
    sent = []
    for i, (time_s, output) in enumerate(zip(times_s.tolist(), outputs.tolist(), strict=True)):
        k = (already + i) % n_prompts if period else i
        length = recorded[i].input_tokens if recorded and recorded[i].input_tokens else int(lengths[k])  # failed: 0
        head = min(shared, length - 1)
        system = f"system{groups[k]}:{head} " if head > 0 else ""
        rest = f"prompt{k}:{length - max(head, 0)}" if period else ""
        sent.append(Sent(time_s, length, output, system + rest))
    return sent


def _recorded(path: Path) -> list[list[Sent]]:
    """The requests of each stage, its first at 0. Raises TraceError."""
    stages: dict[str, list[Sent]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                sent = Sent(float(row["arrival_s"]), int(row["input_tokens"] or 0), int(row["output_tokens"] or 0))
                stages.setdefault(row["stage"], []).append(sent)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    return [[s._replace(arrived_s=s.arrived_s - sent[0].arrived_s) for s in sent] for sent in stages.values()]


def _moments(stage: dict[str, Any], n: int, rng: np.random.Generator) -> np.ndarray:
    """Exponential gaps, rescaled so that exactly n fall into the stage; or even gaps, or all at once, if it says so."""
    arrival, duration_s = str(stage.get("arrival") or "poisson").lower(), float(stage.get("duration_s") or 0.0)
    if arrival in ("burst", "batch", "all_at_once") or duration_s == 0.0:
        return np.zeros(n)
    if arrival in ("constant", "deterministic", "uniform", "even"):
        return np.arange(n) * (duration_s / n)
    if arrival not in ("poisson", "exponential"):
        raise ConfigError(f"arrival = {arrival!r}: is not poisson, constant or burst")
    gaps = rng.exponential(size=n)
    return (np.cumsum(gaps) - gaps[0]) * (duration_s / gaps.sum())


def _lengths(stated: Any, n: int, rng: np.random.Generator) -> np.ndarray:
    """n whole lengths with the stated percentiles (joined by straight lines) and mean, in random order."""
    if isinstance(stated, int | float):
        return np.full(n, max(1, round(stated)), dtype=np.int64)
    shares = {"min": 0.0, "p5": 0.05, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95,
              "p99": 0.99, "max": 1.0}  # fmt: skip
    known = sorted((shares[name], float(value)) for name, value in stated.items() if name in shares and value)
    mean = float(stated.get("mean") or stated.get("nominal") or (known and np.mean([v for _, v in known])))
    if not mean or math.isnan(mean):
        raise ConfigError("prompt_tokens: needs a mean")
    if len(known) < 2:
        return np.full(n, max(1, round(mean)), dtype=np.int64)
    values = np.interp((np.arange(n) + 0.5) / n, *zip(*known, strict=True))
    values *= mean / values.mean()
    return rng.permutation(np.maximum(1, np.round(values)).astype(np.int64))
