"""Token lengths of single calls: (input, output) pairs."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.schema import Choice, Config
from sim.workload.spread import lognormal_from_moments, lognormal_from_quantiles, normal_cdf


class Lengths(Choice):
    """A joint distribution of input and output tokens of a call.

    The contract of every kind (tests/contracts/test_lengths.py):

    1. `draw(rng, n)` returns two int64 arrays of shape (n,), input and output tokens, all >= 1.
    2. All chance comes from `rng`: the same stream gives the same tokens.
    3. `mean_input_tokens` and `mean_output_tokens` are the means of what `draw` returns; 120 000 calls come within 6 %.
    """

    @property
    @abstractmethod
    def mean_input_tokens(self) -> float:
        """Mean of the input tokens that `draw` returns."""

    @property
    @abstractmethod
    def mean_output_tokens(self) -> float:
        """Mean of the output tokens that `draw` returns."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Input and output tokens of n calls, int64, shape (n,) each."""


class Fixed(Lengths):
    """Every call alike."""

    kind: Literal["fixed"] = "fixed"
    input_tokens: int = Field(ge=1)
    output_tokens: int = Field(ge=1)

    @property
    def mean_input_tokens(self) -> float:
        return float(self.input_tokens)

    @property
    def mean_output_tokens(self) -> float:
        return float(self.output_tokens)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full(n, self.input_tokens), np.full(n, self.output_tokens)


class Uniform(Lengths):
    """Input and output uniform and independent, each from `low_fraction` of its bound to the bound, whole numbers.

    So do the random data sets of the load generators of serving engines, which call it range ratio.
    """

    kind: Literal["uniform"] = "uniform"
    max_input_tokens: int = Field(ge=1)
    max_output_tokens: int = Field(ge=1)
    low_fraction: float = Field(0.8, ge=0, le=1, description="least over largest number of tokens")

    @property
    def mean_input_tokens(self) -> float:
        return (self._low(self.max_input_tokens) + self.max_input_tokens) / 2

    @property
    def mean_output_tokens(self) -> float:
        return (self._low(self.max_output_tokens) + self.max_output_tokens) / 2

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        bounds = (self.max_input_tokens, self.max_output_tokens)
        first, second = (rng.integers(self._low(most), most + 1, size=n) for most in bounds)
        return first, second

    def _low(self, most: int) -> int:
        return max(1, round(self.low_fraction * most))


class TokenSpread(Config):
    """A lognormal number of tokens, by median and 95th percentile or by mean and coefficient of variation.

    The figures are those of the lognormal before the caps. What falls outside [min_tokens, max_tokens] is moved to the
    cap, as real logs pile up at a context limit; then rounded. `mean` is the mean after the caps.
    """

    median_tokens: float | None = Field(None, gt=0)
    p95_tokens: float | None = Field(None, gt=0)
    mean_tokens: float | None = Field(None, gt=0)
    cv: float | None = Field(None, ge=0, description="standard deviation over mean")
    min_tokens: int = Field(1, ge=1)
    max_tokens: int = Field(131_072, ge=1)

    @model_validator(mode="after")
    def _one_parametrisation(self) -> TokenSpread:
        given = [getattr(self, name) is not None for name in ("median_tokens", "p95_tokens", "mean_tokens", "cv")]
        if given not in ([True, True, False, False], [False, False, True, True]):
            raise ValueError("give either median_tokens and p95_tokens, or mean_tokens and cv")
        if given[0] and self.p95_tokens < self.median_tokens:
            low, high = self.median_tokens, self.p95_tokens
            raise ValueError(f"median_tokens <= p95_tokens must hold, not {low:g} <= {high:g}")
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens <= max_tokens must hold, not {self.min_tokens} <= {self.max_tokens}")
        return self

    @property
    def median_and_sigma(self) -> tuple[float, float]:
        """The lognormal's parameters, exp(mu) and sigma."""
        if self.median_tokens is not None:
            return lognormal_from_quantiles(self.median_tokens, self.p95_tokens)
        return lognormal_from_moments(self.mean_tokens, self.cv)

    @property
    def mean(self) -> float:
        """Mean after the caps, before rounding: low P(X < low) + E[X; low <= X <= high] + high P(X > high)."""
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
    """Input and output lognormal and independent, as nearly so in production (rank correlation below 0.1)."""

    kind: Literal["lognormal"] = "lognormal"
    input: TokenSpread
    output: TokenSpread

    @property
    def mean_input_tokens(self) -> float:
        return self.input.mean

    @property
    def mean_output_tokens(self) -> float:
        return self.output.mean

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        return self.input.draw(rng, n), self.output.draw(rng, n)


class Empirical(Lengths):
    """Rows of a request log (formats: `sim.workload.logs`), drawn with replacement, input and output together."""

    kind: Literal["empirical"] = "empirical"
    path: str = Field(min_length=1)
    format: Literal["auto", "azure", "mooncake", "plain"] = "auto"

    @property
    def log(self):
        """The RequestLog drawn from. Raises TraceError."""
        from sim.workload.logs.request_log import read_log  # here, so that runs without a log need no pandas

        return read_log(self.path, self.format)

    @property
    def mean_input_tokens(self) -> float:
        return float(self.log.input_tokens.mean())

    @property
    def mean_output_tokens(self) -> float:
        return float(self.log.output_tokens.mean())

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        log = self.log
        rows = rng.integers(len(log), size=n)
        return log.input_tokens[rows], log.output_tokens[rows]
