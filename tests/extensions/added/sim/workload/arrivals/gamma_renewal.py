"""Renewal arrivals with gamma gaps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from sim.workload.arrivals.base import Arrivals


class GammaRenewal(Arrivals):
    """Independent gaps, gamma distributed with this coefficient of variation (1: Poisson)."""

    kind: Literal["gamma_renewal"] = "gamma_renewal"
    tasks_per_minute: float = Field(gt=0)
    gap_cv: float = Field(gt=0)

    @property
    def mean_rate_per_s(self) -> float:
        return self.tasks_per_minute / 60

    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        shape, now_s = self.gap_cv**-2, 0.0
        while now_s < horizon_s:
            times_s = now_s + np.cumsum(rng.gamma(shape, 1 / (shape * self.mean_rate_per_s), 1000))
            now_s = float(times_s[-1])
            yield times_s[times_s < horizon_s]
