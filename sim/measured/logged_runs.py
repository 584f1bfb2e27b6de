"""Runs given request by request: a JSON with a CSV of the same name, whose times are those that the engine logged."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sim.measured.client_metrics import seen_by_clients
from sim.measured.measured_run import MeasuredRun
from sim.measured.play import Play, played
from sim.measured.points import Point
from sim.measured.prediction import Prediction
from sim.measured.sent_requests import Sent, write_requests
from sim.measured.stated import LoggedRun, number
from sim.measured.stated_server import server_stated
from sim.measured.tuned_on import is_tuned_on
from sim.schema import TraceError, parse_config

_BLOCK = 16
_COLUMNS = ("arrival_s", "input_tokens", "output_tokens")


class Log(MeasuredRun):
    """The run that the JSON `raw` describes, of the requests in a CSV."""

    def __init__(self, raw: dict[str, Any], requests_csv: Path):
        self._raw, self._requests_csv = raw, requests_csv
        self.name, self.model_id = str(raw.get("id")), raw.get("model")

    def predictions(self, play: Play) -> Iterator[Prediction]:
        return _predictions(parse_config(LoggedRun, self._raw), self._requests_csv, play)

    def points(self) -> tuple[list[Point], list[str]]:
        return [], [f"{self.name}: left out, a log of requests is not one load"]


def _predictions(run: LoggedRun, requests_csv: Path, play: Play) -> Iterator[Prediction]:
    """Every metric of the run, played once: nothing is random, since its requests and their moments are given.

    The engine logged the times itself, so they hold no HTTP overhead unless the run states one. Raises SimError.
    """
    flags = run.engine
    if flags.request_overhead_s is None:
        flags = flags.model_copy(update={"request_overhead_s": 0.0})
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "sent.csv"
        write_requests(log, sent_requests(requests_csv))
        arrivals, stated = {"kind": "replay", "path": str(log)}, run.model_copy(update={"engine": flags})
        scenario = server_stated(stated, play).scenario(arrivals=arrivals, horizon_s=None, drain_s=1e6)
        found = seen_by_clients(played(scenario, note=lambda line: play.note(f"{run.id}: {line}")))
    for metric, predicted in found.items():
        tuned_on = is_tuned_on(run.id, run.gpu)
        yield Prediction(run.id, 0, metric, predicted, number(run.measured, metric), tuned_on=tuned_on)


def sent_requests(path: Path) -> list[Sent]:
    """The requests of the CSV. Raises TraceError.

    Where a prompt repeats `prefix_hit_tokens_ideal` tokens of an earlier prompt, the file does not say of which one. It
    is taken to be the first earlier prompt that ends in the block where the repetition ends, since the next call of a
    conversation repeats its previous prompt whole.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        rows.sort(key=lambda row: float(row["arrival_s"]))
        return _with_prefixes(rows)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise TraceError(f"{path}: needs columns {', '.join(_COLUMNS)} of numbers: {error}") from None


def _with_prefixes(rows: list[dict[str, str]]) -> list[Sent]:
    prompts: list[list[tuple[str, int]]] = []
    by_blocks: dict[int, int] = {}
    sent = []
    for i, row in enumerate(rows):
        length, repeated = int(row["input_tokens"]), int(row.get("prefix_hit_tokens_ideal") or 0)
        parts: list[tuple[str, int]] = []
        if repeated:
            parent = by_blocks.get(repeated)
            parts = _first(prompts[parent], repeated) if parent is not None else [("others", repeated)]
        parts = _first([*parts, (f"prompt{i}", length)], length)
        prompts.append(parts)
        by_blocks.setdefault(length // _BLOCK * _BLOCK, i)
        prefix = " ".join(f"{name}:{tokens}" for name, tokens in parts)
        sent.append(Sent(float(row["arrival_s"]), length, int(row["output_tokens"]), prefix))
    return sent


def _first(parts: list[tuple[str, int]], tokens: int) -> list[tuple[str, int]]:
    kept, left = [], tokens
    for name, n in parts:
        if left > 0:
            kept.append((name, min(n, left)))
            left -= n
    return kept
