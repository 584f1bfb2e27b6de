"""The look that the figures of the experiments share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sim.report.figures import DPI, PALETTE
from sim.report.pooling import CI_SUFFIX
from sim.report.verdict import is_yes

__all__ = ["CI_SUFFIX", "PALETTE", "measured", "panels", "save"]


def panels(*titles: str, width: float = 5.0, height: float = 4.2, **looks) -> tuple[Figure, list[Axes]]:
    """A row of panels with these titles; `looks` go to Figure.subplots (sharey, ...)."""
    figure = Figure(figsize=(width * len(titles), height), layout="constrained")
    axes = figure.subplots(1, len(titles), squeeze=False, **looks)[0]
    for each, title in zip(axes, titles, strict=True):
        each.set_title(title, size=11, weight="bold")
        each.grid(alpha=0.25, linewidth=0.6)
        each.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def measured(axes: Axes, x: Sequence, y: Sequence, half_widths: Sequence, kept: Sequence, colour: str, **looks) -> None:
    """Points with 95 % intervals, NaN draws no bar; filled where `kept` (the SLO), else hollow, as if not resolved."""
    x, y, kept = np.asarray(x, float), np.asarray(y, float), np.array([is_yes(value) for value in kept])
    bars = np.nan_to_num(np.asarray(half_widths, float))
    axes.errorbar(x, y, yerr=bars, fmt="none", ecolor=colour, elinewidth=1.2, capsize=3, zorder=3)
    axes.plot(x, y, color=colour, marker="o", markersize=6, markeredgewidth=1.5, zorder=3, **looks)
    axes.plot(
        x[~kept], y[~kept], "o", color=colour, markersize=6, markerfacecolor="white", markeredgewidth=1.5, zorder=4
    )


def save(figure: Figure, path: Path) -> None:
    """Write the picture."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI)
