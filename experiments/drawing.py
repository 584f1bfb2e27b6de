"""The look that the figures of the experiments share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from sim.report.figures import DPI
from sim.report.pooling import CI_SUFFIX
from sim.report.style import OPEN, PALETTE
from sim.report.verdict import is_unresolved, is_yes

__all__ = ["CI_SUFFIX", "GREY", "JUDGED", "PALETTE", "Place", "limit", "measured", "name", "panels", "save"]

GREY = "#555555"
"""The colour of what is not measured: formulas, limits, prices."""
JUDGED = "filled: meets the SLO, grey: not resolved, hollow: does not"
"""What `measured` draws, for the caption of an axis."""
Place = tuple[int, tuple[float, float]]
"""Where the name of a line stands: at which of its points, and how many points of type right of and above it."""


def panels(*titles: str, width: float = 5.0, height: float = 4.2, **looks) -> tuple[Figure, list[Axes]]:
    """A row of panels with these titles; `looks` go to Figure.subplots (sharey, ...)."""
    figure = Figure(figsize=(width * len(titles), height), layout="constrained")
    axes = figure.subplots(1, len(titles), squeeze=False, **looks)[0]
    for each, title in zip(axes, titles, strict=True):
        each.set_title(title, size=11, weight="bold")
        each.grid(alpha=0.25, linewidth=0.6)
        each.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def measured(
    axes: Axes, x: Sequence, rows: pd.DataFrame, key: str, colour: str, text: str = "", place: Place = (0, (8, 0)),
    **looks,
) -> None:  # fmt: skip
    """Column `key` of these rows against x, with 95 % intervals; each point is filled as JUDGED says.

    `text` names the line, at the point and the offset of `place`; `looks` go to the line through the points.
    """
    x, y = np.asarray(x, float), rows[key].to_numpy(float)
    bars = _half_widths(rows, key)
    axes.errorbar(x, y, yerr=bars, fmt="none", ecolor=colour, elinewidth=1.2, capsize=3, zorder=3)
    axes.plot(x, y, color=colour, **({"linewidth": 1.4, "zorder": 3} | looks))
    for x_of_point, y_of_point, (_, row) in zip(x, y, rows.iterrows(), strict=True):
        face = colour if is_yes(row["meets_slo"]) else OPEN if is_unresolved(row) else "white"
        axes.plot(
            x_of_point, y_of_point, "o", color=colour, markersize=6, markerfacecolor=face, markeredgewidth=1.5, zorder=4
        )
    if text:
        point = min(place[0], len(rows) - 1)
        name(axes, x[point], y[point], text, colour, place[1])


def _half_widths(rows: pd.DataFrame, key: str) -> np.ndarray:
    """float64[2, rows]: how far the 95 % interval reaches below and above; 0 where there is none."""
    if f"{key}_low" in rows and f"{key}_high" in rows:
        low, y, high = (rows[column].to_numpy(float) for column in (f"{key}_low", key, f"{key}_high"))
        return np.maximum(np.nan_to_num(np.array([y - low, high - y])), 0.0)
    half = rows[key + CI_SUFFIX].to_numpy(float) if key + CI_SUFFIX in rows else np.zeros(len(rows))
    return np.nan_to_num(np.array([half, half]))


def name(axes: Axes, x: float, y: float, text: str, colour: str, offset: tuple[float, float] = (8, 0)) -> None:
    """Write a name at a line, `offset` points of type right of and above (x, y); left of and below if negative."""
    dx, dy = offset
    across = "left" if dx > 0 else "right" if dx < 0 else "center"
    up = "bottom" if dy > 0 else "top" if dy < 0 else "center"
    written = axes.annotate(
        text, (x, y), xytext=offset, textcoords="offset points", color=colour, size=8.5, zorder=5, ha=across, va=up
    )
    written.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def limit(axes: Axes, y: float, text: str, x: float, **looks) -> None:
    """A dashed horizontal line at y, named at x: an SLO, a price, a bound."""
    axes.axhline(y, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    name(axes, x, y, text, GREY, **({"offset": (0, 3)} | looks))


def save(figure: Figure, path: Path) -> None:
    """Write the picture."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI)
