"""Runs with load stages (JSON of `{schema, units, experiments}`): each stage begins when the one before has drained."""

from __future__ import annotations

import csv
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from sim.measured.client_metrics import means, seen_by_clients
from sim.measured.measured_run import MeasuredRun
from sim.measured.play import MOST_PLAYED, Play, played
from sim.measured.points import AT_ONCE, FIGURE_METRICS, NO_STEADY_STATE, Figures, Point, of_one_replica
from sim.measured.prediction import Prediction
from sim.measured.sent_requests import Sent, write_requests
from sim.measured.server import Server
from sim.measured.stated import LengthsStated, StagedRun, StageStated, number
from sim.measured.stated_server import server_stated
from sim.measured.tuned_on import is_tuned_on
from sim.schema import ConfigError, TraceError, parse_config

CLIENT_GIVES_UP_S = 300.0  # the load generator of the measured runs
_PAUSE_S = 100_000.0  # between stages: longer than anything takes to drain; an idle server costs nothing to simulate


class Stages(MeasuredRun):
    """One entry of `experiments` in the file at `path`; `number` counts them from 0."""

    def __init__(self, path: str, raw: Any, number: int):
        named = raw if isinstance(raw, dict) else {}
        self._path, self._raw = path, raw
        self.name = f"experiments.{number}" if named.get("id") is None else str(named["id"])
        self.model_id = named.get("model")

    def predictions(self, play: Play) -> Iterator[Prediction]:
        run = parse_config(StagedRun, self._raw)
        return _predictions(run, play, Path(self._path).parent / "requests" / f"{run.id}.csv" if play.as_sent else None)

    def points(self) -> tuple[list[Point], list[str]]:
        run = parse_config(StagedRun, self._raw)
        server = server_stated(run, Play(), own_sampler=True)
        points: list[Point] = []
        notes: list[str] = []
        for i, stage in enumerate(run.stages):
            place = f"{run.id} {i if stage.stage is None else stage.stage}"
            why = _not_steady(run, stage)
            shared = None if why else of_one_replica(_point(place, self._path, stage, server), server.n_replicas)
            if shared is None:
                notes.append(f"{place}: {why}")
            else:
                points.append(shared)
        return points, notes


def _not_steady(run: StagedRun, stage: StageStated) -> str | None:
    """Why a stage is no operating point; None if it is one."""
    if run.is_overloaded:
        return NO_STEADY_STATE
    if stage.lasts_s == 0.0:
        return AT_ONCE
    if stage.prompt_repeat_period_requests or stage.n_distinct_prompts or stage.shared_prefix_tokens:
        return "left out, its prompts repeat: the prefix cache, not the card, decides how long they take"
    if not any(number(stage.measured, metric) for metric in FIGURE_METRICS):
        return f"left out, it gives none of {', '.join(FIGURE_METRICS)}"
    return None


def _point(place: str, path: str, stage: StageStated, server: Server) -> Point:
    n, rng = min(stage.n_sent, MOST_PLAYED), np.random.default_rng(0)
    inputs, outputs = _lengths(stage.prompt_tokens, n, rng), _lengths(stage.output_tokens, n, rng)
    return Point(
        place,
        path,
        float(inputs.mean()),
        float(outputs.mean()),
        Figures(*(number(stage.measured, metric) or None for metric in FIGURE_METRICS)),
        rate_per_s=stage.n_sent / stage.lasts_s,
        burstiness=None if stage.arrival == "constant" else 1.0,
        requests=n,
        lengths=tuple(zip(inputs.tolist(), outputs.tolist(), strict=True)),
        tensor_parallel=server.engine.tensor_parallel,
        server=server,
    )


def _predictions(run: StagedRun, play: Play, requests_csv: Path | None = None) -> Iterator[Prediction]:
    """Every metric of every stage of a run, and of all stages together, as means over replications. Raises SimError.

    With `requests_csv` requests are sent when they were and as long as they were, instead of at random.
    """
    found = [_once(run, play, replication, requests_csv) for replication in range(play.replications)]
    if not any(once[-1] for once in found):
        raise ConfigError("no request was answered")
    for i, stage in enumerate(run.stages):
        name, overloaded = i if stage.stage is None else stage.stage, stage.overloaded or run.overloaded
        yield from _rows(run, name, [once[i] for once in found], stage.measured, overloaded)
    yield from _rows(run, "overall", [once[-1] for once in found], run.overall.measured, run.is_overloaded)


def _rows(
    run: StagedRun, stage: int | str, found: list[dict[str, float]], measured: dict[str, Any], overloaded: bool
) -> Iterator[Prediction]:
    tuned_on = is_tuned_on(run.id, run.gpu) and not overloaded
    for metric, predicted in means(found).items():
        family = f"{run.model.rpartition('/')[2]} {run.gpu}"
        yield Prediction(run.id, stage, metric, predicted, number(measured, metric), overloaded, tuned_on, family)


def _once(run: StagedRun, play: Play, replication: int, requests_csv: Path | None) -> list[dict[str, float]]:
    """Metrics of each stage, then of all; one replication has its own arrivals and its own prompts."""
    rng = np.random.default_rng([replication, zlib.crc32(run.id.encode())])
    sent: list[Sent] = []
    ends: list[int] = []
    n_stages = len(run.stages)
    recorded: Sequence[list[Sent] | None] = _recorded(requests_csv, n_stages) if requests_csv else [None] * n_stages
    for i, stage in enumerate(run.stages):
        begins_s = sent[-1].arrived_s + _PAUSE_S if sent else 0.0
        sent += _requests(stage, rng, begins_s, len(sent), recorded[i])
        ends.append(len(sent))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "sent.csv"
        write_requests(log, sent)
        requests = played(_scenario(run, play, log), replication, lambda line: play.note(f"{run.id}: {line}"))
    begins = [0, *ends[:-1]]
    metrics = [seen_by_clients(requests, slice(begin, end)) for begin, end in zip(begins, ends, strict=True)]
    busy_s = sum(found.get("makespan_s", 0.0) for found in metrics)
    return [*metrics, seen_by_clients(requests, makespan_s=busy_s)]


def _scenario(run: StagedRun, play: Play, log: Path):
    arrivals = {"kind": "replay", "path": str(log)}
    server = server_stated(run, play, own_sampler=True)
    scenario = server.scenario(arrivals=arrivals, horizon_s=None, drain_s=_PAUSE_S)
    patience_s = CLIENT_GIVES_UP_S if run.is_overloaded else None
    return scenario.model_copy(update={"queue": scenario.queue.model_copy(update={"patience_s": patience_s})})


def _requests(
    stage: StageStated, rng: np.random.Generator, begins_s: float, already: int, recorded: list[Sent] | None
) -> list[Sent]:
    """What a stage sends. Request i of a run repeats prompt i - period; the prompts of a group begin alike."""
    n = len(recorded or ()) or stage.n_sent
    times_s = begins_s + (np.array([s.arrived_s for s in recorded]) if recorded else _moments(stage, n, rng))
    period = stage.prompt_repeat_period_requests or stage.n_distinct_prompts
    n_prompts = period or n
    seeds = cast(np.random.SeedSequence, rng.bit_generator.seed_seq)  # NumPy's type is an interface without entropy
    prompt_rng = rng if not period else np.random.default_rng(seeds.entropy)
    lengths = _lengths(stage.prompt_tokens, n_prompts, prompt_rng)
    shared = int(stage.shared_prefix_tokens)
    groups = prompt_rng.permutation(np.arange(n_prompts) % (stage.n_prefix_groups or 1))
    outputs = _lengths(stage.output_tokens, n, rng)
    sent = []
    for i, (time_s, output) in enumerate(zip(times_s.tolist(), outputs.tolist(), strict=True)):
        k = (already + i) % n_prompts if period else i
        length = recorded[i].input_tokens if recorded and recorded[i].input_tokens else int(lengths[k])  # failed: 0
        head = min(shared, length - 1)
        system = f"system{groups[k]}:{head} " if head > 0 else ""
        rest = f"prompt{k}:{length - max(head, 0)}" if period else ""
        sent.append(Sent(time_s, length, output, system + rest))
    return sent


def _recorded(path: Path, n_stages: int) -> list[list[Sent]]:
    """The requests of each stage, its first at 0. Raises TraceError."""
    stages: dict[str, list[Sent]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                sent = Sent(float(row["arrival_s"]), int(row["input_tokens"] or 0), int(row["output_tokens"] or 0))
                stages.setdefault(row["stage"], []).append(sent)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise TraceError(f"{path}: needs stage and numbers arrival_s, input_tokens, output_tokens: {error}") from None
    if len(stages) < n_stages:
        raise TraceError(f"{path}: has {len(stages)} stages, the run has {n_stages}")
    return [[s._replace(arrived_s=s.arrived_s - sent[0].arrived_s) for s in sent] for sent in stages.values()]


def _moments(stage: StageStated, n: int, rng: np.random.Generator) -> np.ndarray:
    """Exponential gaps, rescaled so that exactly n fall into the stage; or even gaps; or all at once."""
    if stage.lasts_s == 0.0:
        return np.zeros(n)
    if stage.arrival == "constant":
        return np.arange(n) * (stage.lasts_s / n)
    gaps = rng.exponential(size=n)
    return (np.cumsum(gaps) - gaps[0]) * (stage.lasts_s / gaps.sum())


def _lengths(stated: LengthsStated, n: int, rng: np.random.Generator) -> np.ndarray:
    """n whole lengths with the stated percentiles (joined by straight lines) and mean, in random order."""
    mean, known = stated.mean_tokens, stated.known
    if len(known) < 2:
        return np.full(n, max(1, round(mean)), dtype=np.int64)
    shares, lengths = [share for share, _ in known], [length for _, length in known]
    values = np.interp((np.arange(n) + 0.5) / n, shares, lengths)
    values *= mean / values.mean()
    return rng.permutation(np.maximum(1, np.round(values)).astype(np.int64))
