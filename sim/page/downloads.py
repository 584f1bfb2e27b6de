"""Files that a page hands out: saved ones as they are, and tables as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from sim.page.model import Cell, Download, Grid
from sim.study.folder import no_formula

_MEDIA = {".json": "application/json", ".csv": "text/csv", ".yaml": "text/plain"}
_MOST_BYTES = 200_000
"""Larger files stay in their folder: a page has to be light."""


def saved(path: Path) -> Download:
    """A file of the folder."""
    return Download(path.name, _MEDIA.get(path.suffix, "text/plain"), path.read_bytes())


def saved_if_small(*paths: Path) -> list[Download]:
    """Those of the files that exist and are small."""
    return [saved(path) for path in paths if path.is_file() and path.stat().st_size <= _MOST_BYTES]


def csv_of(name: str, grid: Grid) -> Download:
    """A table as CSV: numbers in full, and no text that a spreadsheet would take for a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([f"{column.name}, {column.unit}" if column.unit else column.name for column in grid.columns])
    for row in grid.rows:
        writer.writerow([_value(cell) for cell in row])
    return Download(name, "text/csv", file.getvalue().encode())


def _value(cell: Cell) -> str | float:
    return cell.value if cell.value is not None else str(no_formula(cell.text))
