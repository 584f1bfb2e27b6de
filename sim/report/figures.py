"""Pictures of one run: what it did over time. PNG or SVG, by the file's ending."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sim.columns import Columns, select
from sim.records import Facts
from sim.report.over_time import Stretch, arrivals, queue, replicas
from sim.report.style import LIGHT, PALETTE

DPI = 140
_TIMELINE_BINS = 240
PLAIN_TEXT: dict[Any, Any] = {"text.parse_math": False}
"""Users name fleets, pools and scenarios; a name with two dollar signs must not be read as a formula."""


@rc_context(PLAIN_TEXT)
def timeline(facts: Facts, path: str | Path, title: str = "") -> Path:
    """Draw a run over its window: load, replicas by state (stacked) of each pool, and the queue. Returns the path.

    Curves are exact time averages over the bins; the queue also shows its peak within each bin.
    """
    window = facts.window
    stretch = Stretch.between(window.start_s, window.end_s, _TIMELINE_BINS)
    pools = facts.pools
    figure = Figure(figsize=(10, 4.8 + 1.8 * len(pools) if pools else 3.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(2 + len(pools) if pools else 1, 1, sharex=True))
    _draw_load(panels[0], facts, stretch)
    for pool_index, pool in enumerate(pools):
        axes = panels[1 + pool_index]
        of_pool = facts.spans["pool"] == pool_index
        _draw_replicas(axes, select(facts.spans, of_pool), stretch)
        axes.set_ylabel("replicas" if len(pools) == 1 else f"replicas\n{pool.name.replace('_', ' ')}")
    if pools:
        _draw_queue(panels[-1], facts, stretch)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.set_ylim(bottom=0)
        axes.set_xlim(stretch.edges[0], stretch.edges[-1])
        handles, names = axes.get_legend_handles_labels()
        if len(names) > 1:
            axes.legend(handles, names, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    panels[-1].set_xlabel(f"time, {stretch.unit}")
    if title:
        panels[0].set_title(title, size=11, weight="bold", loc="left")
    return save(figure, path)


def write_run(folder: str | Path, scenario: Any, result: Any) -> None:
    """The figures of a single scenario: timeline.png of its first replication."""
    timeline(result.runs[0].facts, Path(folder) / "timeline.png", title=str(scenario.name).replace("_", " "))


# In the functions below `edges` are those of the bins in the unit of the time axis, counted from the window's start.


def _steps(axes: Axes, edges: np.ndarray, values: np.ndarray, **looks: Any) -> None:
    axes.plot(edges, np.append(values, values[-1]), drawstyle="steps-post", **looks)


def _fill(axes: Axes, edges: np.ndarray, low: Any, high: np.ndarray, **looks: Any) -> None:
    low = low if np.isscalar(low) else np.append(low, low[-1])
    axes.fill_between(edges, low, np.append(high, high[-1]), step="post", linewidth=0, **looks)


def _draw_load(axes: Axes, facts: Facts, stretch: Stretch) -> None:
    per_s, to_api = arrivals(facts.requests, stretch)
    _fill(axes, stretch.edges, 0.0, per_s, color=LIGHT["c1"], alpha=0.18)
    _steps(axes, stretch.edges, per_s, color=LIGHT["c1"], linewidth=1.2, label="all")
    if to_api.any() and facts.pools:
        _steps(axes, stretch.edges, to_api, color=LIGHT["c2"], linewidth=1.2, label="sent to the API")
    axes.set_ylabel("arrivals, requests/s")


def _draw_replicas(axes: Axes, spans: Columns, stretch: Stretch) -> None:
    floor = np.zeros(len(stretch.edges) - 1)
    for state, mean in replicas(spans, stretch):
        _fill(axes, stretch.edges, floor, floor + mean, color=LIGHT[state.colour], label=state.name)
        floor = floor + mean
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _draw_queue(axes: Axes, facts: Facts, stretch: Stretch) -> None:
    mean, peak = queue(facts.requests, stretch, facts.window.end_s)
    _fill(axes, stretch.edges, 0.0, peak, color=LIGHT["c4"], alpha=0.35, label="peak")
    _steps(axes, stretch.edges, mean, color=PALETTE[6], linewidth=1.2, label="mean")
    axes.set_ylabel("waiting requests")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def save(figure: Figure, path: str | Path) -> Path:
    """Write the whole file or none: an interrupted run leaves no half picture."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")  # another sweep may draw the same
    figure.savefig(partial, dpi=DPI)
    os.replace(partial, path)
    return path
