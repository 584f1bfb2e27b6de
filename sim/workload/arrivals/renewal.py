"""Renewal arrivals: independent gaps of one law."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.schema import ConfigError
from sim.workload.arrivals.base import Arrivals

_BLOCK, _GRID = 4096, 2000
_MANY_GAPS, _MOST_EXACT, _MOST_PATHS = 8.0, 200_000, 200_000


class Renewal(Arrivals):
    """Tasks with independent gaps of mean 1 / rate_per_s and coefficient of variation `cv`, in equilibrium at time 0.

    `gamma` with cv = 1 / sqrt(burstiness) is what vLLM's load generator sends; `weibull` with the same cv has more very
    short and more very long gaps; `fixed` is a metronome with a random phase. cv = 1 is Poisson under both random laws.

    `index_of_dispersion` tends to cv^2 (Cox, Renewal Theory, 1962, ch. 4). With x = rate_per_s * window_s up to
    8 max(1, cv^2) it is 1 - x + 2 / x times the integral of the renewal function to x, which is solved numerically
    (Xie, On the solution of renewal-type integral equations, 1989); beyond, the first two terms of Cox's expansion.
    Both agree within 1 % for cv <= 3 where they meet.

    With `exact_tasks` = n the rate is n / horizon, and whole streams are drawn until one has n tasks in the horizon:
    exactly the process given that it has n.
    """

    kind: Literal["renewal"] = "renewal"
    rate_per_s: float = Field(gt=0, description="mean number of tasks per second")
    gaps: Literal["gamma", "weibull", "fixed"] = Field("gamma", description="law of the time between two tasks")
    cv: float = Field(1.0, ge=0, le=10, description="standard deviation of a gap over its mean; 0 for fixed gaps")
    exact_tasks: int | None = Field(
        None, ge=0, le=_MOST_EXACT, description="exactly this many tasks in the horizon; null = random"
    )

    @model_validator(mode="after")
    def _cv_is_of_the_law(self) -> Renewal:
        if self.gaps == "fixed" and self.cv != 0:
            raise ValueError(f"cv = {self.cv:g} must be 0 with gaps: fixed; gamma and weibull gaps have one")
        if self.gaps != "fixed" and self.cv < 0.05:
            raise ValueError(f"cv = {self.cv:g} must be at least 0.05 with gaps: {self.gaps}; gaps: fixed has none")
        return self

    @property
    def mean_rate_per_s(self) -> float:
        return self.rate_per_s

    def index_of_dispersion(self, window_s: float) -> float:
        x, c2 = self.rate_per_s * window_s, self.cv**2
        if self.gaps == "fixed":
            return (x % 1) * (1 - x % 1) / x
        if x > _MANY_GAPS * max(1.0, c2):
            return c2 + (1 / 6 + c2**2 / 2 - self._third_central_moment / 3) / x
        return 1 + 2 * self._integral_of_renewal_function(x) / x - x

    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        n_tasks, seed = self.exact_tasks, int(rng.integers(2**63))
        if n_tasks is None:
            return self._moments(seed, self.rate_per_s, horizon_s)
        if n_tasks == 0:
            return iter(())
        return self._moments(self._seed_with(n_tasks, seed, horizon_s), n_tasks / horizon_s, horizon_s)

    def _seed_with(self, n_tasks: int, seed: int, horizon_s: float) -> int:
        """The seed of the first stream with exactly `n_tasks` tasks. Raises ConfigError where there is hardly one."""
        draws = np.random.Generator(np.random.PCG64(seed))
        for _ in range(_MOST_PATHS if n_tasks < 1000 else _MOST_PATHS // 20):
            candidate = int(draws.integers(2**63))
            if sum(map(len, self._moments(candidate, n_tasks / horizon_s, horizon_s))) == n_tasks:
                return candidate
        raise ConfigError(
            f"arrivals.exact_tasks = {n_tasks}: no stream with cv = {self.cv:g} has that many; choose null"
        )

    def _moments(self, seed: int, rate_per_s: float, horizon_s: float) -> Iterator[np.ndarray]:
        rng = np.random.Generator(np.random.PCG64(seed))
        last_s = self._first_gap(rng) / rate_per_s
        block = np.array([last_s])
        while block[0] < horizon_s:
            if last_s >= horizon_s:
                yield block[block < horizon_s]
                return
            yield block
            block = last_s + np.cumsum(self._draw(rng, _BLOCK)) / rate_per_s
            last_s = float(block[-1])

    def _draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n gaps of mean 1."""
        if self.gaps == "fixed":
            return np.ones(n)
        shape, scale = self._shape, self._scale
        return scale * (rng.gamma(shape, size=n) if self.gaps == "gamma" else rng.weibull(shape, n))

    def _first_gap(self, rng: np.random.Generator) -> float:
        """From time 0 to the first task, in mean gaps: a random part of a gap drawn in proportion to its length."""
        shape, part = self._shape, rng.random()
        if self.gaps == "fixed":
            return part
        if self.gaps == "gamma":
            return part * self._scale * rng.gamma(shape + 1)
        return part * self._scale * rng.gamma(1 + 1 / shape) ** (1 / shape)

    @cached_property
    def _shape(self) -> float:
        if self.gaps == "fixed":
            return math.inf
        if self.gaps == "gamma":
            return 1 / self.cv**2
        from scipy.optimize import brentq

        def excess(shape: float) -> float:
            return _log_gamma(1 + 2 / shape) - 2 * _log_gamma(1 + 1 / shape) - math.log1p(self.cv**2)

        return float(brentq(excess, 0.05, 50.0))

    @cached_property
    def _scale(self) -> float:
        """So that the mean gap is 1."""
        return self.cv**2 if self.gaps == "gamma" else math.exp(-_log_gamma(1 + 1 / self._shape))

    @property
    def _third_central_moment(self) -> float:
        if self.gaps == "gamma":
            return 2 * self.cv**4
        third = self._scale**3 * math.exp(_log_gamma(1 + 3 / self._shape))
        return third - 3 * self.cv**2 - 1

    @property
    def _share_below(self) -> Callable[[np.ndarray], np.ndarray]:
        """The distribution function of a gap of mean 1."""
        shape, scale = self._shape, self._scale
        if self.gaps == "gamma":
            from scipy.special import gammainc

            return lambda x: gammainc(shape, x / scale)
        return lambda x: -np.expm1(-((x / scale) ** shape))

    def _integral_of_renewal_function(self, x: float) -> float:
        edges_x = np.linspace(0.0, x, _GRID + 1)
        below, halfway = self._share_below(edges_x), self._share_below((edges_x[1:] + edges_x[:-1]) / 2)
        renewals, added = np.zeros(_GRID + 1), np.zeros(_GRID + 1)
        for i in range(1, _GRID + 1):
            # The sum of F(x_i - u) dM(u), with F half a step away: it needs no density, which may be infinite at 0.
            earlier = halfway[1:i][::-1] @ added[1:i] - halfway[0] * renewals[i - 1]
            renewals[i] = (below[i] + earlier) / (1 - halfway[0])
            added[i] = renewals[i] - renewals[i - 1]
        return float(np.trapezoid(renewals, edges_x))


def _log_gamma(x: float) -> float:
    from scipy.special import gammaln

    return float(gammaln(x))
