"""What a result rests on: measured servers or borrowed constants, seeds, price lists, version, the input's hash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sim.page.model import Cell, Column, Grid, Section, grid
from sim.page.saved.decision import Decision
from sim.page.saved.run import SavedRun
from sim.page.sections.cells import percent_cell

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
    return Section("rests-on", TITLE, points=tuple(_told(run)), grids=() if table is None else (table,))


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


def _told(run: SavedRun) -> Iterator[str]:
    config = run.config
    names = {key: _name(config.get(key)) for key in ("model", "gpu")}
    yield "served: " + ", ".join(f"{key} {name}" for key, name in names.items() if name)
    slo = config.get("slo")
    if isinstance(slo, Mapping):
        yield "SLO: " + ", ".join(f"{k} = {v}" for k, v in slo.items() if v is not None and "deadline" not in k)
    prices = config.get("prices")
    if isinstance(prices, Mapping):
        lists = [f"{kind} from {of.get('provider')}, {of.get('as_of')}" for kind, of in
                 ((kind, prices.get(kind)) for kind in ("gpu", "api")) if isinstance(of, Mapping)]  # fmt: skip
        yield f"prices: {'; '.join(lists)}"
    n = run.summary.get("replications") or 1
    yield f"seed {config.get('seed')}, {n:g} replication{'' if n == 1 else 's'}"
    if run.digest:
        yield f"hash of the configuration, the program and the files that it read: {run.digest}"


def _name(group: Any) -> str:
    return str(group.get("name") or "") if isinstance(group, Mapping) else ""
