"""What a page is made of: sections with sentences, facts, figures and tables; the template gives them their form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup


class Column(NamedTuple):
    """The head of a column. `unit` stands below its name."""

    name: str
    unit: str = ""
    is_number: bool = False
    is_code: bool = False


class Cell(NamedTuple):
    """A cell: what is shown, and the number that a numeric column is sorted by (None: after all others)."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Grid:
    """A table. One with a `file` gets heads that sort, a field that filters its rows, and a button to save them."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    file: str = ""
    """The name of the CSV that its rows are saved as; only of a table that sorts, filters, and is saved."""
    rows_printed: int | None = None
    """How many of the rows are printed on paper; None: all."""

    @property
    def is_cut_on_paper(self) -> bool:
        return self.rows_printed is not None and len(self.rows) > self.rows_printed


@dataclass(frozen=True)
class Zoom:
    """Curves over time that can be zoomed: one list of x in `unit`, and one list of values per curve."""

    unit: str
    label: str
    x: tuple[float, ...]
    curves: tuple[tuple[str, str, tuple[float | None, ...]], ...]
    """(name, class of the colour, values)."""
    is_stacked: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data, as the page's script reads it."""
        curves = [{"name": name, "look": look, "values": list(values)} for name, look, values in self.curves]
        return {
            "unit": self.unit, "label": self.label, "x": list(self.x), "curves": curves, "stacked": self.is_stacked,
        }  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A drawing whose title is its finding, in a wide and a narrow form, and the numbers that it shows."""

    title: str
    wide: Markup
    narrow: Markup
    data: Grid
    zoom: Zoom | None = None


class Fact(NamedTuple):
    """A number that stands out, and what it is."""

    value: str
    name: str


@dataclass(frozen=True)
class Section:
    """A part of the page under one heading. What is empty is left out."""

    key: str
    title: str
    sentences: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    figures: tuple[Figure, ...] = ()
    grids: tuple[Grid, ...] = ()
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    """Lines of a list, after the sentences."""
    is_on_paper: bool = True


@dataclass(frozen=True)
class Download:
    """A file that the page holds and hands out."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Page:
    """A whole page. `answer` is the one sentence at its top, `below` what a reader must know beside it."""

    kind: str
    title: str
    answer: str
    below: tuple[str, ...]
    sections: tuple[Section, ...]
    downloads: tuple[Download, ...] = ()


def grid(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell | str]], **looks: Any) -> Grid:
    """A table of cells; a text is a cell that is sorted as text."""
    cells = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
    return Grid(caption, tuple(columns), cells, **looks)
