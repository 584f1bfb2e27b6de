"""Steady traffic: a Poisson process."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sim.workload.arrivals.cox import Cox, RatePath


class Steady(Cox):
    """A Poisson process of constant rate."""

    kind: Literal["steady"] = "steady"

    def index_of_dispersion(self, window_s: float) -> float:
        return 1.0

    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        yield np.array([0.0, horizon_s]), np.array([self.rate_per_s * horizon_s])
