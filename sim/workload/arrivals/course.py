"""Any arrivals along a recorded course of the rate."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.workload.arrivals.time_change import TimeChange

_CHUNK = 1024


class Course(TimeChange):
    """Any other arrivals along a course of the rate: relative rates in equal steps, again from the first step after the
    last one. The rate of `process` is the mean over the course.

    For records too short to show a day or a week: an hour's traffic has quiet and busy minutes that no stationary
    process explains.
    """

    kind: Literal["course"] = "course"
    step_s: float = Field(gt=0, description="length of each step", examples=[300.0])
    relative_rates: tuple[float, ...] = Field(
        min_length=1, max_length=10_000, description="rate in each step, over any common unit", examples=[(1.0, 2.0)]
    )

    @model_validator(mode="after")
    def _some_rate(self) -> Course:
        low, high = min(self.relative_rates), max(self.relative_rates)
        if low < 0 or high == 0:
            raise ValueError(f"relative_rates must be >= 0 and not all 0, but range from {low:g} to {high:g}")
        return self

    @property
    def mean_rate_per_s(self) -> float:
        return self.process.mean_rate_per_s

    @property
    def period_s(self) -> float:
        return self.step_s * len(self.relative_rates)

    @cached_property
    def _reached_s(self) -> np.ndarray:
        """Operational time at the edges of the steps, of which the last is the period."""
        rates = np.array(self.relative_rates)
        return np.concatenate(([0.0], np.cumsum(rates))) * (self.period_s / rates.sum())

    def operational_s(self, t_s: np.ndarray) -> np.ndarray:
        rounds, within_s = np.divmod(np.asarray(t_s, dtype=float), self.period_s)
        edges_s = np.arange(len(self._reached_s)) * self.step_s
        return rounds * self.period_s + np.interp(within_s, edges_s, self._reached_s)

    def _edges(self, horizon_s: float) -> Iterator[np.ndarray]:
        steps = int(np.ceil(horizon_s / self.step_s))
        for first in range(0, steps, _CHUNK):
            edges = np.arange(first, min(first + _CHUNK, steps) + 1) * self.step_s
            yield np.minimum(edges, horizon_s)
