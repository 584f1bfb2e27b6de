"""Cost against attainment: marks by kind of fleet, intervals, the frontier, and labels that hide nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sim.page.svg.canvas import LINE_HEIGHT, Canvas, lines_of, width_of
from sim.page.svg.plot import Plot
from sim.page.svg.scale import Scale
from sim.report.frontier import frontier_of, steps

_LABEL_WIDTH = 175.0  # px
_MOST_HIDDEN = 0.02  # of a label's area
_CLEARER = 1.6
"""Times as far as from its own mark a label is from every other, or a reader would take it for that one's."""
_SAME = 9.0  # px; marks so near lie on each other, and share what is written beside them
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in px."""


class Point(NamedTuple):
    """A fleet. `state`: meets, open (not resolved) or misses the SLO. `label` is written beside it, if it has one."""

    x: float
    y: float
    x_range: tuple[float, float] | None
    y_range: tuple[float, float] | None
    shape: str
    state: str
    tip: str
    label: str = ""


def points(
    width: int, found: Sequence[Point], x: Scale, y: Scale, labels: tuple[str, str], target: float | None,
    shapes: Sequence[tuple[str, str]],
) -> Canvas:  # fmt: skip
    """`labels` of the axes; `shapes`: (shape, what it stands for), listed below."""
    entries = _entries(shapes, width)
    rows = 1 + max((row for _, row, _, _ in entries), default=-1)
    height = 300 if width > 500 else 270
    plot = Plot(width, height, x, y, *labels)
    plot.canvas.height += LINE_HEIGHT * (rows + 1)
    if target is not None:
        at_x = plot.x(target)
        plot.canvas.line(at_x, plot.top - 4, at_x, plot.bottom, "limit")
        plot.canvas.text(min(at_x, plot.right - 40), plot.top - 8, f"SLO: {100 * target:g} %", "note", "middle")
    _frontier(plot, found)
    for point in found:
        _interval(plot, point)
    for point in found:
        plot.canvas.mark(plot.x(point.x), plot.y(point.y), point.shape, f"mark {point.state}", point.tip)
    _label(plot, found)
    for left, row, shape, name in entries:
        base = height + LINE_HEIGHT * row + 6
        plot.canvas.mark(left + 6, base - 4, shape, "mark meets")
        plot.canvas.text(left + 17, base, name, "tick")
    base = height + LINE_HEIGHT * rows + 6
    left = 0.0
    for state, name in (("meets", "meets the SLO"), ("open", "not resolved"), ("misses", "misses it")):
        plot.canvas.mark(left + 6, base - 4, "circle", f"mark {state}")
        plot.canvas.text(left + 17, base, name, "tick")
        left += 17 + width_of(name) + 14
    return plot.canvas


def _entries(shapes: Sequence[tuple[str, str]], width: float) -> list[tuple[float, int, str, str]]:
    """(left, row, shape, name)."""
    found: list[tuple[float, int, str, str]] = []
    left, row = 0.0, 0
    for shape, name in shapes:
        needed = 17 + width_of(name) + 14
        if found and left + needed > width:
            left, row = 0.0, row + 1
        found.append((left, row, shape, name))
        left += needed
    return found


def _frontier(plot: Plot, found: Sequence[Point]) -> None:
    """Steps through the points that no other beats in both: the least cost for each attainment."""
    best = [found[place] for place in frontier_of([p.x for p in found], [p.y for p in found])]
    corners = steps([(plot.x(point.x), plot.y(point.y)) for point in best])
    plot.canvas.path(corners, "frontier")


def _interval(plot: Plot, point: Point) -> None:
    x, y = plot.x(point.x), plot.y(point.y)
    if point.y_range is not None:
        plot.canvas.line(x, plot.y(point.y_range[0]), x, plot.y(point.y_range[1]), "interval")
    if point.x_range is not None:
        plot.canvas.line(plot.x(point.x_range[0]), y, plot.x(point.x_range[1]), y, "interval")


def _label(plot: Plot, found: Sequence[Point]) -> None:
    """Each label where it hides least: beside, above or below its point, inside the frame, and nearest to its own.

    Those that meet the SLO come first, the cheapest before others; a label that would hide too much is left out: its
    mark still tells the name under the pointer, and the table has it.
    """
    taken: list[Box] = [
        (plot.x(p.x) - 6, plot.y(p.y) - 6, plot.x(p.x) + 6, plot.y(p.y) + 6) for p in found
    ]  # fmt: skip
    for point in sorted(found, key=lambda p: (p.state != "meets", p.y)):
        if not point.label:
            continue
        lines = lines_of(point.label, _LABEL_WIDTH)
        width, height = max(width_of(line, is_bold=True) for line in lines), LINE_HEIGHT * len(lines)
        at = plot.x(point.x), plot.y(point.y)
        others = [other for p in found if math.dist(other := (plot.x(p.x), plot.y(p.y)), at) > _SAME]
        places = [
            place for place in _places(*at, width, height)
            if all(_distance(place, other) > _CLEARER * _distance(place, at) for other in others)
        ]  # fmt: skip
        ranked = ((_harm(place, taken, plot), index, place) for index, place in enumerate(places))
        harm, _, box = min(ranked, default=(math.inf, 0, (0.0, 0.0, 0.0, 0.0)))
        if harm <= _MOST_HIDDEN * width * height:
            taken.append(box)
            for index, line in enumerate(lines):
                plot.canvas.text(box[0], box[1] + LINE_HEIGHT * (index + 1) - 4, line, "name halo")


def _places(x: float, y: float, width: float, height: float) -> list[Box]:
    """Those beside the point, then those above and below it, the nearest first."""
    beside = [(left, y - height / 2) for left in (x + 10, x - 10 - width)]
    lefts = (x - width / 2, x + 10, x - 10 - width, x - width, x)
    tops = (y + 10, y - 10 - height, y + 28, y - 28 - height, y + 46, y - 46 - height)
    corners = beside + [(left, top) for top in tops for left in lefts]
    return [(left, top, left + width, top + height) for left, top in corners]


def _distance(box: Box, point: tuple[float, float]) -> float:
    """px from a point to a box; 0 inside it."""
    x, y = point
    return math.hypot(max(box[0] - x, x - box[2], 0.0), max(box[1] - y, y - box[3], 0.0))


def _harm(box: Box, taken: Sequence[Box], plot: Plot) -> float:
    inside = (max(box[0], plot.left), max(box[1], plot.top), min(box[2], plot.canvas.width), min(box[3], plot.bottom))
    area = (box[2] - box[0]) * (box[3] - box[1])
    outside = area - max(inside[2] - inside[0], 0.0) * max(inside[3] - inside[1], 0.0)
    hidden = sum(
        max(min(box[2], other[2]) - max(box[0], other[0]), 0.0)
        * max(min(box[3], other[3]) - max(box[1], other[1]), 0.0)
        for other in taken
    )
    return hidden + 20 * outside
