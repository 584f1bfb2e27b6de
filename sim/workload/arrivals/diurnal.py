"""Traffic with a daily and a weekly cycle."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.moment_zero import OnTheClock
from sim.units import DAY_S, MINUTE_S, WEEK_S
from sim.workload.arrivals.cox import Cox, RatePath
from sim.workload.arrivals.weekly_rate import WeeklyRate


class Diurnal(Cox, OnTheClock):
    """A non-homogeneous Poisson process with a smooth daily and weekly cycle.

    `profile[h]` is the relative rate in the middle of hour h; `weekday_factor` and `weekend_factor` scale whole days.
    A periodic monotone cubic through the 168 points of the week (see WeeklyRate) gives a smooth rate within the range
    of its points, scaled to a mean of `rate_per_s` over a week. `peak_to_trough` stretches the profile linearly until
    its largest point is that multiple of its smallest. Hours and days are those of the scenario's moment zero and
    zone, through daylight saving.

    `index_of_dispersion` is that of a window placed at a uniformly random moment of the week: 1 + Var(M)/E(M), M the
    integral of the rate over the window. (Given the moment, counts are Poisson.)
    """

    kind: Literal["diurnal"] = "diurnal"
    profile: tuple[float, ...] = Field(min_length=24, max_length=24, description="relative rate of hours 0 to 23")
    peak_to_trough: float | None = Field(
        None, ge=1, description="largest / smallest rate of a day; null: as in profile"
    )
    weekday_factor: float = Field(1.0, ge=0, description="scale of Monday to Friday")
    weekend_factor: float = Field(1.0, ge=0, description="scale of Saturday and Sunday")

    @model_validator(mode="after")
    def _some_rate(self) -> Diurnal:
        low, high = min(self.profile), max(self.profile)
        if low < 0 or high == 0:
            raise ValueError(f"profile must be >= 0 and not all 0, but ranges from {low:g} to {high:g}")
        if self.weekday_factor + self.weekend_factor == 0:
            raise ValueError("weekday_factor and weekend_factor must not both be 0")
        if self.peak_to_trough is not None and low == high and self.peak_to_trough > 1:
            raise ValueError(f"peak_to_trough = {self.peak_to_trough:g} needs a profile that is not flat")
        return self

    @property
    def period_s(self) -> float:
        return WEEK_S

    @property
    def day_points(self) -> np.ndarray:
        """The 24 relative rates after `peak_to_trough`."""
        points = np.array(self.profile)
        if self.peak_to_trough is None:
            return points
        height = (points - points.min()) / max(points.max() - points.min(), 1e-300)
        return 1 + (self.peak_to_trough - 1) * height

    @property
    def weekly_rate(self) -> WeeklyRate:
        """The rate as a function of the time since Monday 0:00."""
        factors = np.array([self.weekday_factor] * 5 + [self.weekend_factor] * 2)
        return WeeklyRate(np.outer(factors, self.day_points).ravel(), self.rate_per_s)

    @property
    def start_s(self) -> float:
        """Local time since Monday 0:00 at which the horizon begins."""
        return self.moment_zero.week_s

    def index_of_dispersion(self, window_s: float) -> float:
        rate, moments = self.weekly_rate, np.arange(0.0, WEEK_S, MINUTE_S)
        masses = rate.integral(moments + window_s) - rate.integral(moments)
        return 1 + float(masses.var() / masses.mean())

    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        """Exact in every minute; within a minute the rate is taken as constant."""
        rate, begin_s, clock = self.weekly_rate, 0.0, self.moment_zero
        first_offset_s = clock.offset_s(0.0)
        while begin_s < horizon_s:
            end_s = min(begin_s + DAY_S, horizon_s)
            for from_s, to_s, offset_s in clock.stretches(begin_s, end_s):
                edges = np.append(np.arange(from_s, to_s, MINUTE_S), to_s)
                yield edges, np.diff(rate.integral(clock.week_s + (offset_s - first_offset_s) + edges))
            begin_s = end_s
