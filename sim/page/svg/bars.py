"""Horizontal bars, each under its whole label: signed changes, shares of a whole, and a bill as a waterfall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sim.page.svg.canvas import LINE_HEIGHT, Canvas, lines_of, width_of
from sim.page.svg.scale import Scale

_BAR = 13.0
_GAP = 8.0


class Bar(NamedTuple):
    """A bar from `begin` to `end` in the units of its axis; `value` is written beside it."""

    label: str
    begin: float
    end: float
    value: str
    look: str
    is_cut: bool = False
    """The bar reaches beyond the axis: its end is drawn open."""
    doubt: tuple[float, float] | None = None
    """Between these values the end of the bar may lie."""


def bars(width: int, found: Sequence[Bar], low: float, high: float, zero: float | None = None) -> Canvas:
    """Bars below one another on an axis from `low` to `high`; a line at `zero`, if it is given."""
    labels = [lines_of(bar.label, width) for bar in found]
    left, right = (
        max((width_of(bar.value, is_bold=True) for bar in found if _is_leftwards(bar, low) == side), default=-9.0) + 10
        for side in (True, False)
    )
    scale = Scale(low, high, begin=left, end=width - right)
    canvas = Canvas(width, sum(LINE_HEIGHT * len(lines) + _BAR + _GAP for lines in labels) + 2)
    y = 0.0
    for bar, lines in zip(found, labels, strict=True):
        for line in lines:
            y += LINE_HEIGHT
            canvas.text(0, y - 4, line)
        begin, end = sorted((scale(bar.begin), scale(bar.end)))
        canvas.rect(begin, y, max(end - begin, 1.0), _BAR, bar.look, f"{bar.label}: {bar.value}")
        if bar.doubt is not None:
            ends = [scale(value) for value in bar.doubt]
            canvas.line(ends[0], y + _BAR / 2, ends[1], y + _BAR / 2, "interval")
            begin, end = min(begin, *ends), max(end, *ends)
        if bar.is_cut:
            _open_end(canvas, begin if _is_leftwards(bar, low) else end, y)
        if _is_leftwards(bar, low):
            canvas.text(begin - 6, y + 11, bar.value, "value", "end")
        else:
            canvas.text(end + 6, y + 11, bar.value, "value")
        if zero is not None:
            canvas.line(scale(zero), y - 2, scale(zero), y + _BAR + 2, "axis")
        y += _BAR + _GAP
    return canvas


def _is_leftwards(bar: Bar, low: float) -> bool:
    """Whether the bar grows to the left, so that its value stands on its left."""
    return bar.end < bar.begin and low < 0


def _open_end(canvas: Canvas, x: float, y: float) -> None:
    """Two slanted strokes through the end of a bar that is longer than its axis."""
    for shift in (-7.0, -3.0):
        canvas.line(x + shift - 2, y + _BAR + 2, x + shift + 3, y - 2, "cut")
