"""A calibration from beginning to end: results read, constants fitted and printed, and YAML files written."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from sim.conf_path import conf_dir
from sim.hardware.fits import refuse_if_too_big
from sim.measured import overlay
from sim.measured.calibration_tables import constants_table, errors_line, points_table, warning
from sim.measured.described_server import engine_named, measured_on, server_described
from sim.measured.fit import Fit, fit
from sim.measured.play import play
from sim.measured.points import Point
from sim.measured.readers.files import read_results
from sim.measured.readers.reader import Results
from sim.measured.server import Server
from sim.printable import printable
from sim.schema import TraceError


def _source_of(group: str, name: str, config_dir: Path | None) -> Path:
    own = config_dir / group / f"{name}.yaml" if config_dir else None
    return own if own and own.is_file() else conf_dir() / group / f"{name}.yaml"


def _print_fit(result: Fit) -> None:
    print(printable(points_table(result.points, result.before, result.after)))
    print(errors_line("on the points it was fitted to", result.points, result.before, result.after))
    print(constants_table(result))
    if line := warning(result):
        print(line)


def _print_check(points: Sequence[Point], before: Server, after: Server) -> None:
    old, new = ([play(p.on(server), p) for p in points] for server in (before, after))
    print(printable(points_table(points, old, new)))
    print(errors_line("on points it never saw", points, old, new))


def calibrate(given: argparse.Namespace) -> Fit:
    """Read, fit, print and write what the command line asks for. Raises SimError for what is wrong with the input."""
    files = overlay.target(given.out or Path("mine/gpu") / f"my_{given.gpu}.yaml", given.force)
    results = read_results(given.results)
    checks = read_results(given.check) if given.check else Results()
    model_ids = [*results.model_ids, *checks.model_ids]
    model_ids += [run.model_id for run in (*results.runs, *checks.runs) if run.model_id]
    facts = [point.facts for point in results.points]
    server = server_described(given, model_ids, facts)
    points, notes = measured_on(server, *results.all_points())
    check_points, check_notes = measured_on(server, *checks.all_points())
    if not points:
        raise TraceError("no operating point to learn from: " + "; ".join(notes))
    for point in (*points, *check_points):
        refuse_if_too_big(server.gpu, server.model, point.on(server).engine)
    print(
        f"{len(points)} operating points of {server.model.name} on {server.gpu.name}, "
        f"tensor parallel {server.engine.tensor_parallel}, max_num_seqs {server.engine.max_num_seqs}, "
        f"max_num_batched_tokens {server.engine.max_num_batched_tokens}"
        f"{f'; {server.engine.weight_dtype} weights' if server.engine.weight_dtype else ''}"
    )
    for note in (*results.receipt_lines(), *notes, *checks.receipt_lines(), *check_notes):
        print(printable(f"note: {note}"))
    result = fit(server, points, [name.strip() for name in given.hold.split(",") if name.strip()])
    _print_fit(result)
    if check_points:
        _print_check(check_points, server, result.server)
    sources = {"gpu": _source_of("gpu", given.gpu, given.config_dir)}
    sources["engine"] = _source_of("engine", engine_named(given, facts), given.config_dir)
    overlay.write(files, result, sources, date.today().isoformat(), given.force)
    print(f"-> {files.gpu}\n-> {files.engine}\n{files.usage}")
    return result
