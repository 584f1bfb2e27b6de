"""A planner that predicts the load of the next interval and divides it by a replica's capacity within the SLA."""

from __future__ import annotations

from collections import deque
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.clock import Clock
from sim.knob import Knob
from sim.scaling.scaler import FromFloor, ScalerAtWork
from sim.scaling.windows import EPSILON_S, whole_replicas
from sim.schema import Config
from sim.views import FleetView


class LoadThresholds(Config):
    """Where the load loop adds or removes a replica; each is compared with the mean over the ready replicas."""

    kv_up: float = Field(gt=0, le=1, description="KV memory in use, fraction, above which a replica is added")
    kv_down: float = Field(ge=0, lt=1, description="and below which one is removed, if queues are short, too")
    queue_up: Annotated[float, Knob(0.1, 64, 1)] = Field(
        gt=0, description="waiting requests per replica above which a replica is added"
    )
    queue_down: float = Field(ge=0, description="and below which one is removed, if KV memory is free, too")

    @model_validator(mode="after")
    def _up_is_above_down(self) -> LoadThresholds:
        for name, up, down in (("kv", self.kv_up, self.kv_down), ("queue", self.queue_up, self.queue_down)):
            if up <= down:
                raise ValueError(f"{name}_up = {up:g} must be > {name}_down = {down:g}")
        return self


class SlaPlanner(FromFloor):
    """ceil(predicted requests per second / requests per second of one replica at the ITL of the SLA), every interval.

    The prediction of the request rate is that of the last interval (`constant`), the mean of the last
    `window_intervals` (`mean`), or the straight line through them (`trend`). Prompt lengths are the mean of the last
    interval with arrivals, output lengths that of the last with finished requests; before there are any, `input_tokens`
    and `output_tokens`. A replica's capacity follows from its step times (`view.replica_requests_per_s`).

    With `load`, a second and faster loop adds or removes one replica per look by how full the replicas are, never below
    what the prediction asks for. With `waits_for_starting`, neither loop changes anything while replicas start: a loop
    that is faster than the start otherwise acts again and again on a load that its last decision has yet to relieve.

    Source: NVIDIA Dynamo's SLA planner with its throughput and load loops, for replicas that both prefill and decode.
    Differences: one pool size instead of two, no correction by observed / expected latency, no ARIMA or Prophet.
    """

    kind: Literal["sla_planner"] = "sla_planner"
    counts_tokens: ClassVar[bool] = True
    idle_timeout_s: ClassVar[None] = None

    min_replicas: int = Field(ge=1, description="min_endpoint")
    tick_s: float = Field(gt=0, description="seconds between two looks: the interval of the faster loop")
    throughput_interval_s: float | None = Field(
        None, gt=0, description="seconds between two predictions, a multiple of tick_s; None: tick_s"
    )
    load: LoadThresholds | None = Field(None, description="thresholds of the load loop; None: no such loop")
    waits_for_starting: bool = Field(False, description="whether nothing changes while replicas start")
    predictor: Literal["constant", "mean", "trend"] = Field(description="how the next request rate is predicted")
    window_intervals: int = Field(ge=1, description="intervals that mean and trend look at")
    itl_s: float = Field(gt=0, description="SLA on the mean time between tokens")
    capacity_fraction: Annotated[float, Knob(0.2, 1)] = Field(
        gt=0, le=1, description="planned fraction of a replica's requests per second"
    )
    input_tokens: float = Field(gt=0, description="mean prompt length assumed before the first arrival")
    output_tokens: float = Field(gt=0, description="mean output length assumed before the first request has finished")

    @model_validator(mode="after")
    def _loops_fit_together(self) -> SlaPlanner:
        slow_s = self.throughput_interval_s
        if slow_s is not None and (
            slow_s < self.tick_s or abs(slow_s / self.tick_s - round(slow_s / self.tick_s)) > 1e-9
        ):
            raise ValueError(f"throughput_interval_s = {slow_s:g} must be a multiple of tick_s = {self.tick_s:g}")
        if slow_s is not None and slow_s > self.tick_s and self.load is None:
            raise ValueError(f"throughput_interval_s = {slow_s:g}: without load, nothing happens at tick_s in between")
        return self

    @property
    def is_patient(self) -> bool:
        return self.waits_for_starting

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        return _SlaPlanner(self)


class _SlaPlanner:
    """Both loops in one run. `_floor`: what the last prediction asked for."""

    __slots__ = ("_rule", "_seen", "_since_s", "_series", "_input_tokens", "_output_tokens", "_floor")

    def __init__(self, rule: SlaPlanner):
        self._rule = rule
        self._seen = (0, 0, 0, 0)
        self._since_s = 0.0
        self._series: deque[float] = deque(maxlen=rule.window_intervals)
        self._input_tokens, self._output_tokens = rule.input_tokens, rule.output_tokens
        self._floor = rule.min_replicas

    def target_replicas(self, view: FleetView) -> int:
        rule, current = self._rule, view.n_ready + view.n_starting
        is_new = view.now_s - self._since_s >= (rule.throughput_interval_s or EPSILON_S) - EPSILON_S
        if is_new and view.now_s > self._since_s + EPSILON_S:
            self._floor = self._for_predicted_load(view)
        elif rule.load is None:
            return rule.clamp(current)
        if rule.waits_for_starting and view.n_starting:
            return rule.clamp(current)
        wanted = self._floor if rule.load is None else max(self._floor, current + _step(rule.load, view))
        return rule.clamp(wanted)

    def _for_predicted_load(self, view: FleetView) -> int:
        rule, interval_s = self._rule, view.now_s - self._since_s
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


def _step(load: LoadThresholds, view: FleetView) -> int:
    """The load loop's change: 1, 0 or -1 replicas."""
    if not view.n_ready:
        return 0
    kv_used_fraction = sum(replica.kv_used_fraction for replica in view.replicas) / view.n_ready
    queue = view.n_waiting / view.n_ready
    if kv_used_fraction > load.kv_up or queue > load.queue_up:
        return 1
    return -1 if kv_used_fraction < load.kv_down and queue < load.queue_down else 0
