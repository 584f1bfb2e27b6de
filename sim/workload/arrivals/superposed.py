"""Many customers behind one door, each with bursts of its own."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from sim.workload.arrivals.bursty import Bursty
from sim.workload.arrivals.cox import RatePath

_CHANGES = 1024


class Superposed(Bursty):
    """The superposition of so many independent `bursty` sources, all alike.

    What counts is how many of them are in a burst: a birth-death chain, started stationary (binomial). Variance and
    mean grow with the number alike, so the index of dispersion is that of one source; peak over mean falls.
    """

    kind: Literal["superposed"] = "superposed"
    rate_per_s: float = Field(gt=0, description="mean number of tasks per second of one source")
    n_sources: int = Field(ge=1, description="independent sources")

    @property
    def mean_rate_per_s(self) -> float:
        return self.n_sources * self.rate_per_s

    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        n, end_s = self.n_sources, 0.0
        bursting = int(rng.binomial(n, self.burst_time_fraction))
        while end_s < horizon_s:
            lasts, luck = rng.exponential(size=_CHANGES).tolist(), rng.random(_CHANGES).tolist()
            edges, counts = [end_s], []
            for patience, chance in zip(lasts, luck, strict=True):
                leave, join = bursting / self.mean_burst_s, (n - bursting) / self.mean_quiet_s
                counts.append(bursting)
                end_s += patience / (leave + join)
                edges.append(min(end_s, horizon_s))
                if end_s >= horizon_s:
                    break
                bursting += 1 if chance * (leave + join) < join else -1
            rates = self.quiet_rate_per_s * n + (self.burst_rate_per_s - self.quiet_rate_per_s) * np.array(counts)
            yield np.array(edges), np.diff(edges) * rates
