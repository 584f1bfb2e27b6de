"""Token lengths by tables of quantiles, input and output together."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.workload.lengths.base import Lengths

Row = tuple[float, ...]


class Quantiles(Lengths):
    """Input and output tokens by their quantiles, with the output's table depending on the input.

    A uniform u chooses the input, `input_tokens` at `at` = u, and the row of `output_tokens`: the first of r rows is
    for the lowest 1/r of the inputs, the last for the highest. Another uniform chooses the output from that row.
    Between quantiles numbers are interpolated linearly, then rounded; a value that many calls have fills several
    quantiles. One row: output and input are independent.
    """

    kind: Literal["quantiles"] = "quantiles"
    at: Row = Field(min_length=2, description="fractions from 0 to 1, ascending", examples=[(0.0, 0.5, 1.0)])
    input_tokens: Row = Field(description="input tokens at these fractions", examples=[(10, 400, 3000)])
    output_tokens: tuple[Row, ...] = Field(
        min_length=1, description="output tokens at these fractions, a row for each part of the inputs",
        examples=[((5, 90, 800), (5, 200, 900))],
    )  # fmt: skip

    @model_validator(mode="after")
    def _are_quantiles(self) -> Quantiles:
        if self.at[0] != 0 or self.at[-1] != 1 or min(np.diff(self.at)) <= 0:
            raise ValueError("at must ascend from 0 to 1")
        for name, row in (("input_tokens", self.input_tokens), *(("output_tokens", row) for row in self.output_tokens)):
            if len(row) != len(self.at):
                raise ValueError(f"{name} must have {len(self.at)} numbers in a row, as many as at, not {len(row)}")
            if min(row) < 1 or min(np.diff(row)) < 0:
                raise ValueError(f"{name} must be >= 1 and never fall")
        return self

    @cached_property
    def mean_input_tokens(self) -> float:
        return _area(self.input_tokens, self.at)

    @cached_property
    def mean_output_tokens(self) -> float:
        return sum(_area(row, self.at) for row in self.output_tokens) / len(self.output_tokens)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        first, second = rng.random(n), rng.random(n)
        inputs, outputs = np.interp(first, self.at, self.input_tokens), np.empty(n)
        parts = (first * len(self.output_tokens)).astype(np.int64)
        for part, row in enumerate(self.output_tokens):
            rows = parts == part
            outputs[rows] = np.interp(second[rows], self.at, row)
        return np.rint(inputs).astype(np.int64), np.rint(outputs).astype(np.int64)


def _area(values: Row, at: Row) -> float:
    """The mean of a draw whose quantiles are interpolated linearly."""
    heights = np.array(values)
    return float(np.diff(at) @ (heights[1:] + heights[:-1]) / 2)
