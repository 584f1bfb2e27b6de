"""Curves of a run over a stretch of time: arrivals, replicas by state, and waiting requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sim.page.model import Cell, Column, Figure, Grid, Zoom, grid
from sim.page.saved.run import Columns, SavedRun
from sim.page.svg.canvas import Canvas, figure
from sim.page.svg.plot import Plot
from sim.page.svg.scale import Scale, up_to
from sim.records import Backend, ReplicaState
from sim.report.counting import mean_in_bins, peak_in_bins
from sim.report.formatting import number
from sim.units import DAY_S, HOUR_S, MINUTE_S

_UNITS = ((DAY_S, "days"), (HOUR_S, "hours"), (MINUTE_S, "minutes"), (1.0, "s"))
_LOOKS = (
    ("busy", (ReplicaState.BUSY,), "busy"), ("draining", (ReplicaState.DRAINING,), "draining"),
    ("cold start", tuple(s for s in ReplicaState if s.is_cold_start), "starting"),
    ("idle", (ReplicaState.IDLE,), "idle"), ("asleep", (ReplicaState.ASLEEP,), "asleep"),
)  # fmt: skip


class Stretch(NamedTuple):
    """Bins of time: edges in s of simulated time, and the same in `unit` from the stretch's start."""

    edges_s: np.ndarray
    edges: np.ndarray
    unit: str

    @classmethod
    def between(cls, start_s: float, end_s: float, bins: int) -> Stretch:
        """Equal bins."""
        unit_s, unit = next((s, name) for s, name in _UNITS if end_s - start_s >= 2.5 * s or s == 1.0)
        edges_s = np.linspace(start_s, end_s, bins + 1)
        return cls(edges_s, (edges_s - start_s) / unit_s, unit)


class Curve(NamedTuple):
    """A name, the class of its look, and one value per bin."""

    name: str
    look: str
    values: np.ndarray


def arrivals(requests: Columns, stretch: Stretch, has_fleet: bool) -> list[Curve]:
    """Requests per second, and those sent to the API where there are both."""
    arrived_s, api = requests["arrived_s"], requests["backend"] == Backend.API

    def per_s(moments_s: np.ndarray) -> np.ndarray:
        return np.histogram(moments_s, stretch.edges_s)[0] / np.diff(stretch.edges_s)

    found = [Curve("all requests", "line1", per_s(arrived_s))]
    return [*found, Curve("sent to the API", "line2", per_s(arrived_s[api]))] if has_fleet and api.any() else found


def replicas(spans: Columns, stretch: Stretch) -> list[Curve]:
    """Mean number of replicas in each state that occurs."""
    found = []
    for name, states, look in _LOOKS:
        rows = np.isin(spans["state"], states)
        values = mean_in_bins(spans["start_s"][rows], spans["end_s"][rows], stretch.edges_s)
        if values.any():
            found.append(Curve(name, look, np.maximum(values, 0.0)))
    return found


def waits(requests: Columns, end_s: float) -> tuple[np.ndarray, np.ndarray]:
    """When the requests of the fleet came and when they were admitted or left, float64[n] each."""
    fleet = requests["backend"] == Backend.FLEET
    left_s = np.where(np.isnan(requests["admitted_s"]), requests["finished_s"], requests["admitted_s"])[fleet]
    left_s = np.nan_to_num(left_s, nan=end_s)
    return np.minimum(requests["arrived_s"][fleet], left_s), left_s


def queue(requests: Columns, stretch: Stretch) -> list[Curve]:
    """How many requests waited for a replica: on average over each bin, and most at one time."""
    came_s, left_s = waits(requests, float(stretch.edges_s[-1]))
    mean = np.maximum(mean_in_bins(came_s, left_s, stretch.edges_s), 0.0)
    peak = peak_in_bins(came_s, left_s, stretch.edges_s).astype(float)
    return [Curve("on average", "line1", mean), Curve("most at one time", "line3", peak)]


def curves(run: SavedRun, stretch: Stretch, titles: tuple[str, str, str], can_zoom: bool) -> list[Figure]:
    """The figures that a run can show of a stretch: its arrivals, replicas and queue. `titles` are in this order."""
    requests, spans = run.requests, run.spans
    if requests is None:
        return []
    has_fleet = spans is not None and len(spans["state"]) > 0
    drawn = [_lines(titles[0], "requests/s", arrivals(requests, stretch, has_fleet), stretch, can_zoom)]
    if spans is not None and has_fleet:
        drawn.append(_stacked(titles[1], "replicas", replicas(spans, stretch), stretch, can_zoom))
        drawn.append(_lines(titles[2], "requests waiting", queue(requests, stretch), stretch, can_zoom))
    return drawn


def _lines(title: str, label: str, found: Sequence[Curve], stretch: Stretch, can_zoom: bool) -> Figure:
    top = max((float(curve.values.max(initial=0.0)) for curve in found), default=0.0)

    def draw(width: int) -> Canvas:
        plot = _plot(width, stretch, top, label, found)
        plot.area(stretch.edges.tolist(), [0.0] * len(found[0].values), found[0].values.tolist(), "area1")
        for curve in found:
            plot.steps(stretch.edges.tolist(), curve.values.tolist(), curve.look)
        return plot.canvas

    return figure(title, f"{label} over time", draw, _table(title, label, found, stretch),
                  _zoom(label, found, stretch) if can_zoom else None)  # fmt: skip


def _stacked(title: str, label: str, found: Sequence[Curve], stretch: Stretch, can_zoom: bool) -> Figure:
    total = np.sum([curve.values for curve in found], axis=0)

    def draw(width: int) -> Canvas:
        plot = _plot(width, stretch, float(total.max(initial=0.0)), label, found)
        floor = np.zeros(len(total))
        for curve in found:
            plot.area(stretch.edges.tolist(), floor.tolist(), (floor + curve.values).tolist(), curve.look)
            floor = floor + curve.values
        return plot.canvas

    return figure(title, f"{label} by state over time, stacked", draw, _table(title, label, found, stretch),
                  _zoom(label, found, stretch, is_stacked=True) if can_zoom else None)  # fmt: skip


def _plot(width: int, stretch: Stretch, top: float, label: str, found: Sequence[Curve]) -> Plot:
    x = Scale(float(stretch.edges[0]), float(stretch.edges[-1]))
    legend = [(curve.look, curve.name) for curve in found]
    y = up_to(top, least_step=0.0 if label.endswith("/s") else 1.0)
    return Plot(width, 190, x, y, f"time, {stretch.unit}", label, legend if len(legend) > 1 else ())


def _zoom(label: str, found: Sequence[Curve], stretch: Stretch, is_stacked: bool = False) -> Zoom:
    x = tuple(_short(value) for value in stretch.edges)
    return Zoom(
        stretch.unit, label, x,
        tuple((c.name, c.look, tuple(map(_short, np.append(c.values, c.values[-1])))) for c in found), is_stacked,
    )  # fmt: skip


def _short(value: float) -> float:
    return float(f"{value:.5g}")


_ROWS = 24


def _table(title: str, label: str, found: Sequence[Curve], stretch: Stretch) -> Grid:
    """The curves in at most _ROWS parts of equal length; a figure of a part is the mean of its bins."""
    columns = (Column("from", stretch.unit, is_number=True), *(Column(c.name, label, is_number=True) for c in found))
    parts = np.array_split(np.arange(len(stretch.edges) - 1), min(_ROWS, len(stretch.edges) - 1))
    rows = [
        [_cell(stretch.edges[part[0]]), *(_cell(curve.values[part].mean()) for curve in found)] for part in parts
    ]  # fmt: skip
    return grid(f"{title}: means of {len(parts)} parts", columns, rows)


def _cell(value: float) -> Cell:
    return Cell(number(value), float(f"{value:.6g}"))
