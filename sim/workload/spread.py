"""Spread: a quantity that is fixed or lognormal between bounds; and the parameters of lognormals."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from sim.schema import Config

Z95 = 1.6448536269514722  # the standard normal's 95th percentile


class Spread(Config):
    """A random number exp(Normal(ln median, sigma)), drawn again while it is outside [min, max]; or one by `quantiles`.

    A plain number in the YAML is a Spread with sigma 0. The unit is that of the field that holds it. Between quantiles
    numbers are interpolated linearly; median, min and max are then theirs.

    >>> Spread.model_validate(231).mean, round(Spread(median=100, sigma=1.0).mean, 2)  # 100 e^(1/2)
    (231.0, 164.87)
    >>> Spread.model_validate({"quantiles": [1, 1, 3]}).mean  # half of the draws are 1, the others lie between 1 and 3
    1.5
    """

    median: float = Field(ge=0, description="median, before the bounds are applied")
    sigma: float = Field(0.0, ge=0, le=5, description="standard deviation of the logarithm; 0: always the median")
    min: float = Field(0.0, ge=0, description="lower bound")
    max: float | None = Field(None, ge=0, description="upper bound; null: none")
    quantiles: tuple[float, ...] | None = Field(
        None, min_length=2, description="values at equal steps of probability, from 0 to 1, in place of a lognormal"
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, raw: Any) -> Any:
        if isinstance(raw, (int, float)) and not isinstance(raw, bool):
            return {"median": raw}
        values = raw.get("quantiles") if isinstance(raw, dict) else None
        if isinstance(values, list | tuple) and len(values) > 1 and "median" not in raw:
            return {"median": values[len(values) // 2], "min": values[0], "max": values[-1], **raw}
        return raw

    @model_validator(mode="after")
    def _quantiles_ascend(self) -> Spread:
        values = self.quantiles
        if values is not None and (min(values) < 0 or any(b < a for a, b in zip(values, values[1:], strict=False))):
            raise ValueError("quantiles must be >= 0 and never fall")
        if values is not None and (self.sigma, self.min, self.max) != (0, values[0], values[-1]):
            raise ValueError("quantiles stand in place of sigma, min and max; leave these out")
        return self

    @model_validator(mode="after")
    def _bounds(self) -> Spread:
        low, high = self.min, math.inf if self.max is None else self.max
        if not low <= self.median <= high:
            raise ValueError(f"min <= median <= max must hold, not {low:g} <= {self.median:g} <= {high:g}")
        if self.sigma > 0 and self.median == 0:
            raise ValueError("median must be > 0 where sigma > 0")
        if self.sigma > 0 and self._share_below(high) - self._share_below(low) < 0.05:
            raise ValueError(f"[min, max] = [{low:g}, {high:g}] must hold at least 5 % of the lognormal")
        return self

    @property
    def _is_fixed(self) -> bool:
        return self.sigma == 0 and self.quantiles is None

    @property
    def lowest(self) -> float:
        """The lower bound of all draws."""
        return self.median if self._is_fixed else self.min

    @property
    def highest(self) -> float:
        """The upper bound of all draws; infinite without one."""
        return self.median if self._is_fixed else math.inf if self.max is None else self.max

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """float64[n]: independent draws. A fixed quantity uses no number of `rng`."""
        return self._between(rng, n, self.lowest, self.highest)

    def draw_whole(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """int64[n], all >= 1: draws that are rounded first, and drawn again while outside [min, max]."""
        low, high = self.lowest - 0.5, self.highest + 0.5
        return np.maximum(np.rint(self._between(rng, n, low, high)).astype(np.int64), 1)

    def _between(self, rng: np.random.Generator, n: int, low: float, high: float) -> np.ndarray:
        if self.quantiles is not None:
            return np.interp(rng.random(n), np.linspace(0, 1, len(self.quantiles)), self.quantiles)
        if self.sigma == 0:
            return np.full(n, self.median)
        mu = math.log(self.median)
        drawn = np.exp(rng.normal(mu, self.sigma, n))
        outside = np.flatnonzero((drawn < low) | (drawn > high))
        while outside.size:
            again = np.exp(rng.normal(mu, self.sigma, outside.size))
            drawn[outside] = again
            outside = outside[(again < low) | (again > high)]
        return drawn

    @cached_property
    def mean(self) -> float:
        """Mean of `draw`: the truncated lognormal's, e^(mu + sigma^2/2) times a ratio of normal probabilities
        (Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 1, 1994, ch. 14)."""
        if self.quantiles is not None:
            return float(np.mean([(a + b) / 2 for a, b in zip(self.quantiles, self.quantiles[1:], strict=False)]))
        if self.sigma == 0:
            return float(self.median)
        low, high = self.lowest, self.highest
        inside = self._share_below(high) - self._share_below(low)
        weighted = self._share_below(high, self.sigma) - self._share_below(low, self.sigma)
        return self.median * math.exp(self.sigma**2 / 2) * weighted / inside

    @cached_property
    def whole_moments(self) -> tuple[float, float]:
        """(mean, second moment) of `draw_whole`. It needs an upper bound, because it sums over all values."""
        values, weights = self.whole_shares
        return float(weights @ values), float(weights @ values**2)

    @cached_property
    def whole_shares(self) -> tuple[np.ndarray, np.ndarray]:
        """(values, ascending, and probabilities, float64 each) of `draw_whole`. It needs an upper bound."""
        if self._is_fixed:
            return np.array([float(max(round(self.median), 1))]), np.ones(1)
        values = np.arange(math.ceil(self.lowest - 0.5), math.floor(self.highest + 0.5) + 1)
        edges = np.append(values - 0.5, values[-1] + 0.5)
        weights = np.diff([self._share_below(edge) for edge in edges])
        return np.maximum(values, 1).astype(float), weights / weights.sum()

    def _share_below(self, x: float, shift: float = 0.0) -> float:
        if self.quantiles is not None:
            return float(np.interp(x, self.quantiles, np.linspace(0, 1, len(self.quantiles)), left=0.0, right=1.0))
        if x <= 0:
            return 0.0
        return normal_cdf((math.log(x) - math.log(self.median)) / self.sigma - shift) if x < math.inf else 1.0


def normal_cdf(z: float) -> float:
    """P(standard normal <= z)."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def lognormal_from_quantiles(median: float, p95: float) -> tuple[float, float]:
    """Median and sigma of the lognormal with this median and 95th percentile: sigma = ln(p95/median)/z95."""
    return median, math.log(p95 / median) / Z95


def lognormal_from_moments(mean: float, cv: float) -> tuple[float, float]:
    """Median and sigma of the lognormal with this mean and coefficient of variation: sigma^2 = ln(1 + cv^2)."""
    variance = math.log1p(cv**2)
    return mean * math.exp(-variance / 2), math.sqrt(variance)
