"""The base of arrivals whose sources alternate between quiet and burst periods."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field, model_validator

from sim.workload.arrivals.cox import Cox


class MarkovModulated(Cox):
    """A source that alternates between quiet and burst periods of exponential length, with a Poisson rate in each.

    Law: burst_factor * burst_time_fraction <= 1, so that the rate left for quiet periods is >= 0. At 1 all tasks
    arrive in bursts (an interrupted Poisson process). `rate_per_s` is the mean rate of one source; a kind says how many
    sources there are.
    """

    has_random_path: ClassVar[bool] = True
    burst_factor: float = Field(ge=1, description="rate during a burst / mean rate")
    mean_burst_s: float = Field(gt=0, description="mean length of a burst")
    burst_time_fraction: float = Field(gt=0, lt=1, description="fraction of the time spent in bursts")

    @model_validator(mode="after")
    def _quiet_rate_is_not_negative(self) -> MarkovModulated:
        share = self.burst_factor * self.burst_time_fraction
        if share > 1 + 1e-9:
            raise ValueError(
                f"burst_factor * burst_time_fraction must be <= 1, not {self.burst_factor:g} * "
                f"{self.burst_time_fraction:g} = {share:g}: bursts alone would exceed the mean rate"
            )
        return self

    def work(self, horizon_s: float) -> Iterator[tuple[str, float, float, str]]:
        yield from super().work(horizon_s)
        n_sources = self.mean_rate_per_s / self.rate_per_s
        yield "mean_burst_s", self.mean_burst_s, n_sources * horizon_s / self.mean_burst_s, "bursts"

    @property
    def burst_rate_per_s(self) -> float:
        """Tasks per second of one source during a burst."""
        return self.burst_factor * self.rate_per_s

    @property
    def quiet_rate_per_s(self) -> float:
        """Tasks per second of one source in a quiet period."""
        left = max(1 - self.burst_factor * self.burst_time_fraction, 0.0)
        return self.rate_per_s * left / (1 - self.burst_time_fraction)

    @property
    def mean_quiet_s(self) -> float:
        """Mean length of a quiet period."""
        return self.mean_burst_s * (1 - self.burst_time_fraction) / self.burst_time_fraction

    def index_of_dispersion(self, window_s: float) -> float:
        """That of one source, and of any number of independent ones, because mean and variance grow alike.

        Source: Heffes and Lucantoni, A Markov modulated characterization of packetized voice and data traffic, 1986.
        """
        leave_burst, leave_quiet = 1 / self.mean_burst_s, 1 / self.mean_quiet_s
        both = leave_burst + leave_quiet
        gap = self.burst_rate_per_s - self.quiet_rate_per_s
        limit = 2 * gap**2 * leave_burst * leave_quiet / (both**3 * self.rate_per_s)
        x = both * window_s
        return 1 + limit * (1 - (-math.expm1(-x)) / x if x > 1e-5 else x / 2)
