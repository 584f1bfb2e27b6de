"""Hawkes arrivals: each task draws others after it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from sim.workload.arrivals.base import Arrivals

_BLOCK = 4096
_MEMORY = 25.0
"""Time constants of a cluster's decay that are played before time 0, so that the process is stationary there: what is
left out is e^-25 of it."""


class Hawkes(Arrivals):
    """A self-exciting process: each task raises the rate by branching_ratio / decay_s, decaying exponentially.

    Drawn as clusters (Hawkes and Oakes, A cluster process representation of a self-exciting process, 1974): tasks that
    come of themselves at rate_per_s (1 - branching_ratio), each with Poisson(branching_ratio) followers, exponentially
    later, each of which has followers. Stationary at time 0.

    `index_of_dispersion`, with k = 1 / (1 - branching_ratio) and x = window_s / (k decay_s):
    k^2 + (1 - k^2) (1 - e^-x) / x (Da Fonseca and Zaatour, Hawkes process: fast calibration, 2014).
    """

    kind: Literal["hawkes"] = "hawkes"
    rate_per_s: float = Field(gt=0, description="mean number of tasks per second, followers included")
    branching_ratio: float = Field(
        ge=0, le=0.99, description="mean number of tasks that directly follow from one", examples=[0.5]
    )
    decay_s: float = Field(gt=0, description="mean time from a task to one that follows from it", examples=[10.0])

    @property
    def mean_rate_per_s(self) -> float:
        return self.rate_per_s

    def index_of_dispersion(self, window_s: float) -> float:
        k = 1 / (1 - self.branching_ratio)
        x = window_s / (k * self.decay_s)
        return k**2 + (1 - k**2) * (-math.expm1(-x) / x if x > 1e-9 else 1.0)

    def work(self, horizon_s: float) -> Iterator[tuple[str, float, float, str]]:
        yield from super().work(horizon_s)
        yield "decay_s", self.decay_s, self._memory_s * self.rate_per_s, "tasks before the first second"

    @property
    def _memory_s(self) -> float:
        return _MEMORY * self.decay_s / (1 - self.branching_ratio)

    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        own_rate_per_s = self.rate_per_s * (1 - self.branching_ratio)
        n_own = max(1, round(_BLOCK * (1 - self.branching_ratio)))
        begin_s = -self._memory_s
        pending = np.empty(0)
        while begin_s < horizon_s:
            own_s = begin_s + np.cumsum(rng.exponential(1 / own_rate_per_s, n_own))
            begin_s = float(own_s[-1])
            moments = np.sort(np.concatenate((pending, self._with_followers(rng, own_s))))
            ripe = int(np.searchsorted(moments, begin_s))  # later clusters bring nothing before their first task
            pending, moments = moments[ripe:], moments[:ripe]
            moments = moments[np.searchsorted(moments, 0.0) : np.searchsorted(moments, horizon_s)]
            for i in range(0, len(moments), _BLOCK):
                yield moments[i : i + _BLOCK]

    def _with_followers(self, rng: np.random.Generator, own_s: np.ndarray) -> np.ndarray:
        generations = [own_s]
        while generations[-1].size:
            before = np.repeat(generations[-1], rng.poisson(self.branching_ratio, generations[-1].size))
            generations.append(before + rng.exponential(self.decay_s, before.size))
        return np.concatenate(generations)
