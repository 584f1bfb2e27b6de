"""The bases of synthetic arrivals: Cox processes, Poisson processes whose rate is a path in time."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from pydantic import Field

from sim.schema import ConfigError
from sim.workload.arrivals.base import Arrivals

_POINTS = 4096
_MOST_PATHS = 200_000
_FIRST_PATHS, _HOPELESS = 1000, -50.0
"""The search for a conditioned path tries at least `_FIRST_PATHS` paths, and goes on only if the log-likelihood of the
best one is above `_HOPELESS`."""
RatePath = Iterator[tuple[np.ndarray, np.ndarray]]
"""Chunks of a piecewise constant rate: edges in seconds, float64[m + 1], and the expected tasks between them,
float64[m]."""


class PoissonOnPath(Arrivals):
    """A Poisson process whose rate is a path in time, fixed or random (Cox 1955).

    With `exact_tasks` = n, the process is scaled to a mean rate of n / horizon, whatever its own, and conditioned
    on n tasks in the horizon. Processes as different as steady and bursty then have the same n tasks, hence the same
    tokens. Given N = n, a rate path of mass M (its integral) has density proportional to M^n e^-M; given the path, the
    n moments are independent with density proportional to the rate (counts of time slices multinomial, order statistics
    within each). A burst keeps its multiple of the mean rate to within 1 / sqrt(n). The index of dispersion, stated for
    the unconditioned process, is lower over windows that are a large part of the horizon.
    """

    has_random_path: ClassVar[bool] = False  # whether two draws of `_rate_path` may differ in their mass

    exact_tasks: int | None = Field(None, ge=0, description="exactly this many tasks in the horizon; null = random")

    @abstractmethod
    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        """The rate from 0 to horizon_s in chunks of bounded size. The same stream gives the same path."""

    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        path_seed, point_seed = rng.integers(2**63, size=2).tolist()
        points = np.random.Generator(np.random.PCG64(point_seed))
        n_tasks = self.exact_tasks
        if n_tasks is None:
            return on_path(_poisson_points(points), self._path(path_seed, horizon_s), horizon_s)
        if n_tasks and self.has_random_path:
            path_seed = self._seed_of_conditioned_path(path_seed, n_tasks, horizon_s)
        mass = _mass(self._path(path_seed, horizon_s))
        if mass == 0 and n_tasks:
            law = f"needs a rate above 0 somewhere in the {horizon_s:g} s horizon"
            raise ConfigError(f"arrivals.exact_tasks = {n_tasks}: {law}")
        return on_path(_exact_points(points, n_tasks, mass), self._path(path_seed, horizon_s), horizon_s)

    def _path(self, seed: int, horizon_s: float) -> RatePath:
        return self._rate_path(np.random.Generator(np.random.PCG64(seed)), horizon_s)

    def _seed_of_conditioned_path(self, seed: int, n_tasks: int, horizon_s: float) -> int:
        """The seed of a path drawn with density proportional to M^n e^-M, M scaled so that its mean is n.

        Exact, by rejection: the density is largest at M = n, so a path is kept with probability (M/n)^n e^(n-M).
        Raises ConfigError where hardly any path has a mass near n.
        """
        draws = np.random.Generator(np.random.PCG64(seed))
        expected = self.mean_rate_per_s * horizon_s
        likeliest, n_paths = -math.inf, 0
        while n_paths < _MOST_PATHS and (likeliest > _HOPELESS or n_paths < _FIRST_PATHS):
            candidate, chance = int(draws.integers(2**63)), draws.random()
            relative = _mass(self._path(candidate, horizon_s)) / expected
            log_likelihood = n_tasks * (math.log(relative) - relative + 1) if relative > 0 else -math.inf
            if chance < math.exp(log_likelihood):
                return candidate
            likeliest, n_paths = max(likeliest, log_likelihood), n_paths + 1
        raise ConfigError(
            f"arrivals.exact_tasks = {n_tasks}: none of {n_paths} paths of this process comes near that in "
            f"{horizon_s:g} s; choose a longer horizon_s, or arrivals.exact_tasks=null"
        )


class Cox(PoissonOnPath):
    """A Cox process whose mean rate is a number of its own."""

    rate_per_s: float = Field(gt=0, description="mean number of tasks per second")

    @property
    def mean_rate_per_s(self) -> float:
        return self.rate_per_s


def _mass(path: RatePath) -> float:
    """The expected number of tasks of a whole rate path."""
    total = 0.0
    for _, masses in path:
        total = float(np.add.accumulate(np.concatenate(([total], masses)))[-1])
    return total


def _poisson_points(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """An endless Poisson process of rate 1, in blocks."""
    last = 0.0
    while True:
        block = np.add.accumulate(np.concatenate(([last], rng.exponential(size=_POINTS))))[1:]
        last = float(block[-1])
        yield block


def _exact_points(rng: np.random.Generator, n: int, length: float) -> Iterator[np.ndarray]:
    """Order statistics of n uniform points on [0, length), slice by slice: each count binomial given those before."""
    slices, left, inside = max(1, -(-n // _POINTS)), n, np.nextafter(length, 0)
    for i in range(slices):
        count = int(rng.binomial(left, 1 / (slices - i)))
        left -= count
        block = np.sort(i + rng.random(count)) * (length / slices)
        yield np.minimum(block, inside)


def on_path(points: Iterator[np.ndarray], path: RatePath, horizon_s: float) -> Iterator[np.ndarray]:
    """Points of rate 1 in operational time, moved to where the expected number of tasks reaches them (Cinlar 1975)."""
    pending, reached, latest, before_end = np.empty(0), 0.0, 0.0, np.nextafter(horizon_s, 0)
    for edges, masses in path:
        marks = np.add.accumulate(np.concatenate(([reached], masses)))
        reached = float(marks[-1])
        while True:
            n_reached = int(np.searchsorted(pending, reached))
            if n_reached:
                times = np.interp(pending[:n_reached], marks, edges)
                times[0] = max(times[0], latest)  # rounding may disorder neighbours by one ulp
                times = np.minimum(np.maximum.accumulate(times), before_end)
                pending, latest = pending[n_reached:], times[-1]
                yield times
            if pending.size:
                break
            drawn = next(points, None)
            if drawn is None:
                return
            pending = drawn
