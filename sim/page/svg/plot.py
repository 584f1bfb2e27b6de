"""A frame with two axes: grid lines, ticks, labels that stand outside, and room computed from the texts."""

from __future__ import annotations

from collections.abc import Sequence

from sim.page.svg.canvas import LINE_HEIGHT, Canvas, width_of
from sim.page.svg.scale import Scale

_TICK_GAP = 6.0
_EDGE = 14.0


class Plot:
    """A canvas with scales. `x` and `y` are px of a value once the frame is drawn."""

    def __init__(
        self, width: int, height: float, x: Scale, y: Scale, x_label: str, y_label: str,
        legend: Sequence[tuple[str, str]] = (),
    ):  # fmt: skip
        """`legend`: (class of an area or line, name), in rows below the frame."""
        rows = _legend_rows(legend, width)
        self.canvas = Canvas(width, height + LINE_HEIGHT * len(rows))
        y_ticks = y.ticks(5)
        self.left = max((width_of(label) for _, label in y_ticks), default=0.0) + _TICK_GAP + 2
        self.right, self.top, self.bottom = width - _EDGE, 1.6 * LINE_HEIGHT, height - 2.6 * LINE_HEIGHT
        self.x, self.y = x.within(self.left, self.right), y.within(self.bottom, self.top)
        self._grid(y_ticks)
        self._x_axis(x_label)
        self.canvas.text(0, 12, y_label, "label")
        self._legend(rows, height)

    def _grid(self, ticks: list[tuple[float, str]]) -> None:
        for value, label in ticks:
            y = self.y(value)
            self.canvas.line(self.left, y, self.right, y, "grid")
            self.canvas.text(self.left - _TICK_GAP, y + 4, label, "tick", "end")

    def _x_axis(self, label: str) -> None:
        self.canvas.line(self.left, self.bottom, self.right, self.bottom, "axis")
        most = max(int((self.right - self.left) / 62), 2)
        free_from = 0.0
        for value, text in self.x.ticks(most):
            x, half = self.x(value), width_of(text) / 2
            self.canvas.line(x, self.bottom, x, self.bottom + 4, "axis")
            middle = min(max(x, half), self.canvas.width - half)
            if middle - half >= free_from:
                self.canvas.text(middle, self.bottom + 16, text, "tick", "middle")
                free_from = middle + half + 4
        self.canvas.text(self.right, self.bottom + 16 + LINE_HEIGHT, label, "label", "end")

    def _legend(self, rows: list[list[tuple[float, str, str]]], below: float) -> None:
        for row, entries in enumerate(rows):
            y = below + LINE_HEIGHT * row + 6
            for x, look, name in entries:
                self.canvas.rect(x, y - 9, 12, 10, look)
                self.canvas.text(x + 17, y, name, "tick")

    def steps(self, edges: Sequence[float], values: Sequence[float], look: str) -> None:
        """A line that keeps each value from its edge to the next; there is one more edge than values."""
        self.canvas.path(self._stepped(edges, values), look)

    def area(self, edges: Sequence[float], low: Sequence[float], high: Sequence[float], look: str) -> None:
        """The area between two stepped lines."""
        upper, lower = self._stepped(edges, high), self._stepped(edges, low)
        self.canvas.path([*upper, *reversed(lower)], look, is_closed=True)

    def curve(self, points: Sequence[tuple[float, float]], look: str) -> None:
        """A line through points in the units of the scales."""
        self.canvas.path([(self.x(x), self.y(y)) for x, y in points], look)

    def level(self, y: float, text: str) -> None:
        """A dashed horizontal line with its name above its right end."""
        self.canvas.line(self.left, self.y(y), self.right, self.y(y), "limit")
        self.canvas.text(self.right, self.y(y) - 4, text, "note halo", "end")

    def _stepped(self, edges: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
        """Corners only: stretches of equal values are one line."""
        points: list[tuple[float, float]] = []
        for index, value in enumerate(values):
            y = self.y(value)
            if not points or points[-1][1] != y:
                points.append((self.x(edges[index]), y)) if not points else points.extend(
                    [(self.x(edges[index]), points[-1][1]), (self.x(edges[index]), y)]
                )
        if points:
            points.append((self.x(edges[len(values)]), points[-1][1]))
        return points


def _legend_rows(legend: Sequence[tuple[str, str]], width: float) -> list[list[tuple[float, str, str]]]:
    rows: list[list[tuple[float, str, str]]] = []
    x = 0.0
    for look, name in legend:
        needed = 17 + width_of(name) + 14
        if not rows or x + needed > width:
            rows.append([])
            x = 0.0
        rows[-1].append((x, look, name))
        x += needed
    return rows
