"""The traffic of many independent sources, each with its own bursts."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from sim.workload.arrivals.cox import RatePath
from sim.workload.arrivals.markov_modulated import MarkovModulated

_CHANGES = 1024


class Superposed(MarkovModulated):
    """The superposition of `n_sources` independent and equal `bursty` sources.

    The number of sources in a burst is a birth-death chain, started in its stationary (binomial) state. Variance and
    mean grow alike with the number of sources, so the index of dispersion is that of one source, while the ratio of
    peak to mean falls.
    """

    kind: Literal["superposed"] = "superposed"
    rate_per_s: float = Field(gt=0, description="mean number of tasks per second of one source")
    n_sources: int = Field(ge=1, description="number of independent sources")

    @property
    def mean_rate_per_s(self) -> float:
        return self.n_sources * self.rate_per_s

    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        n, end_s = self.n_sources, 0.0
        bursting = int(rng.binomial(n, self.burst_time_fraction))
        while end_s < horizon_s:
            lengths, draws = rng.exponential(size=_CHANGES).tolist(), rng.random(_CHANGES).tolist()
            edges, counts = [end_s], []
            for length, draw in zip(lengths, draws, strict=True):
                leave, join = bursting / self.mean_burst_s, (n - bursting) / self.mean_quiet_s
                counts.append(bursting)
                end_s += length / (leave + join)
                edges.append(min(end_s, horizon_s))
                if end_s >= horizon_s:
                    break
                bursting += 1 if draw * (leave + join) < join else -1
            rates = self.quiet_rate_per_s * n + (self.burst_rate_per_s - self.quiet_rate_per_s) * np.array(counts)
            yield np.array(edges), np.diff(edges) * rates
