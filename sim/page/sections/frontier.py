"""Cost against attainment: every fleet that was played, with its intervals, and the frontier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sim.page.model import Cell, Column, Figure, Grid, grid
from sim.page.sections.cells import percent_cell, usd_cell
from sim.page.svg.canvas import SHAPES, figure
from sim.page.svg.points import Point, points
from sim.page.svg.scale import Scale, decades, nines, plain, up_to
from sim.report.attainment import Verdict
from sim.report.formatting import percent, usd

_WIDE_RANGE = 12.0
"""Costs that lie further apart than by this factor are drawn on a logarithmic axis."""
STATES = {Verdict.MEETS: "meets", Verdict.NOT_RESOLVED: "open"}
_MOST_DRAWN = 120
_FAR = 20.0
"""What costs more than this many times the cheapest that meets the SLO is left to the table."""


class Fleet(NamedTuple):
    """A fleet as it is drawn: cost and attainment with their intervals, its kind, its state, and a label if wanted."""

    name: str
    usd: float
    usd_range: tuple[float, float] | None
    attained: float
    attained_range: tuple[float, float] | None
    kind: str
    state: str
    label: str = ""


def state_of(judgement: str, reached: bool) -> str:
    """meets, open or misses: a single replication is taken at its word."""
    if judgement == Verdict.NOT_TESTED:
        return "meets" if reached else "misses"
    return STATES.get(judgement, "misses")  # type: ignore[call-overload, no-any-return]


def frontier(title: str, what: str, fleets: Sequence[Fleet], target: float | None) -> Figure:
    """The figure. `what` is the y axis, such as USD a month."""
    kinds = list(dict.fromkeys(fleet.kind for fleet in fleets))
    shapes = {kind: SHAPES[index % len(SHAPES)] for index, kind in enumerate(kinds)}
    drawn = _affordable(fleets)
    found = [
        Point(f.attained, f.usd, f.attained_range, f.usd_range, shapes[f.kind], f.state,
              f"{f.name}: {usd(f.usd)}, {percent(f.attained)} % attained", f.label)
        for f in drawn
    ]  # fmt: skip
    y = _costs(drawn)
    x = nines(min([f.attained for f in drawn] + ([target] if target is not None else [])))
    left_out = len(fleets) - len(drawn)
    told = f" {left_out} that cost far more or attain far less stand among all scenarios only." if left_out else ""
    return figure(
        title, "Each mark is a fleet; the dotted line is the frontier: no fleet costs less and attains more." + told,
        lambda width: points(
            width, found, x, y, ("calls that attain the SLO, %", what), target, [(shapes[k], k) for k in kinds]
        ),
        _table(drawn, what),
    )  # fmt: skip


def _affordable(fleets: Sequence[Fleet]) -> list[Fleet]:
    """What is drawn: no fleet that costs many times the cheapest good one, and of very many those that attain most."""
    good = [fleet.usd for fleet in fleets if fleet.state == "meets" and fleet.usd > 0]
    most = _FAR * min(good) if good else math.inf
    near = [fleet for fleet in fleets if fleet.usd <= most] or list(fleets)
    near = sorted(near, key=lambda fleet: (fleet.state != "meets", -fleet.attained, fleet.usd))[:_MOST_DRAWN]
    return [fleet for fleet in fleets if fleet in near]


def _costs(fleets: Sequence[Fleet]) -> Scale:
    ends = [end for f in fleets for end in (f.usd_range or (f.usd,))] + [f.usd for f in fleets]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    return decades(low, high, _dollars) if low > 0 and high / low > _WIDE_RANGE else up_to(high, _dollars)


def _dollars(value: float) -> str:
    """A tick: a round number of dollars."""
    return f"${plain(value)}"


def _table(fleets: Sequence[Fleet], what: str) -> Grid:
    columns = (
        Column("fleet"), Column("kind"), Column(what, is_number=True), Column("from", is_number=True),
        Column("to", is_number=True), Column("attained", "%", is_number=True), Column("SLO"),
    )  # fmt: skip
    words = {"meets": "meets", "open": "not resolved", "misses": "misses"}
    rows = [
        (Cell(f.name), Cell(f.kind), usd_cell(f.usd), *(usd_cell(end) for end in f.usd_range or (None, None)),
         percent_cell(f.attained), Cell(words[f.state]))
        for f in fleets
    ]  # fmt: skip
    return grid("Cost and attainment of each fleet, with 95 % intervals of the cost", columns, rows)
