"""Bursty traffic: one source that alternates between quiet and burst periods."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sim.workload.arrivals.cox import RatePath
from sim.workload.arrivals.markov_modulated import MarkovModulated

_SOJOURNS = 1024


class Bursty(MarkovModulated):
    """A two-state Markov-modulated Poisson process, started in its stationary state."""

    kind: Literal["bursty"] = "bursty"

    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        bursting, start_s = rng.random() < self.burst_time_fraction, 0.0
        burst, quiet = (self.mean_burst_s, self.burst_rate_per_s), (self.mean_quiet_s, self.quiet_rate_per_s)
        means, rates = np.resize(np.array([burst, quiet] if bursting else [quiet, burst]), (_SOJOURNS, 2)).T
        while start_s < horizon_s:
            edges = np.add.accumulate(np.concatenate(([start_s], rng.exponential(size=_SOJOURNS) * means)))
            edges = np.minimum(edges[: np.searchsorted(edges, horizon_s) + 1], horizon_s)
            yield edges, np.diff(edges) * rates[: len(edges) - 1]
            start_s = float(edges[-1])
