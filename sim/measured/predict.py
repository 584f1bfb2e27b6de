"""Predictions for every run of a file of measured runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sim.hardware.fits import refuse_if_too_big
from sim.hardware.model import Model
from sim.measured.benchmark_results import BenchmarkResult
from sim.measured.measured_run import MeasuredRun
from sim.measured.play import Play
from sim.measured.prediction import Prediction
from sim.measured.readers.files import read_results
from sim.measured.server import Server
from sim.printable import printable
from sim.schema import ConfigError, SimError


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
    that cannot be played is named on stderr, and the others are played. `as_sent`: staged requests are sent at the
    moments of requests/<id>.csv beside the JSON, not at random ones. `unknown_model` replaces models not in conf/model.

    Results of a load generator (all that `calibrate` reads) do not describe their server: `server_of(model_ids)` does.
    """
    if replications < 1:
        raise ConfigError(f"--replications = {replications}: must be >= 1")
    runs = _runs(path, server_of)
    chosen = [run for run in runs if only in run.name or only in run.source]
    if not chosen:
        raise ConfigError(f"--only = {only!r}: no run of {path} is called so" if runs else f"{path}: holds no runs")
    note = _each_line_once()
    play, rows = Play(replications, unknown_model, note, as_sent), list[Prediction]()
    for run in chosen:
        try:
            rows += run.predictions(play)
        except SimError as error:
            note(f"not predicted: {run.name}: {'; '.join(str(error).splitlines())}")
    if not rows:
        raise ConfigError(f"{path}: no run could be played")
    return rows


def _runs(path: Path, server_of: Callable[[Sequence[str]], Server] | None) -> list[MeasuredRun]:
    """The runs of a file; the points of a load generator become runs of the server that the command line describes."""
    results = read_results([str(path)])
    if results.runs and server_of:
        raise ConfigError(f"--gpu: the runs of {path} say which card they were measured on")
    for note in results.notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    if not results.points:
        return results.runs
    if server_of is None:
        raise ConfigError(f"{path}: does not say on which card it was measured; say with --gpu which of conf/gpu it is")
    server = server_of(results.model_ids)
    for point in results.points:
        refuse_if_too_big(server.gpu, server.model, server.on(point.tensor_parallel).engine)
    return [*results.runs, *(BenchmarkResult(server, point, i) for i, point in enumerate(results.points))]


def _each_line_once() -> Callable[[str], None]:
    """A function that prints a line on standard error unless it has printed the same line before."""
    printed: set[str] = set()

    def note(line: str) -> None:
        if line not in printed:
            printed.add(line)
            print(printable(line), file=sys.stderr)

    return note
