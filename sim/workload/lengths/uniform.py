"""Uniform numbers of tokens."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from sim.workload.lengths.base import Lengths


class Uniform(Lengths):
    """Input and output tokens uniform and independent, each between `low_fraction` of its bound and the bound.

    The random data sets of serving engines' load generators are like this; they call low_fraction the range ratio.
    """

    kind: Literal["uniform"] = "uniform"
    max_input_tokens: int = Field(ge=1, description="largest number of input tokens")
    max_output_tokens: int = Field(ge=1, description="largest number of output tokens")
    low_fraction: float = Field(0.8, ge=0, le=1, description="smallest / largest number of tokens")

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
