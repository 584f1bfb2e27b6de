"""The error budget: seeds, traffic, engine, prices, and all together; whether the answer survives them."""

from __future__ import annotations

from sim.page.model import Cell, Column, Grid, Section, grid
from sim.page.saved.decision import Budget, Part
from sim.page.sections.cells import change_cell, signed
from sim.page.svg.bars import Bar, bars
from sim.page.svg.canvas import figure

TITLE = "How sure this is"
_SURVIVES = {True: "yes", False: "no", None: "cannot be said"}


def error_budget(found: Budget | None) -> Section:
    """The section; empty where no budget was made."""
    if found is None:
        return Section("error-budget", TITLE)
    parts = [*found.parts, found.together]
    drawn_parts = [part for part in parts if part.low_fraction is not None or part.high_fraction is not None]
    told = f"The cost is known to {_range(found.together)}"
    won = (
        f": the answer wins in {found.worlds_won} of {found.worlds} worlds with all errors drawn at once"
        if found.worlds
        else ""
    )
    ends = [end for part in drawn_parts for end in (part.low_fraction or 0.0, part.high_fraction or 0.0)]
    if not drawn_parts or not any(ends):
        return Section("error-budget", TITLE, (told + won + ".",), grids=(_table(parts),))
    drawn = figure(
        told + won, "Bars: the 95 % range of the cost that each error leaves, around what was found.",
        lambda width: bars(width, [_bar(part) for part in drawn_parts], min(ends), max(ends), zero=0.0), _table(parts),
    )  # fmt: skip
    lost = [part.name for part in found.parts if part.survives is False]
    sentences = (f"Within the range of {' and '.join(lost)} another fleet may be the answer.",) if lost else ()
    return Section("error-budget", TITLE, sentences, figures=(drawn,))


def _range(part: Part) -> str:
    if part.low_fraction is None or part.high_fraction is None:
        return "an extent that cannot be said"
    if part.low_fraction == part.high_fraction == 0:
        return signed(0.0)
    return f"{signed(part.low_fraction)} to {signed(part.high_fraction)}"


def _bar(part: Part) -> Bar:
    label = part.name if part.survives is not False else f"{part.name}: the answer may change within it"
    look = "total" if part.name == "together" else "warn" if part.survives is False else "plain"
    return Bar(label, part.low_fraction or 0.0, part.high_fraction or 0.0, _range(part), look)


def _table(parts: list[Part]) -> Grid:
    columns = (
        Column("error"), Column("from", "%", is_number=True), Column("to", "%", is_number=True),
        Column("the answer stands"), Column("rests on"),
    )  # fmt: skip
    rows = [
        (Cell(p.name), _end(p.low_fraction), _end(p.high_fraction), Cell(_SURVIVES[p.survives]), Cell(p.basis))
        for p in parts
    ]
    return grid("95 % ranges of the cost, by source of error", columns, rows)


def _end(fraction: float | None) -> Cell:
    return Cell("not known") if fraction is None else change_cell(fraction)
