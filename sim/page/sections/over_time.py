"""Curves of a run over a stretch of time: arrivals, replicas by state, and waiting requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sim.page.model import Cell, Column, Figure, Grid, Zoom, grid
from sim.page.saved.run import SavedRun
from sim.page.svg.canvas import Canvas, figure
from sim.page.svg.plot import Plot
from sim.page.svg.scale import Scale, up_to
from sim.report.formatting import number
from sim.report.over_time import Stretch, arrivals, queue, replicas


class Curve(NamedTuple):
    """A name, the class of its look, and one value per bin."""

    name: str
    look: str
    values: np.ndarray


def curves(run: SavedRun, stretch: Stretch, titles: tuple[str, str, str], can_zoom: bool) -> list[Figure]:
    """The figures that a run can show of a stretch: its arrivals, replicas and queue. `titles` are in this order."""
    requests, spans = run.requests, run.spans
    if requests is None:
        return []
    has_fleet = spans is not None and len(spans["state"]) > 0
    every, to_api = arrivals(requests, stretch)
    sent = [Curve("all requests", "line1", every)]
    if has_fleet and to_api.any():
        sent.append(Curve("sent to the API", "line2", to_api))
    drawn = [_lines(titles[0], "requests/s", sent, stretch, can_zoom)]
    if spans is not None and has_fleet:
        states = [Curve(state.name, state.look, values) for state, values in replicas(spans, stretch)]
        mean, most = queue(requests, stretch, run.window.end_s)
        waiting = [Curve("on average", "line1", mean), Curve("most at one time", "line3", most)]
        drawn.append(_stacked(titles[1], "replicas", states, stretch, can_zoom))
        drawn.append(_lines(titles[2], "requests waiting", waiting, stretch, can_zoom))
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
