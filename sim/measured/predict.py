"""Predictions for every run of a file of measured runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sim.hardware.fits import refuse_if_too_big
from sim.hardware.model import Model
from sim.measured.benchmark_results import BenchmarkResult
from sim.measured.described_server import card_called, measured_on
from sim.measured.measured_run import MeasuredRun
from sim.measured.other_constants import AS_LISTED, OtherConstants
from sim.measured.play import Play
from sim.measured.points import Point, ServerFacts
from sim.measured.prediction import Prediction
from sim.measured.readers.files import read_results
from sim.measured.server import Server
from sim.measured.stated import FlagsStated, ServerStated
from sim.measured.stated_server import server_stated
from sim.printable import printable
from sim.schema import ConfigError, SimError, parse_config


def predict(
    path: Path,
    replications: int = 5,
    only: str = "",
    as_sent: bool = False,
    print_commands: bool = False,
    unknown_model: Model | None = None,
    server_of: Callable[[Sequence[str], Sequence[ServerFacts]], Server] | None = None,
    constants: OtherConstants = AS_LISTED,
    before: OtherConstants | None = None,
) -> list[Prediction]:
    """Every prediction for a file of measured runs, of those whose name or source contains `only`. Raises SimError.

    A JSON holds runs with load stages, or one run beside a CSV of its requests; a CSV holds operating points. A run
    that cannot be played is named on stderr, and the others are played. `as_sent`: staged requests are sent at the
    moments of requests/<id>.csv beside the JSON, not at random ones. `unknown_model` replaces models not in conf/model.

    `print_commands`: the ordinary command that plays the same scenario is noted for each operating point.

    Results of a load generator (all that `calibrate` reads) do not describe their server: `server_of(model_ids, facts)`
    does. Without it, their points are played only where they state both card and model.

    `constants` replace those of conf. With `before`, every run is played with these, too: `Prediction.before`.
    """
    if replications < 1:
        raise ConfigError(f"--replications = {replications}: must be >= 1")
    note = _each_line_once()
    play, rows = Play(replications, unknown_model, note, as_sent, print_commands, constants), list[Prediction]()
    runs = _runs(path, play, server_of)
    chosen = [run for run in runs if only in run.name or only in run.source]
    if not chosen:
        raise ConfigError(f"--only = {only!r}: no run of {path} is called so" if runs else f"{path}: holds no runs")
    for run in chosen:
        try:
            rows += run.predictions(play) if before is None else _both(run, play, before)
        except SimError as error:
            note(f"not predicted: {run.name}: {'; '.join(str(error).splitlines())}")
    if not rows:
        raise ConfigError(f"{path}: no run could be played")
    return rows


def _both(run: MeasuredRun, play: Play, before: OtherConstants) -> list[Prediction]:
    """The run's predictions, each with that of the other constants beside it."""
    old = {row.key: row.predicted for row in run.predictions(play._replace(constants=before, print_commands=False))}
    return [row._replace(before=old.get(row.key)) for row in run.predictions(play)]


def _runs(
    path: Path, play: Play, server_of: Callable[[Sequence[str], Sequence[ServerFacts]], Server] | None
) -> list[MeasuredRun]:
    """The runs of a file; the points of a load generator become runs of the server that they or the words describe."""
    results = read_results([str(path)])
    if results.runs and server_of:
        raise ConfigError(f"--gpu: the runs of {path} say which card they were measured on")
    points, notes = results.points, [*results.receipt_lines(), *results.notes]
    if points and server_of:
        server = server_of(results.model_ids, [point.facts for point in points])
        points, notes = measured_on(server, points, notes)
    for line in notes:
        play.note(f"note: {line}")
    if not results.points:
        return results.runs
    if not points:
        raise ConfigError(f"{path}: no point is of the server that the command line describes: {'; '.join(notes)}")
    servers = [server if server_of else _server_stated_by(point, path, play) for point in points]
    for point, played_on in zip(points, servers, strict=True):
        refuse_if_too_big(played_on.gpu, played_on.model, point.on(played_on).engine)
    pairs = enumerate(zip(servers, points, strict=True))
    return [*results.runs, *(BenchmarkResult(played_on, point, i) for i, (played_on, point) in pairs)]


def _server_stated_by(point: Point, path: Path, play: Play) -> Server:
    """The server of a point whose file states card and model. Raises ConfigError for one that states less."""
    facts = point.facts
    if facts.gpu is None or facts.model is None:
        raise ConfigError(f"{path}: does not say on which card it was measured; say with --gpu which of conf/gpu it is")
    flags = parse_config(FlagsStated, {"name": facts.engine, "prefix_caching": False, **facts.flags})
    stated = ServerStated(
        model=facts.model, gpu=card_called(facts.gpu), tensor_parallel=point.tensor_parallel, dtype=facts.dtype,
        kv_dtype=facts.kv_dtype, engine=flags,
    )  # fmt: skip
    return server_stated(stated, play)


def _each_line_once() -> Callable[[str], None]:
    """A function that prints a line on standard error unless it has printed the same line before."""
    printed: set[str] = set()

    def note(line: str) -> None:
        if line not in printed:
            printed.add(line)
            print(printable(line), file=sys.stderr)

    return note
