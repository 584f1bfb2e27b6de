"""Any arrivals along a recorded course of the rate."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.workload.arrivals.time_change import TimeChange

_CHUNK = 1024
PositiveSeconds = Annotated[float, Field(gt=0)]


class Course(TimeChange):
    """Any other arrivals along a course of the rate: relative rates in steps, again from the first step after the last
    one. The rate of `process` is the mean over the course.

    For records too short to show a day or a week: an hour's traffic has quiet and busy minutes that no stationary
    process explains.
    """

    kind: Literal["course"] = "course"
    step_s: PositiveSeconds | tuple[PositiveSeconds, ...] = Field(
        description="length of the steps: one number for all of them, or one for each", examples=[300.0]
    )
    relative_rates: tuple[float, ...] = Field(
        min_length=1, max_length=10_000, description="rate in each step, over any common unit", examples=[(1.0, 2.0)]
    )

    @model_validator(mode="after")
    def _some_rate(self) -> Course:
        low, high = min(self.relative_rates), max(self.relative_rates)
        if low < 0 or high == 0:
            raise ValueError(f"relative_rates must be >= 0 and not all 0, but range from {low:g} to {high:g}")
        steps, rates = self.step_s, len(self.relative_rates)
        if isinstance(steps, tuple) and len(steps) != rates:
            raise ValueError(f"step_s has {len(steps)} numbers, relative_rates {rates}: must be as many, or one step_s")
        return self

    @property
    def mean_rate_per_s(self) -> float:
        return self.process.mean_rate_per_s

    @property
    def period_s(self) -> float:
        return float(self._edges_s[-1])

    @cached_property
    def _edges_s(self) -> np.ndarray:
        """float64[steps + 1]: the edges of the steps."""
        if isinstance(self.step_s, tuple):
            return np.concatenate(([0.0], np.cumsum(self.step_s)))
        return np.arange(len(self.relative_rates) + 1) * self.step_s

    @cached_property
    def _reached_s(self) -> np.ndarray:
        """Operational time at the edges of the steps, of which the last is the period."""
        masses = np.array(self.relative_rates) * np.diff(self._edges_s)
        return np.concatenate(([0.0], np.cumsum(masses))) * (self.period_s / masses.sum())

    def operational_s(self, t_s: np.ndarray) -> np.ndarray:
        rounds, within_s = np.divmod(np.asarray(t_s, dtype=float), self.period_s)
        return rounds * self.period_s + np.interp(within_s, self._edges_s, self._reached_s)

    @property
    def _mean_step(self) -> tuple[str, float]:
        return "step_s", self.period_s / len(self.relative_rates)

    def _edges(self, horizon_s: float) -> Iterator[np.ndarray]:
        period, start_s = self._edges_s, 0.0
        while start_s < horizon_s:
            for first in range(0, len(period) - 1, _CHUNK):
                edges = start_s + period[first : first + _CHUNK + 1]
                yield np.minimum(edges, horizon_s)
                if edges[-1] >= horizon_s:
                    return
            start_s += self.period_s
