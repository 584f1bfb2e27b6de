"""Text labels beside the points of a figure, placed so that they hide neither each other nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

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


def place_labels(axes: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each label (x, y, text, colour) near its point, at the offset that hides least.

    x and y are in data coordinates. The figure must have an Agg canvas and have been drawn once: only then are the
    sizes of its panels final.
    """
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]  # Matplotlib does not annotate it.
    frame = axes.get_window_extent(renderer)
    points = [axes.transData.transform((x, y)).tolist() for x, y, _, _ in labels]
    written = [_write(axes, *label) for label in labels]
    places = [[_box_at(text, offset, renderer) for offset in _OFFSETS] for text in written]
    chosen: dict[int, int] = {}

    def harm(i: int, offset: int) -> float:
        """Area in pixels that label i hides at this offset, with penalties for places far down the list."""
        box = places[i][offset]
        others = [places[j][taken] for j, taken in chosen.items() if j != i]
        hidden = sum(_overlap(box, other) for other in (*others, *(_around(*point) for point in points)))
        outside = box.width * box.height - _overlap(box, frame)
        own = _distance(box, points[i])
        misleading = any(_distance(box, point) < 0.7 * own for j, point in enumerate(points) if j != i)
        return hidden + outside + 0.2 * box.width * box.height * misleading + offset

    for _ in range(_PASSES):
        for i in range(len(labels)):
            chosen[i] = min(range(len(_OFFSETS)), key=partial(harm, i))
    for i, text in enumerate(written):
        _move(text, _OFFSETS[chosen[i]])


def _write(axes: Axes, x: float, y: float, text: str, colour: str) -> Annotation:
    written = axes.annotate(
        text, (x, y), xytext=(0, 0), textcoords="offset points", size=_FONT_SIZE, color=colour, zorder=4
    )
    written.set_in_layout(False)
    written.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    return written


def _move(text: Annotation, offset: Offset) -> None:
    dx, dy, ha, va = offset
    text.set(ha=ha, va=va)
    text.xyann = (dx, dy)


def _box_at(text: Annotation, offset: Offset, renderer: RendererBase) -> Bbox:
    _move(text, offset)
    return text.get_window_extent(renderer)


def _distance(box: Bbox, point: Sequence[float]) -> float:
    dx = max(box.x0 - point[0], point[0] - box.x1, 0.0)
    dy = max(box.y0 - point[1], point[1] - box.y1, 0.0)
    return (dx * dx + dy * dy) ** 0.5


def _around(x: float, y: float, radius: float = 8.0) -> Bbox:
    return Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)


def _overlap(a: Bbox, b: Bbox) -> float:
    shared = Bbox.intersection(a, b)
    return 0.0 if shared is None else abs(shared.width * shared.height)
