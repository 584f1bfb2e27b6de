"""Benchmark results of a load generator, played on the server that the command line describes."""

from __future__ import annotations

from collections.abc import Iterator

from sim.measured.measured_run import MeasuredRun
from sim.measured.play import Play
from sim.measured.play import play as play_point
from sim.measured.points import FIGURE_METRICS, Point
from sim.measured.prediction import Prediction
from sim.measured.server import Server


class BenchmarkResult(MeasuredRun):
    """One operating point on `server`; `number` counts the points of the file from 0."""

    def __init__(self, server: Server, point: Point, number: int):
        self._server, self._point, self._number = server, point, number
        self.name = f"{point.label} {number}"

    def predictions(self, play: Play) -> Iterator[Prediction]:
        """TTFT, TPOT and output tokens per second, played once.

        A figure that says nothing of the server (throughput at a rate that it keeps up with) has no measured value.
        """
        point = self._point
        server = play.constants.server(self._server)
        predicted = play_point(point.on(server), point)
        for i, metric in enumerate(FIGURE_METRICS):
            value = predicted[i]
            if value is not None:
                yield Prediction(point.label, self._number, metric, value, point.informative(i))

    def points(self) -> tuple[list[Point], list[str]]:
        return [self._point], []
