"""The page of a counterfactual bill for agents."""

from __future__ import annotations

from pathlib import Path

from sim.page.downloads import saved_if_small
from sim.page.model import Cell, Column, Grid, Page, Section, grid
from sim.page.saved.agents import JSON_NAME, Agents, Row, read_agents
from sim.page.saved.decision import Span
from sim.page.saved.description import JSON_NAME as DESCRIPTION
from sim.page.saved.description import read_description
from sim.page.sections.cells import number_cell, percent_cell, usd_cell
from sim.page.sections.traffic import traffic
from sim.page.svg.bars import Bar, bars
from sim.page.svg.canvas import figure
from sim.report.formatting import number, percent, seconds, usd
from sim.units import MINUTE_S

_LONGEST = 4.0
"""A bar is drawn open at its end if the row costs more than this multiple of the first row."""


def agents_page(folder: Path) -> Page:
    """Raises ConfigError for results that cannot be read."""
    found = read_agents(folder)
    log = (traffic(read_description(folder).traffic, "The sessions"),) if (folder / DESCRIPTION).is_file() else ()
    return Page(
        "Bill of agents", "What the recorded sessions of agents cost, served in other ways", found.sentence,
        tuple(found.below), (_costs(found), _asked(found), *log, _rests_on(found)),
        tuple(saved_if_small(folder / JSON_NAME)),
    )  # fmt: skip


def _costs(found: Agents) -> Section:
    first = found.rows[0].usd_per_task.mean or 0.0
    known = [row for row in found.rows if row.usd_per_task.mean is not None]
    longest = max((end for row in known for end in _ends(row.usd_per_task)), default=1.0)
    most = min(longest, _LONGEST * first) if first else longest
    done = [row for row in known if row.tasks_finished_fraction == 1] or known
    usds = [row.usd_per_task.mean or 0.0 for row in done]
    drawn = figure(
        f"The same sessions cost {usd(min(usds))} to {usd(max(usds))} a task",
        f"Bars: US dollars a task, beside them how many times the first; open ones are longer than {_LONGEST:g} times "
        "the first. The line through the end of a bar is its 95 % interval.",
        lambda width: bars(width, [_bar(row, found.rows[0], most) for row in known], 0.0, most), _table(found.rows),
    )  # fmt: skip
    notes = tuple(f"{_name(row)}: {'; '.join(row.doubts)}." for row in found.rows if row.doubts)
    return Section("costs", "What a task costs", figures=(drawn,), grids=(_listed(found.rows),), notes=notes)


def _ends(span: Span) -> list[float]:
    return [end for end in (span.mean, span.high) if end is not None]


def _bar(row: Row, first: Row, most: float) -> Bar:
    span, cost = row.usd_per_task, row.usd_per_task.mean or 0.0
    is_plain = row.slo_judgement == "meets" and row.tasks_finished_fraction == 1
    times = _times(row, first)
    beside = "" if times is None or row is first else f", x {number(times)}"
    doubt = None
    if span.low is not None and span.high is not None and span.high > span.low and cost <= most:
        doubt = (min(span.low, most), min(span.high, most))
    look = "warn" if not is_plain else "good" if row is first else "plain"
    label = _name(row) + ("" if is_plain else " (not within the SLO, or not all of the work)")
    return Bar(label, 0.0, min(cost, most), usd(cost) + beside, look, cost > most, doubt)


def _table(rows: list[Row]) -> Grid:
    columns = (
        Column("row"),
        *(Column(name, "USD a task", is_number=True)
          for name in ("cost", "from", "to", "more than the first", "from", "to")),
    )  # fmt: skip
    cells = [
        (Cell(_name(row)), *_span(row.usd_per_task), *_span(row.difference_usd_per_task or Span())) for row in rows
    ]
    return grid("Cost of a task with 95 % intervals; differences to the first row are paired", columns, cells)


def _span(span: Span) -> tuple[Cell, Cell, Cell]:
    return usd_cell(span.mean), usd_cell(span.low), usd_cell(span.high)


def _listed(rows: list[Row]) -> Grid:
    columns = (
        Column("row"), Column("a task", "USD", is_number=True), Column("a seat", "USD a month", is_number=True),
        Column("in all", "USD a month", is_number=True), Column("times", "the first", is_number=True),
        Column("first token", "p95, s", is_number=True), Column("task", "mean, min", is_number=True),
        Column("in the SLO", "% of calls", is_number=True), Column("SLO"), Column("command", is_code=True),
    )  # fmt: skip
    cells = [
        (
            Cell(_name(row)), usd_cell(row.usd_per_task.mean),
            usd_cell(None if row.usd_per_seat_and_month is None else row.usd_per_seat_and_month.mean),
            usd_cell(row.usd_per_month.mean), Cell(row.times_the_first or "1", _times(row, rows[0])),
            Cell("never" if row.ttft_p95_s is None else seconds(row.ttft_p95_s), row.ttft_p95_s),
            number_cell(None if row.task_mean_s is None else row.task_mean_s / MINUTE_S),
            percent_cell(row.slo_attainment_fraction.mean), Cell(row.slo_judgement), Cell(row.command),
        )
        for row in rows
    ]  # fmt: skip
    return grid("Every row, with the command that plays it", columns, cells, file="agents.csv")


def _name(row: Row) -> str:
    return f"{row.what}: {row.name}"


def _times(row: Row, first: Row) -> float | None:
    """What the column of ratios is sorted by."""
    if row.tasks_finished_fraction < first.tasks_finished_fraction or not first.usd_per_task.mean:
        return None
    return (row.usd_per_task.mean or 0.0) / first.usd_per_task.mean


def _asked(found: Agents) -> Section:
    columns = (
        Column("row"), Column("calls", is_number=True), Column("tokens in", is_number=True),
        Column("of them cached", "%", is_number=True), Column("tokens out", is_number=True),
        Column("finished", "% of tasks", is_number=True),
    )  # fmt: skip
    rows = [
        (
            Cell(_name(row)), number_cell(row.requests_per_task), _whole(row.input_tokens_per_task),
            percent_cell(_share(row)), _whole(row.output_tokens_per_task), percent_cell(row.tasks_finished_fraction),
        )
        for row in found.rows
    ]  # fmt: skip
    best = max(found.rows, key=lambda row: _share(row) or 0.0)
    sentence = f"Of the tokens in, {percent(_share(best))} % at most come from a cache, {_name(best)}."
    table = grid("Calls and tokens of a mean task", columns, rows)
    return Section("asked", "What a task asks for", (sentence,), grids=(table,))


def _share(row: Row) -> float | None:
    if not row.input_tokens_per_task or row.cached_input_tokens_per_task is None:
        return None
    return row.cached_input_tokens_per_task / row.input_tokens_per_task


def _whole(value: float | None) -> Cell:
    return Cell("–" if value is None else f"{value:,.0f}", value)


def _rests_on(found: Agents) -> Section:
    out = tuple(f"Left out: {one.name}: {one.reason}." for one in found.left_out)
    return Section("rests-on", "What this rests on", points=tuple(found.rests_on), notes=out)
