"""The break-even map: which fleet wins by volume and burstiness, as letters and colours."""

from __future__ import annotations

from sim.page.model import Cell, Column, Figure, Grid, Section, grid
from sim.page.saved.decision import BreakEven
from sim.page.sections.cells import usd_cell
from sim.page.svg.canvas import LINE_HEIGHT, Canvas, figure, lines_of
from sim.report.formatting import number, usd

TITLE = "At other volumes and bursts"
_LOOKS = ("map1", "map2", "map3", "map4", "map5", "map6")
_ROW = 40.0


def break_even(found: BreakEven | None) -> Section:
    """The section; empty where no map was made."""
    if found is None:
        return Section("break-even", TITLE)
    return Section("break-even", TITLE, figures=(_map(found),))


def _map(found: BreakEven) -> Figure:
    names = list(dict.fromkeys(name for row in found.winners for name in row if name is not None))
    here = _winner_here(found)
    changed = sum(name != here for row in found.winners for name in row)
    n = sum(map(len, found.winners))
    title = f"{here or 'No fleet'} wins at {n - changed} of {n} volumes and bursts" if changed else (
        f"{here or 'No fleet'} wins at every volume and burst looked at")  # fmt: skip
    return figure(
        title, "Each cell: the letter of the cheapest fleet that meets the SLO, and its cost a month. Columns: factors "
        "on the number of users; rows: exponents on the rate of each minute over that of its hour.",
        lambda width: _draw(width, found, names), _table(found),
    )  # fmt: skip


def _winner_here(found: BreakEven) -> str | None:
    """The winner at the volume and the bursts of the log itself, or at those nearest to them."""
    row = min(range(len(found.burst_exponents)), key=lambda i: abs(found.burst_exponents[i] - 1))
    column = min(range(len(found.volume_factors)), key=lambda i: abs(found.volume_factors[i] - 1))
    return found.winners[row][column]


def _draw(width: int, found: BreakEven, names: list[str]) -> Canvas:
    labels = [line for i, name in enumerate(names) for line in lines_of(f"{chr(65 + i)}: {name}", width - 20)]
    left, top, n = 62.0, 2.2 * LINE_HEIGHT, len(found.volume_factors)
    canvas = Canvas(width, top + _ROW * len(found.burst_exponents) + LINE_HEIGHT * (len(labels) + 1.5))
    cell = (width - left) / n
    canvas.text(0, 12, "bursts", "label")
    canvas.text(width, 12, "volume, times that of the log", "label", "end")
    for column, factor in enumerate(found.volume_factors):
        canvas.text(left + cell * (column + 0.5), top - 6, f"× {factor:g}", "tick", "middle")
    for row, exponent in enumerate(found.burst_exponents):
        y = top + _ROW * row
        canvas.text(left - 8, y + 24, f"^ {exponent:g}", "tick", "end")
        for column, (name, cost) in enumerate(zip(found.winners[row], found.usd_per_month[row], strict=True)):
            x = left + cell * column
            look = "map0" if name is None else _LOOKS[names.index(name) % len(_LOOKS)]
            canvas.rect(x + 1, y + 1, cell - 2, _ROW - 2, look, f"{name or 'no fleet'}: {usd(cost)} a month")
            canvas.text(x + cell / 2, y + 17, "–" if name is None else chr(65 + names.index(name)), "value", "middle")
            canvas.text(x + cell / 2, y + 33, "" if cost is None else usd(cost), "", "middle")
    for i, line in enumerate(labels):
        canvas.text(0, top + _ROW * len(found.burst_exponents) + LINE_HEIGHT * (i + 1.2), line)
    return canvas


def _table(found: BreakEven) -> Grid:
    columns = (
        Column("volume", is_number=True), Column("bursts", is_number=True), Column("cheapest that meets the SLO"),
        Column("cost", "USD a month", is_number=True),
    )  # fmt: skip
    rows = [
        (Cell(number(volume), volume), Cell(number(exponent), exponent), Cell(name or "none"), usd_cell(cost))
        for exponent, names, costs in zip(found.burst_exponents, found.winners, found.usd_per_month, strict=True)
        for volume, name, cost in zip(found.volume_factors, names, costs, strict=True)
    ]
    return grid("Which fleet wins by volume and burstiness", columns, rows)
