"""Distance to flip: how far each input may move before another fleet is the better answer."""

from __future__ import annotations

from sim.page.model import Column, Section, grid
from sim.page.saved.decision import Decision, Flip
from sim.page.sections.cells import Cell, change_cell, number_cell, signed
from sim.page.svg.bars import Bar, bars
from sim.page.svg.canvas import figure
from sim.report.formatting import number

_LONGEST = 1.0
"""Changes above 100 % are drawn as an open bar of this length."""
_MOST_BARS = 10


def flips(found: Decision) -> Section:
    """The section; empty where there is no runner-up."""
    if not found.flips or found.runner_up is None:
        return Section("flips", "What would change the answer")
    turning = [flip for flip in found.flips if flip.change_fraction is not None]
    never = [flip.key for flip in found.flips if flip.change_fraction is None]
    sentence = f"The runner-up is {found.runner_up.name}."
    notes = (f"Alone, at no value does it change the answer: {', '.join(never)}.",) if never else ()
    if not turning:
        return Section(
            "flips", "What would change the answer", (f"{sentence} No input alone makes it win.",), notes=notes
        )
    nearest = turning[0]
    title = f"The answer turns first if {nearest.key} changes by {signed(nearest.change_fraction)}"
    shown = turning[:_MOST_BARS]
    longest = min(max(abs(flip.change_fraction or 0.0) for flip in shown), _LONGEST)
    low = -longest if any((flip.change_fraction or 0.0) < 0 for flip in shown) else 0.0
    high = longest if any((flip.change_fraction or 0.0) > 0 for flip in shown) else 0.0
    drawn = figure(
        title, "Bars: the change of each input, one at a time, at which the runner-up is as cheap.",
        lambda width: bars(width, [_bar(flip, longest) for flip in shown], low, high, zero=0.0), _table(found.flips),
    )  # fmt: skip
    return Section("flips", "What would change the answer", (sentence,), figures=(drawn,), notes=notes)


def _bar(flip: Flip, longest: float) -> Bar:
    change = flip.change_fraction or 0.0
    now, then = _now(flip), _then(flip)
    label = f"{flip.key}: {number(now)} now, turns at {number(then, 4)}"
    return Bar(label, 0.0, min(max(change, -longest), longest), signed(change), "plain", abs(change) > longest)


def _now(flip: Flip) -> float | None:
    return flip.usd if flip.usd is not None else flip.value


def _then(flip: Flip) -> float | None:
    return flip.flips_at_usd if flip.flips_at_usd is not None else flip.flips_at


def _table(found: list[Flip]):  # noqa: ANN202
    columns = (Column("input"), Column("now", is_number=True), Column("turns at", is_number=True),
               Column("change", "%", is_number=True))  # fmt: skip
    rows = [(Cell(f.key), number_cell(_now(f)), number_cell(_then(f)), change_cell(f.change_fraction)) for f in found]
    return grid("Each input, one at a time, and where the answer turns", columns, rows)
