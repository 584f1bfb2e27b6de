"""The Knative pod autoscaler (KPA): time averages over a stable and a panic window."""

from __future__ import annotations

from math import ceil, floor
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.clock import Clock
from sim.knob import Knob
from sim.scaling.scaler import Bounded, ScalerAtWork
from sim.scaling.windows import EPSILON_S, Extreme, RequestsInWindow, whole_replicas
from sim.views import FleetView


class KnativeKpa(Bounded):
    """Replicas for the mean concurrency of the stable window, or of the short panic window when load rises suddenly.

    Every tick, with o the mean number of requests in a window, r = max(1, ready) and T the target per replica, the wish
    of each window is ceil(o / T), bounded by floor(r / max_scale_down_rate) and ceil(r * max_scale_up_rate). The fleet
    panics when the unbounded wish of the panic window is `panic_threshold` times r, until that has been false for a
    stable window; in panic the larger wish counts and the number never falls. A wish for zero keeps one replica for
    `scale_to_zero_grace_s` first.

    Source: knative/serving, pkg/autoscaler/scaling/autoscaler.go, pkg/reconciler/autoscaling/kpa/scaler.go. Not
    modelled: the activator's limits, scraping of a sample of pods, the duration of a reconcile.
    """

    kind: Literal["knative_kpa"] = "knative_kpa"
    asks_at_zero: ClassVar[bool] = True  # the activator pokes the autoscaler
    calls_off_starting: ClassVar[bool] = True  # a ReplicaSet deletes pods that are not ready first
    idle_timeout_s: ClassVar[None] = None

    initial_replicas: int = Field(ge=0, description="initial-scale")
    tick_s: float = Field(gt=0, description="tick-interval")
    target_requests_per_replica: Annotated[float, Knob(1, 1024, 1)] = Field(
        gt=0, description="container-concurrency-target-default"
    )
    target_fraction: float = Field(gt=0, le=1, description="container-concurrency-target-percentage / 100")
    stable_window_s: float = Field(ge=6, le=3600, description="stable-window")
    panic_window_fraction: float = Field(gt=0, le=1, description="panic-window-percentage / 100")
    panic_threshold: float = Field(ge=1.1, le=10, description="panic-threshold-percentage / 100")
    max_scale_up_rate: float = Field(gt=1, description="max-scale-up-rate")
    max_scale_down_rate: float = Field(gt=1, description="max-scale-down-rate")
    scale_down_delay_s: Annotated[float, Knob(0, 3600, 10)] = Field(
        ge=0, description="scale-down-delay: the highest wish of this window counts"
    )
    scale_to_zero_grace_s: float = Field(ge=0, description="scale-to-zero-grace-period of the last replica")
    scale_to_zero_pod_retention_s: float = Field(ge=0, description="scale-to-zero-pod-retention-period, at least")
    activation_replicas: int = Field(ge=1, description="activation-scale: smallest number above zero")

    @model_validator(mode="after")
    def _the_run_begins_within_bounds(self) -> KnativeKpa:
        if not self.min_replicas <= self.initial_replicas <= self.max_replicas:
            raise ValueError(
                f"initial_replicas = {self.initial_replicas} must be within min_replicas = {self.min_replicas} "
                f"and max_replicas = {self.max_replicas}"
            )
        return self

    @property
    def target_per_replica(self) -> float:
        """Requests per replica in the computation of the wish."""
        return self.target_requests_per_replica * self.target_fraction

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        return _Kpa(self)


class _Kpa:
    __slots__ = (
        "_rule", "_stable", "_panic", "_recent", "_panic_s", "_floor", "_active_s", "_inactive_s", "_stable_mean",
    )  # fmt: skip

    def __init__(self, rule: KnativeKpa):
        self._rule = rule
        self._stable = RequestsInWindow(rule.stable_window_s)
        self._panic = RequestsInWindow(rule.stable_window_s * rule.panic_window_fraction)
        self._recent = Extreme(rule.scale_down_delay_s)
        # An autoscaler that starts with several replicas begins in panic mode, so that it does not release any at once.
        several = rule.initial_replicas > 1
        self._panic_s: float | None = 0.0 if several else None
        self._floor = rule.initial_replicas if several else 0
        self._active_s: float | None = 0.0 if rule.initial_replicas else None
        self._inactive_s: float | None = None
        self._stable_mean = 0.0

    def target_replicas(self, view: FleetView) -> int:
        rule = self._rule
        if not view.n_ready + view.n_starting and not self._stable_mean:
            self._stable.forget(view)  # Knative's buckets begin with the first report after a window without any
            self._panic.forget(view)
        wish = self._wish(view)
        if rule.scale_down_delay_s:
            wish = self._recent.say(view.now_s, wish)
        wish = rule.clamp(wish)
        if not wish:
            return self._to_zero(view)
        if self._active_s is None or self._inactive_s is not None:
            self._active_s, self._inactive_s = view.now_s, None
        return wish

    def _wish(self, view: FleetView) -> int:
        rule, now_s = self._rule, view.now_s
        ready = max(1, view.n_ready)
        lowest, highest = floor(ready / rule.max_scale_down_rate), ceil(ready * rule.max_scale_up_rate)
        self._stable_mean = self._stable.look(view)
        raw_stable = whole_replicas(self._stable_mean / rule.target_per_replica)
        raw_panic = whole_replicas(self._panic.look(view) / rule.target_per_replica)
        stable, panic = (
            max(lowest, min(raw if raw <= 0 else max(raw, rule.activation_replicas), highest))
            for raw in (raw_stable, raw_panic)
        )
        if raw_panic / ready >= rule.panic_threshold:
            self._panic_s = now_s
        elif self._panic_s is not None and now_s > self._panic_s + rule.stable_window_s + EPSILON_S:
            self._panic_s, self._floor = None, 0
        if self._panic_s is None:
            return stable
        self._floor = max(stable, panic, self._floor)
        return self._floor

    def _to_zero(self, view: FleetView) -> int:
        rule, now_s = self._rule, view.now_s
        if not view.n_ready + view.n_starting:
            return 0
        if self._inactive_s is None:
            assert self._active_s is not None  # replicas exist only after a wish for some
            if now_s - self._active_s < rule.stable_window_s - EPSILON_S:
                return 1
            self._inactive_s = now_s
        stays_s = max(rule.scale_to_zero_grace_s, rule.scale_to_zero_pod_retention_s)
        return 1 if now_s - self._inactive_s < stays_s - EPSILON_S else 0
