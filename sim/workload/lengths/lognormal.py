"""Lognormal numbers of tokens, between bounds."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.schema import Config
from sim.workload.lengths.base import Lengths
from sim.workload.spread import lognormal_from_moments, lognormal_from_quantiles, normal_cdf


class TokenSpread(Config):
    """A lognormal number of tokens, by median and 95th percentile or by mean and coefficient of variation.

    These describe the lognormal before the bounds. A draw outside [min_tokens, max_tokens] is set to the nearer bound,
    because real logs pile up at a context limit, and then rounded. `mean` is the mean within the bounds.
    """

    median_tokens: float | None = Field(None, gt=0, description="median; with p95_tokens")
    p95_tokens: float | None = Field(None, gt=0, description="95th percentile; with median_tokens")
    mean_tokens: float | None = Field(None, gt=0, description="mean; with cv")
    cv: float | None = Field(None, ge=0, description="standard deviation / mean; with mean_tokens")
    min_tokens: int = Field(1, ge=1, description="lower bound")
    max_tokens: int = Field(131_072, ge=1, description="upper bound")

    @model_validator(mode="after")
    def _one_parametrisation(self) -> TokenSpread:
        given = [getattr(self, name) is not None for name in ("median_tokens", "p95_tokens", "mean_tokens", "cv")]
        if given not in ([True, True, False, False], [False, False, True, True]):
            raise ValueError("give either median_tokens and p95_tokens, or mean_tokens and cv")
        low, high = self.median_tokens, self.p95_tokens
        if low is not None and high is not None and high < low:
            raise ValueError(f"median_tokens <= p95_tokens must hold, not {low:g} <= {high:g}")
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens <= max_tokens must hold, not {self.min_tokens} <= {self.max_tokens}")
        return self

    @property
    def median_and_sigma(self) -> tuple[float, float]:
        """The lognormal's parameters, exp(mu) and sigma."""
        if self.median_tokens is not None and self.p95_tokens is not None:
            return lognormal_from_quantiles(self.median_tokens, self.p95_tokens)
        assert self.mean_tokens is not None and self.cv is not None  # validated: one of the two pairs is given
        return lognormal_from_moments(self.mean_tokens, self.cv)

    @property
    def mean(self) -> float:
        """Mean within the bounds, before rounding: low P(X < low) + E[X; low <= X <= high] + high P(X > high)."""
        median, sigma = self.median_and_sigma
        low, high = self.min_tokens, self.max_tokens
        if sigma == 0:
            return float(min(max(round(median), low), high))
        from_z, to_z = math.log(low / median) / sigma, math.log(high / median) / sigma
        body = median * math.exp(sigma**2 / 2) * (normal_cdf(to_z - sigma) - normal_cdf(from_z - sigma))
        return low * normal_cdf(from_z) + body + high * normal_cdf(-to_z)

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n numbers of tokens, int64."""
        median, sigma = self.median_and_sigma
        drawn = np.exp(rng.normal(math.log(median), sigma, n))
        return np.rint(np.clip(drawn, self.min_tokens, self.max_tokens)).astype(np.int64)


class Lognormal(Lengths):
    """Input and output lognormal and independent. In production logs they nearly are (rank correlation below 0.1)."""

    kind: Literal["lognormal"] = "lognormal"
    input: TokenSpread = Field(description="input tokens of a call")
    output: TokenSpread = Field(description="output tokens of a call")

    @property
    def mean_input_tokens(self) -> float:
        return self.input.mean

    @property
    def mean_output_tokens(self) -> float:
        return self.output.mean

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        return self.input.draw(rng, n), self.output.draw(rng, n)
