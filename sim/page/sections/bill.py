"""The bill as a waterfall: what the work itself needs, and what is paid beside it."""

from __future__ import annotations

from typing import NamedTuple

from sim.ledger.lines import (
    GPU_ASLEEP,
    GPU_BEYOND,
    GPU_BUSY,
    GPU_COLD_START,
    GPU_DRAINING,
    GPU_IDLE,
    GPU_POWER,
    GPU_ROUNDING,
    GPU_UNUSED,
    OVERHEAD,
)
from sim.page.model import Cell, Column, Grid, Section, grid
from sim.page.saved.run import SavedRun
from sim.page.sections.cells import percent_cell, usd_cell
from sim.page.svg.bars import Bar, bars
from sim.page.svg.canvas import figure
from sim.report.formatting import percent, usd

_AT_WORK = (GPU_BUSY, GPU_DRAINING)
_BESIDE = (
    (GPU_IDLE, "idle: nothing to do", "warn"), (GPU_ASLEEP, "asleep, paid for", "warn"),
    (GPU_COLD_START, "cold start: loading, not serving", "warn"),
    (GPU_ROUNDING, "rounding and minimum billing", "warn"), (GPU_UNUSED, "committed but unused", "warn"),
    (GPU_BEYOND, "surcharge beyond the commitment", "warn"), (GPU_POWER, "power", "plain"),
)  # fmt: skip


class Step(NamedTuple):
    """A part of the bill, in US dollars a month."""

    label: str
    usd: float
    look: str


def steps(run: SavedRun) -> list[Step]:
    """The parts of a run's bill that are not 0; they add up to it.

    Busy GPU time is parted in two: what the tokens would take at the rate of saturated replicas
    (token_fraction_of_peak of the paid time), and the rest, in which batches were part-filled: headroom.
    """
    month = run.month_per_window
    by_item = {item: usd * month for item, usd in run.usd_by_item.items()}
    busy = sum(by_item.get(item, 0.0) for item in _AT_WORK)
    found = _busy(busy, run.summary.get("token_fraction_of_peak"), run.summary.get("busy_fraction_of_paid"))
    for item, label, look in _BESIDE:
        found.append(Step(label, sum(usd for name, usd in by_item.items() if name.startswith(item)), look))
    others = {
        "API tokens": sum(usd for item, usd in by_item.items() if item.startswith("api ")),
        "overhead beyond GPUs": sum(usd for item, usd in by_item.items() if item.startswith(OVERHEAD)),
    }
    found += [Step(label, usd, "good" if label.startswith("API") else "plain") for label, usd in others.items()]
    rest = sum(by_item.values()) - sum(step.usd for step in found)
    if abs(rest) > 1e-6 * max(sum(by_item.values()), 1e-9):
        found.append(Step("other", rest, "plain"))
    return [step for step in found if step.usd]


def _busy(usd: float, tokens: object, busy: object) -> list[Step]:
    if not isinstance(tokens, int | float) or not isinstance(busy, int | float) or not busy:
        return [Step("GPU time at work", usd, "good")]
    work = usd * min(tokens / busy, 1.0)
    return [
        Step("the work itself, at the speed of a saturated GPU", work, "good"),
        Step("headroom: batches part-filled while busy", usd - work, "plain"),
    ]


def bill(run: SavedRun) -> Section:
    """The section; empty where nothing was paid."""
    found = steps(run)
    total = sum(step.usd for step in found)
    if total <= 0:
        return Section("bill", "Where the money goes")
    largest = max(found, key=lambda step: step.usd)
    title = f"{percent(largest.usd / total)} % of {usd(total)} a month goes to {largest.label.partition(':')[0]}"
    drawn = figure(
        title, "A waterfall: each bar begins where the one above it ends; the last is the whole bill.",
        lambda width: bars(width, _bars(found, total), 0.0, total), _table(found, total),
    )  # fmt: skip
    return Section("bill", "Where the money goes", figures=(drawn,))


def _bars(found: list[Step], total: float) -> list[Bar]:
    drawn, sum_usd = [], 0.0
    for step in found:
        value = f"{usd(step.usd)} ({percent(step.usd / total)} %)"
        drawn.append(Bar(step.label, sum_usd, sum_usd + step.usd, value, step.look))
        sum_usd += step.usd
    return [*drawn, Bar("in all, a month", 0.0, total, usd(total), "total")]


def _table(found: list[Step], total: float) -> Grid:
    columns = (
        Column("part"),
        Column("cost", "USD a month", is_number=True),
        Column("of the bill", "%", is_number=True),
    )
    rows = [(Cell(step.label), usd_cell(step.usd), percent_cell(step.usd / total)) for step in found]
    return grid("The bill of an average month, by what it is paid for", columns, rows)
