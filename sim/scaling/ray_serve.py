"""The autoscaler of Ray Serve, which acts on a wish only after it has lasted for a delay."""

from __future__ import annotations

from math import ceil
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.clock import Clock
from sim.knob import Knob
from sim.scaling.scaler import FromFloor, ScalerAtWork
from sim.scaling.windows import EPSILON_S, RequestsInWindow, whole_replicas
from sim.views import FleetView


class RayServe(FromFloor):
    """Ongoing requests / target, once the wish has had the same direction for a delay.

    With the mean number of requests over `look_back_s`, as of the last report, and r running replicas, the wish is
    ceil(r + factor * (mean / target - r)), and r - 1 where only the factor keeps it at r. The number changes when the
    wish has had the same direction in more than delay / tick_s loops in a row. It goes to one before zero; a fleet at
    zero wakes at once. Source: ray-project/ray, python/ray/serve/autoscaling_policy.py.
    """

    kind: Literal["ray_serve"] = "ray_serve"
    asks_at_zero: ClassVar[bool] = True  # handles report queued requests at once when there is no replica
    idle_timeout_s: ClassVar[None] = None

    tick_s: float = Field(gt=0, description="period of the control loop")
    target_requests_per_replica: Annotated[float, Knob(1, 1024, 1)] = Field(gt=0, description="target_ongoing_requests")
    look_back_s: float = Field(gt=0, description="look_back_period_s")
    metrics_interval_s: float = Field(gt=0, description="seconds between reports of replicas and handles")
    upscale_delay_s: Annotated[float, Knob(0, 600, 5)] = Field(
        ge=0, description="seconds for which more replicas must be wanted"
    )
    downscale_delay_s: Annotated[float, Knob(0, 3600, 10)] = Field(
        ge=0, description="seconds for which fewer replicas must be wanted"
    )
    downscale_to_zero_delay_s: float | None = Field(
        None, ge=0, description="the same for the step from one to zero; null: downscale_delay_s"
    )
    upscaling_factor: float = Field(gt=0, description="fraction of a wanted increase that is made")
    downscaling_factor: float = Field(gt=0, description="fraction of a wanted decrease that is made")

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        return _RayServe(self)


class _RayServe:
    __slots__ = ("_rule", "_window", "_mean", "_next_report_s", "_loops")

    def __init__(self, rule: RayServe):
        self._rule = rule
        self._window = RequestsInWindow(rule.look_back_s)
        self._mean = 0.0
        self._next_report_s = 0.0
        self._loops = 0  # loops in a row that wanted more (> 0) or fewer (< 0) replicas

    def target_replicas(self, view: FleetView) -> int:
        rule, current = self._rule, view.n_ready + view.n_starting
        if view.now_s >= self._next_report_s - EPSILON_S:
            self._next_report_s = view.now_s + rule.metrics_interval_s
            self._mean = self._window.look(view)
        if not current:
            if not view.n_outstanding:
                return rule.min_replicas
            self._next_report_s = view.now_s
            return rule.clamp(ceil(rule.upscaling_factor))
        return rule.clamp(self._after_delay(self._wish(view, current), current))

    def _wish(self, view: FleetView, current: int) -> int:
        rule, running = self._rule, view.n_ready
        if not running:
            return current
        raw = self._mean / rule.target_requests_per_replica
        factor = rule.upscaling_factor if raw >= running else rule.downscaling_factor
        wish = whole_replicas(running + factor * (raw - running))
        return rule.clamp(running - 1 if whole_replicas(raw) < running == wish else wish)

    def _after_delay(self, wish: int, current: int) -> int:
        rule = self._rule
        if wish == current:
            self._loops = 0
            return current
        if wish > current:
            self._loops = max(self._loops, 0) + 1
            delay_s = rule.upscale_delay_s
        else:
            self._loops = min(self._loops, 0) - 1
            to_zero_s = rule.downscale_to_zero_delay_s
            delay_s = rule.downscale_delay_s if current > 1 or to_zero_s is None else to_zero_s
        if abs(self._loops) <= int(delay_s / rule.tick_s + EPSILON_S):
            return current
        self._loops = 0
        return max(wish, 1) if current > 1 else wish
