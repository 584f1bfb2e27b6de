"""Distance to flip: how far each input may move before another fleet is the better answer."""

from __future__ import annotations

from sim.page.model import Cell, Column, Grid, Section, grid
from sim.page.saved.decision import Decision, Flip
from sim.page.sections.cells import change_cell, number_cell, signed
from sim.page.svg.bars import Bar, bars
from sim.page.svg.canvas import figure
from sim.report.formatting import number

TITLE = "What would change the answer"
_LONGEST = 1.0
"""Changes above 100 % are drawn as an open bar of this length."""
_MOST_BARS = 10


def flips(found: Decision) -> Section:
    """The section; empty where nothing was looked at."""
    if not found.flips:
        return Section("flips", TITLE)
    turning = sorted(
        (f for f in found.flips if f.change_fraction is not None), key=lambda f: abs(f.change_fraction or 0)
    )
    never = [f for f in found.flips if f.key not in {one.key for one in turning}]
    notes = tuple(dict.fromkeys(_never(flip) for flip in never))
    if not turning:
        return Section("flips", TITLE, ("No input that was looked at changes the answer by itself.",), notes=notes)
    nearest, shown = turning[0], turning[:_MOST_BARS]
    title = (
        f"The answer turns first if {_name(nearest)} goes from {number(nearest.value)} to "
        f"{number(nearest.flips_at)} ({signed(nearest.change_fraction)})"
    )
    ends = [min(max(end, -_LONGEST), _LONGEST) for flip in shown for end in _ends(flip)]
    drawn = figure(
        title, "Bars: the change of each input, one at a time, at which another fleet becomes the answer. A line "
        "through the end of a bar: between its ends it is not resolved which fleet wins.",
        lambda width: bars(width, [_bar(flip) for flip in shown], min(0.0, *ends), max(0.0, *ends), zero=0.0),
        _table(found.flips),
    )  # fmt: skip
    return Section("flips", TITLE, figures=(drawn,), notes=notes)


def _name(flip: Flip) -> str:
    """What a reader calls the input; a price by its key, which says of what and per what."""
    return flip.key if flip.unit == "USD" or not flip.name else flip.name


def _never(flip: Flip) -> str:
    if flip.why_not:
        return f"{_name(flip)}: not looked at, as {flip.why_not}"
    return f"{_name(flip)}: changes the answer at no value looked at"


def _ends(flip: Flip) -> list[float]:
    known = (flip.change_fraction, flip.low_fraction, flip.high_fraction)
    return [end for end in known if end is not None]


def _bar(flip: Flip) -> Bar:
    change = flip.change_fraction or 0.0
    now = f"{number(flip.value)} {flip.unit}".rstrip()
    then = f"{number(flip.flips_at)}: then {flip.to}" if flip.to else number(flip.flips_at)
    label = f"{_name(flip)}: {now}, turns at {then}"
    low, high = flip.low_fraction, flip.high_fraction
    doubt = None if low is None or high is None else (_drawn(min(low, high)), _drawn(max(low, high)))
    return Bar(label, 0.0, _drawn(change), signed(change), "plain", abs(change) > _LONGEST, doubt)


def _drawn(change: float) -> float:
    return min(max(change, -_LONGEST), _LONGEST)


def _table(found: list[Flip]) -> Grid:
    columns = (
        Column("input"), Column("now", is_number=True), Column("turns at", is_number=True), Column("unit"),
        Column("change", "%", is_number=True), Column("stands to", "%", is_number=True),
        Column("turned from", "%", is_number=True), Column("then wins"), Column("why"), Column("key"),
    )  # fmt: skip
    rows = [
        (Cell(_name(f)), number_cell(f.value), number_cell(f.flips_at), Cell(f.unit),
         change_cell(f.change_fraction), _change(f.low_fraction), _change(f.high_fraction), Cell(f.to or ""),
         Cell(f.because or f.why_not), Cell(f.key))
        for f in found
    ]  # fmt: skip
    return grid("Each input, one at a time, and where the answer turns", columns, rows)


def _change(fraction: float | None) -> Cell:
    return Cell("") if fraction is None else change_cell(fraction)
