"""Calls that all have the same numbers of tokens."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from sim.workload.lengths.base import Lengths


class Fixed(Lengths):
    """The same numbers of tokens for every call."""

    kind: Literal["fixed"] = "fixed"
    input_tokens: int = Field(ge=1, description="input tokens of every call")
    output_tokens: int = Field(ge=1, description="output tokens of every call")

    @property
    def mean_input_tokens(self) -> float:
        return float(self.input_tokens)

    @property
    def mean_output_tokens(self) -> float:
        return float(self.output_tokens)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full(n, self.input_tokens), np.full(n, self.output_tokens)
