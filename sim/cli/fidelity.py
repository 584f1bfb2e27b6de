"""Play measured runs of real servers again and print predicted beside measured."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sim.hardware.model import Model
from sim.measured import logged_runs, operating_points, staged_runs
from sim.measured.prediction import Prediction, as_text
from sim.measured.server import Play
from sim.measured.stated import LoggedRun, StagedRun
from sim.schema import ConfigError, SimError, parse_config
from sim.study.folder import write_json


class _Playable(NamedTuple):
    name: str
    play: Callable[[Play], Iterator[Prediction]]
    source: str = ""


def predict(
    path: Path, replications: int = 5, only: str = "", as_sent: bool = False, unknown_model: Model | None = None
) -> list[Prediction]:
    """Every prediction for a file of measured runs, of those whose name or source contains `only`. Raises SimError.

    A JSON holds runs with load stages, or one run beside a CSV of its requests; a CSV holds operating points. A run
    that cannot be played is named on stderr, and the others go on. `as_sent`: staged requests leave when they did, as
    requests/<id>.csv beside the JSON says, not at random. `unknown_model` stands for models not in conf/model.
    """
    if replications < 1:
        raise ConfigError(f"--replications = {replications}: must be >= 1")
    runs = _points(path) if path.suffix == ".csv" else _runs(path, as_sent)
    chosen = [run for run in runs if only in run.name or only in run.source]
    if not chosen:
        raise ConfigError(f"--only = {only!r}: no run of {path} is called so" if runs else f"{path}: holds no runs")
    tell = _teller()
    play, rows = Play(replications, unknown_model, tell), []
    for run in chosen:
        try:
            rows += list(run.play(play))
        except SimError as error:
            tell(f"not predicted: {run.name}: {'; '.join(str(error).splitlines())}")
    if not rows:
        raise ConfigError(f"{path}: no run could be played")
    return rows


def _points(path: Path) -> list[_Playable]:
    rows = enumerate(operating_points.rows_of(path))
    return [
        _Playable(f"{operating_points.name_of(row)} {i}", partial(operating_points.predictions, row, i), row["source"])
        for i, row in rows
    ]


def _runs(path: Path, as_sent: bool) -> list[_Playable]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    requests_csv = path.with_suffix(".csv")
    if isinstance(content, dict) and "experiments" not in content and requests_csv.is_file():
        return [_Playable(str(content.get("id")), lambda play: _logged(content, requests_csv, play))]
    experiments = content.get("experiments") if isinstance(content, dict) else None
    if not isinstance(experiments, list):
        raise ConfigError(
            f"{path}: needs a list `experiments`, or a CSV of its requests, {requests_csv.name}, beside it"
        )
    logs = path.parent / "requests" if as_sent else None
    return [_Playable(_name_of(run, i), partial(_staged, run, logs)) for i, run in enumerate(experiments)]


def _logged(raw: Any, requests_csv: Path, play: Play) -> Iterator[Prediction]:
    return logged_runs.predictions(parse_config(LoggedRun, raw), requests_csv, play)


def _staged(raw: Any, logs: Path | None, play: Play) -> Iterator[Prediction]:
    run = parse_config(StagedRun, raw)
    return staged_runs.predictions(run, play, logs and logs / f"{run.id}.csv")


def _name_of(raw: Any, at: int) -> str:
    return str(raw["id"]) if isinstance(raw, dict) and raw.get("id") is not None else f"experiments.{at}"


def _teller() -> Callable[[str], None]:
    """Says each line once."""
    told: set[str] = set()

    def tell(line: str) -> None:
        if line not in told:
            told.add(line)
            print(line, file=sys.stderr)

    return tell


def _refuse_bad_out(out: Path | None) -> None:
    if out is None:
        return
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"--out = {str(out)!r}: {'is a folder' if out.is_dir() else 'its folder does not exist'}")
    if not os.access(out.parent, os.W_OK):
        raise ConfigError(f"--out = {str(out)!r}: its folder cannot be written to")


def main(argv: Sequence[str]) -> int:
    """Predict, print and write. Raises SimError for a file that holds no measured runs."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim fidelity", description=__doc__)
    parser.add_argument("file", type=Path, help="measured runs: JSON, or CSV of operating points")
    parser.add_argument("--out", type=Path, help="write every prediction to this JSON file")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--replications", type=int, default=5, help="repetitions to average over (default 5)")
    parser.add_argument("--as-sent", action="store_true", help="send times of requests/<id>.csv, not random ones")
    parser.add_argument("--model-config", type=Path, help="config.json that stands for models not in conf/model")
    parser.add_argument("--brief", action="store_true", help="print the mean errors only")
    options = parser.parse_args(argv)
    _refuse_bad_out(options.out)
    unknown = Model.from_hugging_face(options.model_config) if options.model_config else None
    rows = predict(options.file, options.replications, options.only, options.as_sent, unknown)
    print(as_text(rows, brief=options.brief))
    if options.out:
        said = [{k: getattr(row, k) for k in ("experiment", "stage", "metric", "predicted")} for row in rows]
        _write(options.out, said)
    return 0


def _write(out: Path, said: list[dict[str, Any]]) -> None:
    try:
        write_json(out, said)
    except OSError as error:
        raise ConfigError(f"--out = {str(out)!r}: {error.strerror or error}") from None
