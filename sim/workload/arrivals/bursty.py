"""Bursty traffic: quiet and burst periods in turn."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.workload.arrivals.cox import Cox, RatePath

_SOJOURNS = 1024


class Bursty(Cox):
    """Two-state Markov-modulated Poisson process: quiet and burst periods of exponential length, started stationary.

    Law: burst_factor * burst_time_fraction <= 1, so that what bursts leave over for quiet times is not negative; at 1
    all tasks arrive in bursts (an interrupted Poisson process).
    """

    kind: Literal["bursty"] = "bursty"
    has_random_path: ClassVar[bool] = True
    burst_factor: float = Field(ge=1, description="rate during a burst over the mean rate")
    mean_burst_s: float = Field(gt=0, description="mean length of a burst")
    burst_time_fraction: float = Field(gt=0, lt=1, description="share of time spent in bursts")

    @model_validator(mode="after")
    def _quiet_rate_is_not_negative(self) -> Bursty:
        share = self.burst_factor * self.burst_time_fraction
        if share > 1 + 1e-9:
            raise ValueError(
                f"burst_factor * burst_time_fraction must be <= 1, not {self.burst_factor:g} * "
                f"{self.burst_time_fraction:g} = {share:g}: bursts alone would exceed the mean rate"
            )
        return self

    @property
    def burst_rate_per_s(self) -> float:
        return self.burst_factor * self.rate_per_s

    @property
    def quiet_rate_per_s(self) -> float:
        left = max(1 - self.burst_factor * self.burst_time_fraction, 0.0)
        return self.rate_per_s * left / (1 - self.burst_time_fraction)

    @property
    def mean_quiet_s(self) -> float:
        return self.mean_burst_s * (1 - self.burst_time_fraction) / self.burst_time_fraction

    def index_of_dispersion(self, window_s: float) -> float:
        """Heffes and Lucantoni, A Markov modulated characterization of packetized voice and data traffic, 1986."""
        leave_burst, leave_quiet = 1 / self.mean_burst_s, 1 / self.mean_quiet_s
        both = leave_burst + leave_quiet
        gap = self.burst_rate_per_s - self.quiet_rate_per_s
        limit = 2 * gap**2 * leave_burst * leave_quiet / (both**3 * self.rate_per_s)
        x = both * window_s
        return 1 + limit * (1 - (-math.expm1(-x)) / x if x > 1e-5 else x / 2)

    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        bursting, start_s = rng.random() < self.burst_time_fraction, 0.0
        burst, quiet = (self.mean_burst_s, self.burst_rate_per_s), (self.mean_quiet_s, self.quiet_rate_per_s)
        means, rates = np.resize(np.array([burst, quiet] if bursting else [quiet, burst]), (_SOJOURNS, 2)).T
        while start_s < horizon_s:
            edges = np.add.accumulate(np.concatenate(([start_s], rng.exponential(size=_SOJOURNS) * means)))
            edges = np.minimum(edges[: np.searchsorted(edges, horizon_s) + 1], horizon_s)
            yield edges, np.diff(edges) * rates[: len(edges) - 1]
            start_s = float(edges[-1])
