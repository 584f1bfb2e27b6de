"""An SVG in the making: shapes and texts with classes, and nothing that a content security policy would refuse."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from sim.page.model import Figure, Grid, Zoom

WIDE, NARROW = 720, 340
"""Widths of the two forms of a drawing, in CSS pixels: for a screen or paper, and for a phone."""
LINE_HEIGHT = 17.0
_CHARACTER = 7.0  # mean width of a character of 12 px type, in px; wide enough that what fits by it does fit
_BOLD = 8.0
_MARKS = {
    "circle": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "square": "M-4.2-4.2h8.4v8.4h-8.4z",
    "triangle": "M0-5.4L5.2 4H-5.2z",
    "diamond": "M0-6L5.4 0L0 6L-5.4 0z",
    "down": "M0 5.4L5.2-4H-5.2z",
    "plus": "M-1.8-5h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
}
SHAPES = tuple(_MARKS)
Draw = Callable[[int], "Canvas"]


def width_of(text: str, is_bold: bool = False) -> float:
    """About the width of a text in px."""
    return (_BOLD if is_bold else _CHARACTER) * len(text)


def lines_of(text: str, width: float) -> list[str]:
    """The text in lines that fit a width in px; long words are cut."""
    return textwrap.wrap(text, max(int(width / _CHARACTER), 8), break_on_hyphens=False) or [""]


class Canvas:
    """Shapes are drawn in the order of the calls. Coordinates are px from the upper left corner."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self._parts: list[Markup] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        """A straight line."""
        self._add(f'<path class="{look}" d="M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}"/>')

    def rect(self, x: float, y: float, width: float, height: float, look: str, tip: str = "") -> None:
        """A rectangle; `tip` is shown under the pointer."""
        size = f'width="{_n(max(width, 0.0))}" height="{_n(max(height, 0.0))}"'
        self._add(f'<rect class="{look}" x="{_n(x)}" y="{_n(y)}" {size}', tip, "rect")

    def path(self, points: Sequence[tuple[float, float]], look: str, is_closed: bool = False) -> None:
        """A line through points, or the area within it."""
        if points:
            d = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
            self._add(f'<path class="{look}" d="M{d}{"z" if is_closed else ""}"/>')

    def mark(self, x: float, y: float, shape: str, look: str, tip: str = "") -> None:
        """A small mark of one of SHAPES."""
        self._add(
            f'<path class="{look}" transform="translate({_n(x)} {_n(y)})" d="{_MARKS[shape]}"', tip, "path"
        )  # fmt: skip

    def text(self, x: float, y: float, text: str, look: str = "", anchor: str = "start") -> None:
        """A line of text, its base line at y; `anchor` is start, middle or end."""
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        named = f' class="{look}"' if look else ""
        self._parts.append(Markup(f'<text x="{_n(x)}" y="{_n(y)}"{where}{named}>') + escape(text) + Markup("</text>"))

    def svg(self, title: str, description: str, form: str) -> Markup:
        """The drawing as an element; `form` is its class, wide or narrow."""
        head = Markup(
            f'<svg class="{form}" viewBox="0 0 {_n(self.width)} {_n(self.height)}" role="img" '
            'xmlns="http://www.w3.org/2000/svg">'
        )
        told = Markup("<title>") + escape(title) + Markup("</title><desc>") + escape(description) + Markup("</desc>")
        return head + told + Markup("").join(self._parts) + Markup("</svg>")

    def _add(self, opened: str, tip: str = "", name: str = "") -> None:
        if not name:
            self._parts.append(Markup(opened))
        elif tip:
            self._parts.append(Markup(f"{opened}><title>") + escape(tip) + Markup(f"</title></{name}>"))
        else:
            self._parts.append(Markup(f"{opened}/>"))


def figure(title: str, description: str, draw: Draw, data: Grid, zoom: Zoom | None = None) -> Figure:
    """A drawing in both forms, with its data."""
    forms = {form: draw(width).svg(title, description, form) for form, width in (("wide", WIDE), ("narrow", NARROW))}
    return Figure(title, forms["wide"], forms["narrow"], data, zoom)


def _n(value: float) -> str:
    """A coordinate with one decimal: a tenth of a pixel cannot be seen, and files stay small."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text
