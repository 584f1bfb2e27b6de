"""A planner that predicts the load of the next interval and divides it by a replica's capacity within the SLA."""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.clock import Clock
from sim.scaling.scaler import FromFloor, ScalerAtWork
from sim.scaling.windows import EPSILON_S, whole_replicas
from sim.views import FleetView


class SlaPlanner(FromFloor):
    """ceil(predicted requests per second / requests per second of one replica at the ITL of the SLA), every interval.

    The prediction of the request rate is that of the last interval (`constant`), the mean of the last
    `window_intervals` (`mean`), or the straight line through them (`trend`). Prompt lengths are the mean of the last
    interval with arrivals, output lengths that of the last with finished requests; before there are any, `input_tokens`
    and `output_tokens`. A replica's capacity follows from its step times (`view.replica_requests_per_s`).

    Source: NVIDIA Dynamo's SLA planner, for replicas that both prefill and decode. Differences: one pool size instead
    of two, no correction by observed / expected latency, and no ARIMA or Prophet.
    """

    kind: Literal["sla_planner"] = "sla_planner"
    counts_tokens: ClassVar[bool] = True
    idle_timeout_s: ClassVar[None] = None

    min_replicas: int = Field(ge=1, description="min_endpoint")
    tick_s: float = Field(gt=0, description="adjustment interval")
    predictor: Literal["constant", "mean", "trend"] = Field(description="how the next request rate is predicted")
    window_intervals: int = Field(ge=1, description="intervals that mean and trend look at")
    itl_s: float = Field(gt=0, description="SLA on the mean time between tokens")
    capacity_fraction: float = Field(gt=0, le=1, description="planned fraction of a replica's requests per second")
    input_tokens: float = Field(gt=0, description="mean prompt length assumed before the first arrival")
    output_tokens: float = Field(gt=0, description="mean output length assumed before the first request has finished")

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        return _SlaPlanner(self)


class _SlaPlanner:
    __slots__ = ("_rule", "_seen", "_since_s", "_series", "_input_tokens", "_output_tokens")

    def __init__(self, rule: SlaPlanner):
        self._rule = rule
        self._seen = (0, 0, 0, 0)
        self._since_s = 0.0
        self._series: deque[float] = deque(maxlen=rule.window_intervals)
        self._input_tokens, self._output_tokens = rule.input_tokens, rule.output_tokens

    def target_replicas(self, view: FleetView) -> int:
        rule, current = self._rule, view.n_ready + view.n_starting
        interval_s = view.now_s - self._since_s
        if interval_s <= EPSILON_S:
            return rule.clamp(current)
        now = (
            view.arrived_requests, view.arrived_input_tokens, view.finished_requests, view.finished_output_tokens,
        )  # fmt: skip
        arrived, input_tokens, finished, output_tokens = (a - b for a, b in zip(now, self._seen, strict=True))
        self._seen, self._since_s = now, view.now_s
        if arrived:
            self._input_tokens = input_tokens / arrived
        if finished:
            self._output_tokens = output_tokens / finished
        self._series.append(arrived / interval_s)
        one = rule.capacity_fraction * view.replica_requests_per_s(self._input_tokens, self._output_tokens, rule.itl_s)
        return rule.clamp(whole_replicas(self._predicted() / one))

    def _predicted(self) -> float:
        series, predictor = self._series, self._rule.predictor
        n = len(series)
        if predictor == "constant" or n == 1:
            return series[-1]
        mean = sum(series) / n
        if predictor == "mean":
            return mean
        middle = (n - 1) / 2
        slope = sum((i - middle) * y for i, y in enumerate(series)) / sum((i - middle) ** 2 for i in range(n))
        return max(0.0, mean + slope * (n - middle))
