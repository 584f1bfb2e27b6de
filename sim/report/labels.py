"""Text labels beside the points of a figure, placed so that they hide neither each other nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

_FONT_SIZE = 8.5
Offset = tuple[int, int, str, str]
_OFFSETS: tuple[Offset, ...] = (
    (9, 0, "left", "center"), (-9, 0, "right", "center"), (0, 9, "center", "bottom"), (0, -9, "center", "top"),
    (8, 8, "left", "bottom"), (8, -8, "left", "top"), (-8, 8, "right", "bottom"), (-8, -8, "right", "top"),
    (10, 17, "left", "bottom"), (10, -17, "left", "top"), (-10, 17, "right", "bottom"), (-10, -17, "right", "top"),
    (0, 24, "center", "bottom"), (0, -24, "center", "top"),
)  # fmt: skip
"""Where a label may stand relative to its point: x and y in points of type, horizontal and vertical alignment."""

_PASSES = 4
"""Times that each label is placed again, because a label placed later may have made another place better."""
_MARK = 8.0
"""Half the side of the square that a mark takes, in pixels."""
_ON_EACH_OTHER = 9.0
"""Marks nearer than this, in pixels, share a label."""
_TEXT_WEIGHT = 4.0
"""How much worse it is to hide text than to hide as much of a mark."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top in pixels."""


class Label(NamedTuple):
    """A text for a point, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


class _Placed(NamedTuple):
    texts: list[Annotation]
    boxes: list[Box]
    is_clean: bool
    """Whether no label hides another, a text that was there, or a mark, leaves the frame, or is nearer to another mark
    than to its own."""


def place_labels(axes: Axes, labels: Sequence[Label]) -> bool:
    """Write each label near its point, at the offset that hides least. Returns whether nothing is hidden or misleading.

    The figure must have an Agg canvas and have been drawn once: only then are the sizes of its panels final.
    """
    return _placed(axes, labels).is_clean


def place_merged(axes: Axes, numbers: Sequence[tuple[float, float, int]], colour: str) -> None:
    """Write the number of each point (x, y, number) beside it; points whose numbers would hide each other share a
    label, such as `3, 5–7`. The figure as for `place_labels`."""
    at = [axes.transData.transform((x, y)).tolist() for x, y, _ in numbers]
    near = [
        (i, j) for j in range(len(at)) for i in range(j) if _distance((*at[i], *at[i]), at[j]) < _ON_EACH_OTHER
    ]  # fmt: skip
    groups = _joined([[i] for i in range(len(at))], near)
    while True:
        labels = [
            Label(*numbers[own[0]][:2], _runs(sorted({numbers[i][2] for i in own})), colour) for own in groups
        ]  # fmt: skip
        placed = _placed(axes, labels, [tuple(point) for point in at])
        pairs = [
            (i, j) for j, box in enumerate(placed.boxes) for i in range(j) if _overlap(box, placed.boxes[i]) > 0
        ]  # fmt: skip
        if not pairs:
            return
        for text in placed.texts:
            text.remove()
        groups = _joined(groups, pairs)


def _joined(groups: list[list[int]], pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The groups with those of each pair put together."""
    first = list(range(len(groups)))
    for i, j in pairs:
        old, new = max(first[i], first[j]), min(first[i], first[j])
        first = [new if place == old else place for place in first]
    return [
        sorted(member for i, own in enumerate(groups) if first[i] == place for member in own)
        for place in dict.fromkeys(first)
    ]


def _runs(numbers: Sequence[int]) -> str:
    """Numbers in order as text, three or more in a row as a range.

    >>> _runs([1, 2, 4, 5, 6, 9])
    '1, 2, 4–6, 9'
    """
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def _placed(axes: Axes, labels: Sequence[Label], marks: Sequence[tuple[float, ...]] = ()) -> _Placed:
    """Write labels at the offsets that hide least. `marks`: pixels of further points that should not be hidden."""
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]  # Matplotlib does not annotate it.
    frame = _extent(axes, renderer)
    standing = [_extent(text, renderer) for text in axes.texts]
    points = [axes.transData.transform((label.x, label.y)).tolist() for label in labels]
    around = [_around(x, y) for x, y in {*map(tuple, points), *marks}]
    written = [_write(axes, label) for label in labels]
    places = [[_box_at(text, offset, renderer) for offset in _OFFSETS] for text in written]
    chosen: dict[int, int] = {}

    def hidden(i: int, box: Box) -> tuple[float, float]:
        """Area in pixels of text, and of marks, that label i hides there; what is outside the frame counts as text."""
        others = [places[j][taken] for j, taken in chosen.items() if j != i]
        outside = _area(box) - _overlap(box, frame)
        return outside + sum(_overlap(box, o) for o in (*others, *standing)), sum(_overlap(box, o) for o in around)

    def misleads(i: int, box: Box) -> bool:
        """Whether label i would be nearer there to a point that is not where its own is."""
        own = _distance(box, points[i])
        others = (p for p in points if _distance((*p, *p), points[i]) >= _ON_EACH_OTHER)
        return any(_distance(box, point) < own for point in others)

    def harm(i: int, offset: int) -> float:
        """The hidden area, with penalties for places far down the list, and for those nearer to another point."""
        box = places[i][offset]
        text, mark = hidden(i, box)
        return _TEXT_WEIGHT * text + mark + 0.2 * _area(box) * misleads(i, box) + offset

    for _ in range(_PASSES):
        for i in range(len(labels)):
            chosen[i] = min(range(len(_OFFSETS)), key=partial(harm, i))
    for i, text in enumerate(written):
        _move(text, _OFFSETS[chosen[i]])
    boxes = [places[i][chosen[i]] for i in range(len(labels))]
    is_clean = not any(max(hidden(i, box)) > 1.0 or misleads(i, box) for i, box in enumerate(boxes))
    return _Placed(written, boxes, is_clean)


def _write(axes: Axes, label: Label) -> Annotation:
    written = axes.annotate(
        label.text, (label.x, label.y), xytext=(0, 0), textcoords="offset points", size=_FONT_SIZE, color=label.colour,
        zorder=4,
    )  # fmt: skip
    written.set_in_layout(False)
    written.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    return written


def _move(text: Annotation, offset: Offset) -> None:
    dx, dy, ha, va = offset
    text.set(ha=ha, va=va)
    text.xyann = (dx, dy)


def _box_at(text: Annotation, offset: Offset, renderer: RendererBase) -> Box:
    _move(text, offset)
    return _extent(text, renderer)


def _extent(drawn: Artist, renderer: RendererBase) -> Box:
    box = drawn.get_window_extent(renderer)
    return float(box.x0), float(box.y0), float(box.x1), float(box.y1)


def _distance(box: Box, point: Sequence[float]) -> float:
    dx = max(box[0] - point[0], point[0] - box[2], 0.0)
    dy = max(box[1] - point[1], point[1] - box[3], 0.0)
    return float((dx * dx + dy * dy) ** 0.5)


def _around(x: float, y: float) -> Box:
    return x - _MARK, y - _MARK, x + _MARK, y + _MARK


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(a: Box, b: Box) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0
