"""Play measured runs of real servers again and print predicted beside measured."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sim.hardware.fits import refuse_if_too_big
from sim.hardware.model import Model
from sim.measured import benchmark_results, logged_runs, operating_points, staged_runs
from sim.measured.constants import Server
from sim.measured.described_server import FLAGS, add_server_flags, server_described
from sim.measured.prediction import Prediction, as_text
from sim.measured.readers.files import is_benchmark_result, read_results
from sim.measured.server import Play
from sim.measured.stated import LoggedRun, StagedRun
from sim.schema import ConfigError, SimError, TraceError, parse_config
from sim.study.folder import write_json


class _Playable(NamedTuple):
    name: str
    play: Callable[[Play], Iterator[Prediction]]
    source: str = ""


def predict(
    path: Path,
    replications: int = 5,
    only: str = "",
    as_sent: bool = False,
    unknown_model: Model | None = None,
    server_of: Callable[[Sequence[str]], Server] | None = None,
) -> list[Prediction]:
    """Every prediction for a file of measured runs, of those whose name or source contains `only`. Raises SimError.

    A JSON holds runs with load stages, or one run beside a CSV of its requests; a CSV holds operating points. A run
    that cannot be played is named on stderr, and the others go on. `as_sent`: staged requests leave when they did, as
    requests/<id>.csv beside the JSON says, not at random. `unknown_model` stands for models not in conf/model.

    Results of a load generator (all that `calibrate` reads) do not describe their server: `server_of(model_ids)` does.
    """
    if replications < 1:
        raise ConfigError(f"--replications = {replications}: must be >= 1")
    runs = _playable(path, as_sent, server_of)
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


def _playable(path: Path, as_sent: bool, server_of: Callable[[Sequence[str]], Server] | None) -> list[_Playable]:
    if _describes_its_server(path):
        if server_of:
            raise ConfigError(f"--gpu: the runs of {path} say which card they were measured on")
        return _points(path) if path.suffix == ".csv" else _runs(path, as_sent)
    results = read_results([str(path)])
    if server_of is None:
        raise ConfigError(f"{path}: does not say on which card it was measured; say with --gpu which of conf/gpu it is")
    for note in results.notes:
        print(f"note: {note}", file=sys.stderr)
    server = server_of(results.model_ids)
    for point in results.points:
        refuse_if_too_big(server.gpu, server.model, server.on(point.tensor_parallel).engine)
    return [
        _Playable(f"{point.label} {i}", lambda play, point=point, i=i: benchmark_results.predictions(server, point, i))
        for i, point in enumerate(results.points)
    ]


def _describes_its_server(path: Path) -> bool:
    """Whether a file holds runs that say what they ran on, or nothing that any reader of results knows."""
    if path.suffix == ".csv":
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                header = next(csv.reader(file), [])
        except (OSError, ValueError, csv.Error):
            return True  # the reader of operating points tells what is wrong
        return "engine" in header or not is_benchmark_result(str(path))
    try:
        return not is_benchmark_result(str(path))
    except (TraceError, RecursionError):
        return True


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
    parser.add_argument("file", type=Path, help="measured runs, or results of vLLM, GuideLLM or a CSV")
    parser.add_argument("--out", type=Path, help="write every prediction to this JSON file")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--replications", type=int, default=5, help="repetitions to average over (default 5)")
    parser.add_argument("--as-sent", action="store_true", help="send times of requests/<id>.csv, not random ones")
    parser.add_argument("--model-config", type=Path, help="config.json that stands for models not in conf/model")
    parser.add_argument("--brief", action="store_true", help="print the mean errors only")
    described = parser.add_argument_group("the server, where the file does not describe it")
    add_server_flags(described, gpu=None)
    options = parser.parse_args(argv)
    given = [name for name in ("model", "config_dir", *FLAGS) if getattr(options, name) is not None]
    if given and options.gpu is None:
        raise ConfigError(f"--{given[0].replace('_', '-')}: describes a server and needs --gpu as well")
    _refuse_bad_out(options.out)
    unknown = Model.from_hugging_face(options.model_config) if options.model_config else None
    server_of = partial(server_described, options) if options.gpu else None
    rows = predict(options.file, options.replications, options.only, options.as_sent, unknown, server_of)
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
