"""Pictures: cost against tail latency for a sweep, and what one run did over time. PNG or SVG, by the file's ending."""

from __future__ import annotations

import math
import os
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from sim.columns import Columns, select
from sim.records import Facts
from sim.report.formatting import is_missing, number
from sim.report.labels import place_labels
from sim.report.over_time import Stretch, arrivals, queue, replicas
from sim.report.pooling import CI_SUFFIX
from sim.report.style import LIGHT, LIMIT, OPEN, PALETTE
from sim.report.verdict import failure, is_unresolved, is_yes

DPI = 140
_TIMELINE_BINS = 240
_MOST_PANELS = 12
"""One picture of more cannot be read, and each panel takes a third of a second to draw."""
_MOST_NAMED = 40
"""Of a panel with more points, those on the frontier have names: labels of more cover each other."""
PLAIN_TEXT: dict[Any, Any] = {"text.parse_math": False}
"""Users name fleets, pools and scenarios; a name with two dollar signs must not be read as a formula."""


@rc_context(PLAIN_TEXT)
def cost_against_tail_latency(
    table: pd.DataFrame,
    path: str | Path,
    slo_ttft_s: float | None = None,
    percentile: str = "p99",
    shape: str = "arrivals",
    fleet: str = "fleet",
) -> Path:
    """Draw one panel per shape: cost with its 95 % interval against TTFT (`percentile`: p50, p95 or p99), log scale.

    At most the first 12 shapes are drawn, and the picture says so. Panels have one scale of cost, unless the dearest of
    one costs over ten times the dearest of another.
    Filled points meet the SLO, hollow ones do not; an infinite percentile stands in a band of its own on the right. Of
    more than 40 points in a panel those are named that no other one beats in both cost and TTFT; the rest are dots.
    `table` as for sim.report.tables.print_comparison. Returns the path.
    """
    key = f"ttft_{percentile}_s"
    known = table.reindex(columns=["error", key]).to_dict("records")
    ran = table[[not failure(row) and not is_missing(row[key]) for row in known]]
    all_shapes = list(dict.fromkeys(table[shape])) or ["nothing ran"]
    shapes = all_shapes[:_MOST_PANELS]
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(dict.fromkeys(table[fleet]))}
    tops = [_top(ran[ran[shape] == name]) for name in shapes]
    highest = [top for top in tops if top > 0]
    shared = max(highest, default=1.0) <= 10 * min(highest, default=1.0)
    figure, panels = _panels(len(shapes), shared)
    limits = _latency_limits(ran[key].to_numpy(float) if len(ran) else np.array([]), slo_ttft_s)
    labels = []
    for axes, name, top in zip(panels, shapes, tops, strict=True):
        _frame(axes, _title(str(name)), limits, slo_ttft_s)
        axes.set_ylim(0, 1.15 * (max(tops) if shared else top) or 1.0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 10 or v == 0 else number(v)))
        rows = _named(axes, ran[ran[shape] == name], key, limits)
        labels.append(
            [_point(axes, row, key, limits, colours[row[fleet]], str(row[fleet])) for _, row in rows.iterrows()]
        )
    figure.supylabel("cost of the whole run, USD", size=10)
    says = (
        f"{percentile} time to first token, s (log scale); filled: meets the SLO, grey: not resolved, hollow: does not"
    )
    figure.supxlabel(textwrap.fill(says, int(13 * figure.get_figwidth())), size=10)
    if len(all_shapes) > len(shapes):
        figure.suptitle(f"the first {len(shapes)} of {len(all_shapes)} questions", size=10)
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")  # The layout is final: labels are placed in it, and saving need not find it again.
    for axes, wanted in zip(panels, labels, strict=True):
        place_labels(axes, wanted)
    return _save(figure, path)


def _top(rows: pd.DataFrame) -> float:
    """The highest finite upper end of an interval of `usd_total`; 0 if there are no rows."""
    ends = rows.reindex(columns=["usd_total", "usd_total" + CI_SUFFIX]).astype(float).fillna(0.0).sum(axis=1)
    return float(ends[np.isfinite(ends)].max()) if np.isfinite(ends).any() else 0.0


def _panels(n: int, shared: bool, widest: int = 4) -> tuple[Figure, list[Axes]]:
    """A figure of n panels, at most `widest` in a row; the lowest panel of each column shows the x scale."""
    columns, rows = min(n, widest), math.ceil(n / widest)
    figure = Figure(figsize=(max(4.0 * columns, 5.5), 4.3 if rows == 1 else 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=shared, squeeze=False).ravel()
    for empty in grid[n:]:
        empty.remove()
    for axes in grid[max(n - columns, 0) : n]:
        axes.tick_params(labelbottom=True)
    return figure, list(grid[:n])


def _title(name: str) -> str:
    plain = name if "=" in name else name.replace("_", " ")
    return "\n".join(textwrap.wrap(plain, 34, break_on_hyphens=False))


def _latency_limits(ttft_s: np.ndarray, slo_ttft_s: float | None) -> tuple[float, float, float]:
    """Limits of the x axis in s: left edge, right end of the finite range, right edge of the band for infinity."""
    known = [v for v in (*ttft_s, slo_ttft_s or np.nan) if np.isfinite(v) and v > 0] or [0.1, 10.0]
    low, high = np.log10(min(known)), np.log10(max(known))
    margin = max(0.15 * (high - low), 0.25)
    end = high + margin
    band = 0.16 * (end - low + margin) if np.isinf(ttft_s).any() else 0.0
    return 10 ** (low - margin), 10**end, 10 ** (end + band)


def _frame(axes: Axes, title: str, limits: tuple[float, float, float], slo_ttft_s: float | None) -> None:
    left, finite, right = limits
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v, 1) if v <= finite else ""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title, size=11, weight="bold")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if slo_ttft_s is not None:
        axes.axvline(slo_ttft_s, color=LIMIT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"SLO {slo_ttft_s:g} s", (slo_ttft_s, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
            textcoords="offset points", va="top", size=8, color=LIMIT,
        )  # fmt: skip
    if right > finite:
        axes.axvspan(finite, right, color="#000000", alpha=0.06, linewidth=0)
        axes.annotate(
            "never\nserved", (np.sqrt(finite * right), 1), xycoords=("data", "axes fraction"), xytext=(0, -2),
            textcoords="offset points", ha="center", va="top", size=8, color=LIMIT,
        )  # fmt: skip


def _named(axes: Axes, rows: pd.DataFrame, key: str, limits: tuple[float, float, float]) -> pd.DataFrame:
    """The rows to be drawn with a name; of many, those on the frontier, while the others are drawn here, as dots."""
    if len(rows) <= _MOST_NAMED:
        return rows
    ordered = rows.sort_values(["usd_total", key], kind="stable")
    best_s = ordered[key].cummin()
    frontier = ordered[(ordered[key] == best_s) & (best_s < best_s.shift(fill_value=np.inf))].iloc[:_MOST_NAMED]
    rest = rows.drop(frontier.index)
    x = rest[key].where(np.isfinite(rest[key]), np.sqrt(limits[1] * limits[2]))
    judged = rest.reindex(columns=["meets_slo", "slo_judgement"]).to_dict("records")
    faces = [LIMIT if is_yes(row["meets_slo"]) else OPEN if is_unresolved(row) else "white" for row in judged]
    axes.scatter(x, rest["usd_total"], s=12, c=faces, edgecolors=LIMIT, linewidths=0.6, alpha=0.6, zorder=2)
    return frontier


def _point(
    axes: Axes, row: pd.Series, key: str, limits: tuple[float, float, float], colour: str, name: str
) -> tuple[float, float, str, str]:
    x = row[key] if np.isfinite(row[key]) else np.sqrt(limits[1] * limits[2])
    bar = row.get("usd_total" + CI_SUFFIX)
    face = colour if is_yes(row.get("meets_slo")) else OPEN if is_unresolved(row) else "white"
    axes.errorbar(
        x, row["usd_total"], yerr=None if is_missing(bar) else bar, fmt="o", markersize=7, color=colour, capsize=3,
        elinewidth=1.2, markeredgewidth=1.6, markerfacecolor=face, zorder=3,
    )  # fmt: skip
    return float(x), float(row["usd_total"]), name.replace("_", " "), colour


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
    return _save(figure, path)


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


def _save(figure: Figure, path: str | Path) -> Path:
    """Write the whole file or none: an interrupted run leaves no half picture."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    figure.savefig(partial, dpi=DPI)
    os.replace(partial, path)
    return path
