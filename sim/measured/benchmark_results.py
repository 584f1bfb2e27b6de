"""Benchmark results of a load generator, played on the server that the command line describes."""

from __future__ import annotations

from collections.abc import Iterator

from sim.measured.constants import Server
from sim.measured.play import play
from sim.measured.points import Point
from sim.measured.prediction import Prediction

_METRICS = ("ttft_mean_s", "tpot_mean_s", "output_tok_per_s")  # in the order of Figures


def predictions(server: Server, point: Point, stage: int) -> Iterator[Prediction]:
    """TTFT, TPOT and output tokens per second of one operating point; its stage is its number, from 0.

    A figure that says nothing of the server (throughput at a rate that it keeps up with) has no measured value.
    """
    predicted = play(server.on(point.tensor_parallel), point)
    for i, metric in enumerate(_METRICS):
        value = predicted[i]
        if value is not None:
            yield Prediction(point.label, stage, metric, value, point.told(i))
