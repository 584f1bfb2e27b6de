"""Scalers that decide how long to keep an idle replica: by the cost of a cold start, or by the pauses observed."""

from __future__ import annotations

from collections import deque
from math import ceil, sqrt
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.clock import Clock
from sim.knob import Knob
from sim.scaling.on_demand import OnDemand
from sim.scaling.scaler import Scaler, ScalerAtWork, kept
from sim.scaling.windows import EPSILON_S
from sim.units import HOUR_S
from sim.views import FleetView


class SkiRental(OnDemand):
    """On demand; an idle replica is kept until its idle time has cost as much as a cold start.

    This is the deterministic rule of the ski-rental problem: whatever the traffic, it costs at most twice the optimum
    with the next arrival known (Karlin, Manasse, Rudolph and Sleator 1988). A cold start costs its paid seconds and
    `penalty_usd_per_cold_start` for the wait of the requests.
    """

    kind: Literal["ski_rental"] = "ski_rental"
    cold_start_s: float = Field(ge=0, description="paid seconds of a cold start")
    usd_per_replica_hour: float = Field(gt=0, description="price of an idle or starting replica")
    penalty_usd_per_cold_start: float = Field(ge=0, description="value of the time that requests wait for it")

    @property
    def idle_timeout_s(self) -> float:
        return self.cold_start_s + self.penalty_usd_per_cold_start / self.usd_per_replica_hour * HOUR_S


class HybridHistogram(Scaler):
    """One warm replica at the times when the next request is likely, by a histogram of the pauses so far.

    A pause lasts from the moment at which the fleet is empty to the next arrival. At its start the last replica is
    released; one is ordered shortly before the `head` quantile of past pauses and kept until shortly after the `tail`
    quantile. A head in the first bin keeps the replica. The histogram is used from `min_pauses` pauses on, if counts
    per bin vary enough (`min_variation`); otherwise the keep-alive is fixed. If most pauses are longer than the
    histogram, the forecast of the next is the mean of the last of those. While the fleet has requests, it wants one
    replica per `target_requests_per_replica`; replicas beyond are released after the fixed keep-alive.

    Source: Shahrad et al., Serverless in the Wild, USENIX ATC 2020, section 4. Differences: they forecast long pauses
    by ARIMA instead of the mean, and their fixed keep-alive is the whole range of the histogram.
    """

    kind: Literal["hybrid_histogram"] = "hybrid_histogram"
    asks_on_arrival: ClassVar[bool] = True
    asks_on_idle: ClassVar[bool] = True
    min_replicas: ClassVar[int] = 0
    initial_replicas: ClassVar[int] = 0

    max_replicas: int = Field(ge=1, description="largest number of replicas")
    tick_s: float = Field(gt=0, description="seconds between two decisions")
    target_requests_per_replica: Annotated[float, Knob(1, 1024, 1)] = Field(
        gt=0, description="requests, waiting or running, wanted per replica"
    )
    bin_s: float = Field(gt=0, description="width of a bin of the histogram")
    n_bins: int = Field(ge=2, description="bins of the histogram")
    head_fraction: float = Field(ge=0, le=1, description="quantile of the pauses from which on a replica is warm")
    tail_fraction: float = Field(ge=0, le=1, description="quantile of the pauses until which a replica is warm")
    margin_fraction: float = Field(ge=0, lt=1, description="the head is earlier and the tail later by this fraction")
    min_variation: float = Field(ge=0, description="smallest coefficient of variation of the counts per bin")
    min_pauses: int = Field(ge=1, description="pauses from which on the histogram is used")
    forecast_margin_fraction: float = Field(ge=0, lt=1, description="margin about the forecast of a long pause")
    idle_timeout_s: Annotated[float, Knob(0, 3600, 10)] = Field(
        ge=0, description="the fixed keep-alive, where the histogram is not used"
    )

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        return _HybridHistogram(self)


class _HybridHistogram:
    __slots__ = (
        "_rule", "_counts", "_n", "_squares", "_beyond", "_n_beyond", "_empty_s", "_warm_from_s", "_warm_until_s",
    )  # fmt: skip

    def __init__(self, rule: HybridHistogram):
        self._rule = rule
        self._counts = [0] * rule.n_bins
        self._n = self._squares = self._n_beyond = 0
        self._beyond: deque[float] = deque(maxlen=20)
        self._empty_s: float | None = None  # start of the present pause; None: no pause, or no request has arrived yet
        self._warm_from_s = self._warm_until_s = 0.0  # seconds after the start of the present pause

    def target_replicas(self, view: FleetView) -> int:
        rule, now_s = self._rule, view.now_s
        if view.n_outstanding:
            if self._empty_s is not None:
                self._learn(now_s - self._empty_s)
                self._empty_s = None
            wanted = ceil(view.n_outstanding / rule.target_requests_per_replica)
            return min(max(wanted, kept(view, rule.idle_timeout_s, rule.max_replicas)), rule.max_replicas)
        if not view.arrived_requests:
            return 0
        if self._empty_s is None:
            self._empty_s = now_s
            self._warm_from_s, self._warm_until_s = self._warm_between()
        paused_s = now_s - self._empty_s + EPSILON_S
        return 1 if self._warm_from_s <= paused_s < self._warm_until_s else 0

    def _learn(self, pause_s: float) -> None:
        i = int(pause_s / self._rule.bin_s)
        if i >= len(self._counts):
            self._beyond.append(pause_s)
            self._n_beyond += 1
            return
        self._squares += 2 * self._counts[i] + 1
        self._counts[i] += 1
        self._n += 1

    def _warm_between(self) -> tuple[float, float]:
        """(first, last) moment with a warm replica, in seconds after the start of the pause that begins now."""
        rule = self._rule
        if self._n + self._n_beyond < rule.min_pauses:
            return 0.0, rule.idle_timeout_s
        if self._n_beyond > self._n:
            expected_s = sum(self._beyond) / len(self._beyond)
            around_s = expected_s * rule.forecast_margin_fraction
            return expected_s - around_s, expected_s + around_s
        mean = self._n / rule.n_bins
        if sqrt(max(0.0, self._squares / rule.n_bins - mean * mean)) < rule.min_variation * mean:
            return 0.0, rule.idle_timeout_s
        head, tail = self._bin_of(rule.head_fraction), self._bin_of(rule.tail_fraction)
        return head * rule.bin_s * (1 - rule.margin_fraction), (tail + 1) * rule.bin_s * (1 + rule.margin_fraction)

    def _bin_of(self, fraction: float) -> int:
        """The first bin up to which the histogram holds at least this fraction of its pauses."""
        needed, seen = max(1, ceil(fraction * self._n - 1e-9)), 0
        for i, count in enumerate(self._counts):
            seen += count
            if seen >= needed:
                return i
        return len(self._counts) - 1
