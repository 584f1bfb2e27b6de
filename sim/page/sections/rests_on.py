"""What a result rests on: measured servers or borrowed constants, seeds, price lists, version, the input's hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.page.model import Cell, Column, Grid, Section, grid
from sim.page.saved.decision import Decision
from sim.page.saved.run import SavedRun
from sim.page.sections.cells import percent_cell
from sim.study.setting import read_setting, setting_lines

TITLE = "What this rests on"
_METRICS = (("throughput", "throughput"), ("ttft", "time to first token"), ("itl", "time between tokens"))
_BASIS = {
    "fitted": "fitted to servers with this card", "operator_table": "of operator tables of this card",
    "scaled": "those of the same chip with other memory",
    "borrowed": "BORROWED from relatives: no server with this card was measured",
}  # fmt: skip


def of_a_run(run: SavedRun) -> Section:
    """The section of a run."""
    table = errors(run.model_error)
    hashed = f"hash of the configuration, the program and the files that it read: {run.digest}" if run.digest else ""
    points = (*setting_lines(read_setting(run.folder)), *filter(None, (hashed,)))
    return Section("rests-on", TITLE, points=points, grids=() if table is None else (table,))


def of_a_decision(found: Decision, run: SavedRun | None) -> Section:
    """The section of a decision; `run` is its winner, played once more."""
    grids = [] if run is None else [table for table in (errors(run.model_error),) if table is not None]
    if found.left_out:
        grids.append(_left_out(found))
    hashed = f"hash of the winner's configuration, the program and the log: {run.digest}" if run and run.digest else ""
    points = (*found.rests_on, *filter(None, (hashed,)))
    return Section("rests-on", TITLE, points=points, grids=tuple(grids), commands=tuple(found.commands))


def _left_out(found: Decision) -> Grid:
    """One row per reason: a search may leave out hundreds of fleets for the same one."""
    names: dict[str, list[str]] = {}
    for one in found.left_out:
        names.setdefault(one.reason, []).append(one.name)
    columns = (Column("why"), Column("fleets", is_number=True), Column("which"))
    rows = [(Cell(reason), Cell(str(len(own)), len(own)), Cell("; ".join(own))) for reason, own in names.items()]
    return grid("Fleets that were left out or given up", columns, rows, rows_printed=6)


def errors(error: Mapping[str, Any]) -> Grid | None:
    """The errors of the measured servers nearest to the card and the model; None where nothing is known of any."""
    measured_on = error.get("measured_on")
    if not isinstance(measured_on, Mapping):
        return None
    rows = [
        (Cell(words), percent_cell(error[key]), Cell(str(measured_on.get(key, ""))))
        for key, words in _METRICS
        if isinstance(error.get(key), int | float)
    ]
    if not rows:
        return None
    basis = _BASIS.get(str(error.get("basis")), str(error.get("basis")))
    columns = (Column("figure"), Column("model error", "%", is_number=True), Column("measured on"))
    return grid(f"{error.get('gpu')}: constants {basis}. Errors of the nearest measured servers", columns, rows)
