"""The page of a log's description."""

from __future__ import annotations

from pathlib import Path

from sim.page.downloads import saved_if_small
from sim.page.model import Cell, Column, Grid, Page, Section, grid
from sim.page.saved.description import JSON_NAME, read_description
from sim.page.sections.traffic import traffic
from sim.report import description_text
from sim.report.description_text import length
from sim.report.formatting import number


def described_page(folder: Path) -> Page:
    """Raises ConfigError for results that cannot be read."""
    log, card = read_description(folder)
    name = Path(log.path).name
    told = [_section(index, section) for index, section in enumerate(description_text.sections(card))]
    read = Section("read", "What was read", tuple(line.strip() for line in log.lines()), notes=card.notes)
    answer = f"{name}: {card.requests:,} requests in {length(card.span_s)}, {number(card.requests_per_s)} requests/s."
    return Page(
        "Log", f"Traffic of {name}", answer, (), (traffic(card, "At a glance"), *told, read),
        tuple(saved_if_small(folder / JSON_NAME)),
    )  # fmt: skip


def _section(index: int, found: description_text.Section) -> Section:
    tables = (_grid(found.title, found.rows),) if found.rows else ()
    return Section(f"part-{index + 1}", found.title, found.sentences, grids=tables)


def _grid(title: str, rows: tuple[tuple[str, ...], ...]) -> Grid:
    head, *body = rows
    columns = [Column(name or "figure", is_number=index > 0) for index, name in enumerate(head)]
    return grid(title, columns, [[Cell(cell) for cell in row] for row in body])
