"""Every scenario that was played: a table that sorts and filters, with the command that plays each again."""

from __future__ import annotations

from sim.page.model import Cell, Column, Section, grid
from sim.page.saved.decision import Decision, Span
from sim.page.sections.cells import percent_cell, usd_cell

ROWS_PRINTED = 12
TITLE = "Every scenario"


def scenarios(found: Decision) -> Section:
    """The section; empty where a decision lists none."""
    if not found.scenarios:
        return Section("scenarios", TITLE)
    columns = (
        Column("fleet"), Column("cost", "USD a month", is_number=True), Column("±", "USD a month", is_number=True),
        Column("attained", "% of calls", is_number=True), Column("SLO"),
        Column("played", "replications", is_number=True), Column("command", is_code=True),
    )  # fmt: skip
    ordered = sorted(found.scenarios, key=lambda s: (s.usd_per_month.mean or 0.0, s.name))
    rows = [
        (
            Cell(s.name), usd_cell(s.usd_per_month.mean), usd_cell(_half(s.usd_per_month)),
            percent_cell(s.slo_attainment_fraction.mean), Cell(s.slo_judgement),
            Cell(str(s.usd_per_month.replications), s.usd_per_month.replications), Cell(s.command),
        )
        for s in ordered
    ]  # fmt: skip
    caption = f"{len(rows)} scenarios that the search played; one is judged only as long as it may still win"
    table = grid(caption, columns, rows, file="scenarios.csv", rows_printed=ROWS_PRINTED)
    return Section("scenarios", TITLE, grids=(table,))


def _half(span: Span) -> float | None:
    return None if span.low is None or span.high is None else (span.high - span.low) / 2
