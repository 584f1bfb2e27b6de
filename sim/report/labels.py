"""Names written beside their points, moved about until they hide neither each other nor a point."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

_FONT_SIZE = 8.5
_OFFSETS = (
    (9, 0, "left", "center"), (-9, 0, "right", "center"), (0, 9, "center", "bottom"), (0, -9, "center", "top"),
    (8, 8, "left", "bottom"), (8, -8, "left", "top"), (-8, 8, "right", "bottom"), (-8, -8, "right", "top"),
    (10, 17, "left", "bottom"), (10, -17, "left", "top"), (-10, 17, "right", "bottom"), (-10, -17, "right", "top"),
    (0, 24, "center", "bottom"), (0, -24, "center", "top"),
)  # fmt: skip


def place_labels(axes: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each (x, y, text, colour) beside its point, at the first place that is free; the least bad one if none is.

    The figure must have been drawn once, so that its layout is settled.
    """
    renderer = axes.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    taken = [_around(*axes.transData.transform((x, y))) for x, y, _, _ in labels]
    for x, y, text, colour in labels:
        written = axes.annotate(
            text, (x, y), xytext=(0, 0), textcoords="offset points", size=_FONT_SIZE, color=colour, zorder=4
        )
        written.set_in_layout(False)
        written.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        best = None
        for dx, dy, ha, va in _OFFSETS:
            written.set(ha=ha, va=va)
            written.xyann = (dx, dy)
            box = written.get_window_extent(renderer)
            harm = sum(_overlap(box, other) for other in taken) + box.width * box.height - _overlap(box, frame)
            if best is None or harm < best[0] - 1e-6:
                best = (harm, dx, dy, ha, va, box)
            if harm <= 1e-6:
                break
        written.set(ha=best[3], va=best[4])
        written.xyann = best[1:3]
        taken.append(best[5])


def _around(x: float, y: float, radius: float = 8.0) -> Bbox:
    return Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)


def _overlap(a: Bbox, b: Bbox) -> float:
    shared = Bbox.intersection(a, b)
    return 0.0 if shared is None else abs(shared.width * shared.height)
