"""The picture of a sweep: cost against tail latency with its frontier, one panel per question. PNG or SVG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from sim.report.figures import PLAIN_TEXT, save
from sim.report.formatting import is_missing, number
from sim.report.frontier import frontier_of, steps
from sim.report.labels import Label, place_labels, place_merged
from sim.report.pooling import CI_SUFFIX
from sim.report.style import LIGHT, LIMIT, OPEN, PALETTE
from sim.report.verdict import COST, MONTHLY, failure, is_unresolved, is_yes

_MOST_PANELS = 12
"""One picture of more cannot be read, and each panel takes a third of a second to draw."""
_MOST_NAMED = 40
"""Of a panel with more points, those on the frontier have names: a key of more is read as a table, which there is."""
_MOST_BESIDE = 8
"""Points of a panel whose names may stand beside them; more have numbers, and a key beside the panels."""
_LONGEST_BESIDE = 28  # characters
_MARKERS = "os^DvPX"
"""Shapes of marks: seven, to eight colours, so that 56 fleets differ in one or the other."""
_KEY_WIDTH = 44  # characters
_KEY_LINE = 0.16  # inches


class _Drawn(NamedTuple):
    """A point of a panel, in data coordinates, and the fleet that it stands for."""

    x: float
    y: float
    fleet: str


@rc_context(PLAIN_TEXT)
def cost_against_tail_latency(
    table: pd.DataFrame,
    path: str | Path,
    slo_ttft_s: float | None = None,
    percentile: str = "p99",
    shape: str = "arrivals",
    fleet: str = "fleet",
    setting: Sequence[str] = (),
) -> Path:
    """Draw one panel per shape: dollars a month with their 95 % interval against TTFT (p50, p95 or p99), log scale.

    The dotted line is the frontier: no fleet costs less and answers sooner. Filled points meet the SLO, hollow ones do
    not; an infinite percentile stands in a band of its own on the right. Names stand beside their points where they
    hide nothing; otherwise points have numbers, and a key stands beside the panels. Of more than 40 points in a panel
    those on the frontier have names; the rest are dots. At most the first 12 shapes are drawn, and the picture says so.
    Panels have one scale of cost, unless the dearest of one costs over ten times the dearest of another. Where the
    table has no dollars a month, those of the whole run are drawn.
    `setting`: what all scenarios rest on, in small type. `table` as for sim.report.tables.print_comparison. Returns the
    path.
    """
    picture = _Picture(table, slo_ttft_s, percentile, shape, fleet, tuple(setting))
    figure = (picture.drawn(is_numbered=False) if picture.names_may_fit() else None) or picture.drawn(is_numbered=True)
    assert figure is not None, "numbers always fit"
    return save(figure, path)


class _Picture:
    """What is drawn, in whichever way."""

    def __init__(
        self, table: pd.DataFrame, slo_ttft_s: float | None, percentile: str, shape: str, fleet: str,
        setting: tuple[str, ...],
    ):  # fmt: skip
        self._x, self._slo_ttft_s, self._percentile = f"ttft_{percentile}_s", slo_ttft_s, percentile
        known = table.reindex(columns=["error", self._x]).to_dict("records")
        ran = table[[not failure(row) and not is_missing(row[self._x]) for row in known]]
        self._y = MONTHLY if len(ran) and MONTHLY in ran and ran[MONTHLY].notna().all() else COST
        self._shapes = list(dict.fromkeys(table[shape])) or ["nothing ran"]
        self._rows = {name: ran[ran[shape] == name] for name in self._shapes[:_MOST_PANELS]}
        self._fleet, self._setting = fleet, setting
        self._ttft_s = ran[self._x].to_numpy(float) if len(ran) else np.array([])
        self._limits = _latency_limits(self._ttft_s, slo_ttft_s)
        self._best = {name: self._frontier(rows) for name, rows in self._rows.items()}
        named = [self._named(name)[fleet] for name in self._rows]
        self._numbers = {name: n for n, name in enumerate(dict.fromkeys(f for own in named for f in own), start=1)}

    def names_may_fit(self) -> bool:
        """Whether there are so few points, of so short names, that it is worth trying."""
        few = all(len(rows) <= _MOST_BESIDE for rows in self._rows.values())
        return few and all(len(str(name)) <= _LONGEST_BESIDE for name in self._numbers)

    def drawn(self, is_numbered: bool) -> Figure | None:
        """The figure; None if names beside the points would hide something."""
        tops = [self._top(rows) for rows in self._rows.values()]
        highest = [top for top in tops if top > 0]
        shared = max(highest, default=1.0) <= 10 * min(highest, default=1.0)
        figure, panels = _panels(len(self._rows), shared)
        self._write_around(figure, panels)
        marked = []
        for axes, (name, rows), top in zip(panels, self._rows.items(), tops, strict=True):
            _frame(axes, self._limits, self._slo_ttft_s)
            axes.set_ylim(0, 1.15 * (max(tops) if shared else top) or 1.0)
            axes.yaxis.set_major_formatter(FuncFormatter(_dollars))
            self._draw_frontier(axes, name)
            marked.append(self._draw_points(axes, rows, self._named(name)))
        if is_numbered and self._numbers:
            _make_room(figure, _key(figure, self._numbers))
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        figure.set_layout_engine("none")  # The layout is final: labels are placed in it, and saving keeps it.
        for axes, points in zip(panels, marked, strict=True):
            if is_numbered:
                place_merged(axes, [(p.x, p.y, self._numbers[p.fleet]) for p in points], LIGHT["ink"])
            elif not place_labels(axes, [Label(p.x, p.y, _plain(p.fleet), self._look(p.fleet)[0]) for p in points]):
                return None
        return figure

    def _write_around(self, figure: Figure, panels: Sequence[Axes]) -> None:
        columns = int(figure.get_figwidth() * 15)
        told = textwrap.wrap("; ".join(self._setting), columns) if self._setting else []
        if len(self._shapes) > len(panels):
            told.insert(0, f"the first {len(panels)} of {len(self._shapes)} questions")
        for axes, name in zip(panels, self._rows, strict=True):
            axes.set_title(_title(str(name)), size=11, weight="bold")
        if told and len(panels) == 1:
            figure.suptitle(panels[0].get_title(), x=0.01, ha="left", size=11, weight="bold")
            panels[0].set_title("\n".join(told), loc="left", size=7, color=LIMIT)
            panels[0].set_title("")
        elif told:
            figure.suptitle("\n".join(told), x=0.01, ha="left", size=7, color=LIMIT)
        figure.supylabel("cost, USD a month" if self._y == MONTHLY else "cost of the whole run, USD", size=10)
        says = (
            f"{self._percentile} time to first token, s (log scale); filled: meets the SLO, grey: not resolved, "
            "hollow: does not; dotted: the frontier, no fleet costs less and answers sooner"
        )
        figure.supxlabel(textwrap.fill(says, int(15 * figure.get_figwidth())), x=0.01, ha="left", size=8.5)

    def _top(self, rows: pd.DataFrame) -> float:
        """The highest finite upper end of an interval of the cost; 0 if there are no rows."""
        ends = rows.reindex(columns=[self._y, self._y + CI_SUFFIX]).astype(float).fillna(0.0).sum(axis=1)
        return float(ends[np.isfinite(ends)].max()) if np.isfinite(ends).any() else 0.0

    def _frontier(self, rows: pd.DataFrame) -> pd.DataFrame:
        costs = rows.reindex(columns=[self._y, self._x]).astype(float)
        return rows.iloc[frontier_of((-costs[self._x]).tolist(), costs[self._y].tolist())]

    def _named(self, name: str) -> pd.DataFrame:
        """The rows of a panel that have names: all, or of very many those on the frontier."""
        rows = self._rows[name]
        return rows if len(rows) <= _MOST_NAMED else self._best[name].iloc[:_MOST_NAMED]

    def _at(self, row: pd.Series) -> float:
        _, finite, right = self._limits
        return float(row[self._x]) if np.isfinite(row[self._x]) else math.sqrt(finite * right)

    def _draw_frontier(self, axes: Axes, name: str) -> None:
        corners = steps([(self._at(row), float(row[self._y])) for _, row in self._best[name].iterrows()])
        if len(corners) > 1:
            axes.plot(*zip(*corners, strict=True), color=LIMIT, linewidth=1, linestyle=(0, (1, 2)), zorder=1.5)

    def _draw_points(self, axes: Axes, rows: pd.DataFrame, named: pd.DataFrame) -> list[_Drawn]:
        """Marks with intervals for rows with names, dots for the rest. Returns those with names."""
        if len(rest := rows.drop(named.index)):
            faces = [_face(row, LIMIT) for _, row in rest.iterrows()]
            x = [self._at(row) for _, row in rest.iterrows()]
            axes.scatter(x, rest[self._y], s=12, c=faces, edgecolors=LIMIT, linewidths=0.6, alpha=0.6, zorder=2)
        for _, row in named.iterrows():
            bar, (colour, marker) = row.get(self._y + CI_SUFFIX), self._look(row[self._fleet])
            axes.errorbar(
                self._at(row), row[self._y], yerr=None if is_missing(bar) else bar, fmt=marker, markersize=7,
                color=colour, capsize=3, elinewidth=1.2, markeredgewidth=1.6, markerfacecolor=_face(row, colour),
                zorder=3,
            )  # fmt: skip
        return [_Drawn(self._at(row), float(row[self._y]), row[self._fleet]) for _, row in named.iterrows()]

    def _look(self, fleet: str) -> tuple[str, str]:
        return _look(self._numbers[fleet])


def _look(number_of_fleet: int) -> tuple[str, str]:
    """Colour and marker."""
    place = number_of_fleet - 1
    return PALETTE[place % len(PALETTE)], _MARKERS[place % len(_MARKERS)]


def _face(row: pd.Series, colour: str) -> str:
    return colour if is_yes(row.get("meets_slo")) else OPEN if is_unresolved(row) else "white"


def _plain(name: str) -> str:
    """A name as people read it; one with a key in it stays as it is given."""
    return str(name) if "=" in str(name) else str(name).replace("_", " ")


def _title(name: str) -> str:
    return "\n".join(textwrap.wrap(_plain(name), 34, break_on_hyphens=False))


def _dollars(value: float, _: int | None = None) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else number(value)


def _panels(n: int, shared: bool, widest: int = 4) -> tuple[Figure, list[Axes]]:
    """A figure of n panels, at most `widest` in a row; the lowest panel of each column shows the x scale."""
    columns, rows = min(n, widest), math.ceil(n / widest)
    figure = Figure(figsize=(max(4.0 * columns, 6.0), 4.6 if rows == 1 else 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=shared, squeeze=False).ravel()
    for empty in grid[n:]:
        empty.remove()
    for axes in grid[max(n - columns, 0) : n]:
        axes.tick_params(labelbottom=True)
    return figure, list(grid[:n])


def _key(figure: Figure, numbers: dict[str, int]) -> Legend:
    """The names behind the numbers, whole, at the right of the panels."""
    handles = []
    for name, n in numbers.items():
        colour, marker = _look(n)
        text = "\n".join(textwrap.wrap(f"{n}  {_plain(name)}", _KEY_WIDTH, subsequent_indent="     "))
        handles.append(
            Line2D([], [], linestyle="none", color=colour, marker=marker, markersize=6, markeredgewidth=1.4, label=text)
        )
    lines = sum(str(handle.get_label()).count("\n") + 1 for handle in handles)
    columns = min(math.ceil(lines * _KEY_LINE / (figure.get_figheight() - 0.5)), 3)
    return figure.legend(
        handles=handles, loc="outside right upper", fontsize=8, frameon=False, ncols=columns, handletextpad=0.3,
        labelspacing=0.25, columnspacing=1.0,
    )  # fmt: skip


def _make_room(figure: Figure, key: Legend) -> None:
    """Widen a figure by its key, and heighten it where the key is taller."""
    figure.set_layout_engine("none")  # A key that is wider than the figure would leave its panels no room.
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    figure.set_layout_engine("constrained")
    box = key.get_window_extent()
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + box.width / figure.dpi, max(height, box.height / figure.dpi + 0.3))


def _latency_limits(ttft_s: np.ndarray, slo_ttft_s: float | None) -> tuple[float, float, float]:
    """Limits of the x axis in s: left edge, right end of the finite range, right edge of the band for infinity."""
    known = [v for v in (*ttft_s, slo_ttft_s or np.nan) if np.isfinite(v) and v > 0] or [0.1, 10.0]
    low, high = np.log10(min(known)), np.log10(max(known))
    margin = max(0.15 * (high - low), 0.25)
    end = high + margin
    band = 0.16 * (end - low + margin) if np.isinf(ttft_s).any() else 0.0
    return 10 ** (low - margin), 10**end, 10 ** (end + band)


def _frame(axes: Axes, limits: tuple[float, float, float], slo_ttft_s: float | None) -> None:
    left, finite, right = limits
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    subs = (1.0, 2.0, 5.0) if finite < 100 * left else (1.0,)  # An axis of one decade would have a single tick.
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v, 1) if v <= finite else ""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if len(subs) > 1:
        axes.xaxis.set_minor_locator(NullLocator())
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
