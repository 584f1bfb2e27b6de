"""Play measured runs of real servers again and print predicted beside measured."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sim.hardware.fits import refuse_if_too_big
from sim.hardware.model import Model
from sim.measured.benchmark_results import BenchmarkResult
from sim.measured.described_server import FLAGS, add_server_flags, server_described
from sim.measured.measured_run import MeasuredRun
from sim.measured.play import Play
from sim.measured.prediction import Prediction, as_text
from sim.measured.readers.files import read_results
from sim.measured.server import Server
from sim.schema import ConfigError, SimError
from sim.study.folder import write_json


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
    runs = _runs(path, server_of)
    chosen = [run for run in runs if only in run.name or only in run.source]
    if not chosen:
        raise ConfigError(f"--only = {only!r}: no run of {path} is called so" if runs else f"{path}: holds no runs")
    tell = _teller()
    play, rows = Play(replications, unknown_model, tell, as_sent), list[Prediction]()
    for run in chosen:
        try:
            rows += run.predictions(play)
        except SimError as error:
            tell(f"not predicted: {run.name}: {'; '.join(str(error).splitlines())}")
    if not rows:
        raise ConfigError(f"{path}: no run could be played")
    return rows


def _runs(path: Path, server_of: Callable[[Sequence[str]], Server] | None) -> list[MeasuredRun]:
    """The runs of a file; the points of a load generator become runs of the server that the command line describes."""
    results = read_results([str(path)])
    if results.runs and server_of:
        raise ConfigError(f"--gpu: the runs of {path} say which card they were measured on")
    for note in results.notes:
        print(f"note: {note}", file=sys.stderr)
    if not results.points:
        return results.runs
    if server_of is None:
        raise ConfigError(f"{path}: does not say on which card it was measured; say with --gpu which of conf/gpu it is")
    server = server_of(results.model_ids)
    for point in results.points:
        refuse_if_too_big(server.gpu, server.model, server.on(point.tensor_parallel).engine)
    return [*results.runs, *(BenchmarkResult(server, point, i) for i, point in enumerate(results.points))]


def _teller() -> Callable[[str], None]:
    """A function that prints a line on standard error the first time it is given."""
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
        plain = [{k: getattr(row, k) for k in ("experiment", "stage", "metric", "predicted")} for row in rows]
        _write(options.out, plain)
    return 0


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    try:
        write_json(out, rows)
    except OSError as error:
        raise ConfigError(f"--out = {str(out)!r}: {error.strerror or error}") from None
