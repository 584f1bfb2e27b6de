"""Token lengths by tables of quantiles, input and output together."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from sim.workload.lengths.base import Lengths

Row = tuple[float, ...]


class Quantiles(Lengths):
    """Input and output tokens by their quantiles, with the output's table depending on the input.

    A uniform u chooses the input, `input_tokens` at `at` = u, and the row of `output_tokens`: the first of r rows is
    for the lowest 1/r of the inputs, the last for the highest. Another uniform chooses the output from that row.
    Between quantiles numbers are interpolated linearly, then rounded; a value that many calls have fills several
    quantiles. One row: output and input are independent.

    With `course` the mix of calls changes: of each stretch of `calls_per_stretch` calls it states which share falls to
    each row, so that e.g. long prompts come together. The first stretch follows after the last one.
    """

    kind: Literal["quantiles"] = "quantiles"
    at: Row = Field(min_length=2, description="fractions from 0 to 1, ascending", examples=[(0.0, 0.5, 1.0)])
    input_tokens: Row = Field(description="input tokens at these fractions", examples=[(10, 400, 3000)])
    output_tokens: tuple[Row, ...] = Field(
        min_length=1, description="output tokens at these fractions, a row for each part of the inputs",
        examples=[((5, 90, 800), (5, 200, 900))],
    )  # fmt: skip
    course: tuple[Row, ...] = Field(
        (), description="shares of the rows of output_tokens in each stretch of calls; empty: all rows alike, always"
    )
    calls_per_stretch: int = Field(1, ge=1, description="calls of each stretch of the course")
    _next_call: int | None = PrivateAttr(None)  # of one that draws in order; None: at any moment of the course

    @model_validator(mode="after")
    def _are_quantiles(self) -> Quantiles:
        if self.at[0] != 0 or self.at[-1] != 1 or min(np.diff(self.at)) <= 0:
            raise ValueError("at must ascend from 0 to 1")
        for name, row in (("input_tokens", self.input_tokens), *(("output_tokens", row) for row in self.output_tokens)):
            if len(row) != len(self.at):
                raise ValueError(f"{name} must have {len(self.at)} numbers in a row, as many as at, not {len(row)}")
            if min(row) < 1 or min(np.diff(row)) < 0:
                raise ValueError(f"{name} must be >= 1 and never fall")
        rows = len(self.output_tokens)
        for shares in self.course:
            if len(shares) != rows or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
                raise ValueError(f"course: each stretch must have {rows} shares >= 0 that add up to 1")
        return self

    @cached_property
    def mean_input_tokens(self) -> float:
        if not self.course:
            return _area(self.input_tokens, self.at)
        edges = np.linspace(0, 1, len(self.output_tokens) + 1)
        at = np.union1d(self.at, edges)
        values = np.interp(at, self.at, self.input_tokens)
        reached = np.concatenate(([0.0], np.cumsum(np.diff(at) * (values[1:] + values[:-1]) / 2)))
        means = np.diff(np.interp(edges, at, reached)) * len(self.output_tokens)
        return float(np.mean(self.course, axis=0) @ means)

    @cached_property
    def mean_output_tokens(self) -> float:
        means = [_area(row, self.at) for row in self.output_tokens]
        return float(np.mean(self.course, axis=0) @ means) if self.course else sum(means) / len(means)

    def in_order(self) -> Quantiles:
        if not self.course:
            return self
        copy = self.model_copy()
        copy._next_call = 0
        return copy

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        first, second = rng.random(n), rng.random(n)
        if self.course:
            first = self._along_course(rng, first)
        inputs, outputs = np.interp(first, self.at, self.input_tokens), np.empty(n)
        parts = (first * len(self.output_tokens)).astype(np.int64)
        for part, row in enumerate(self.output_tokens):
            rows = parts == part
            outputs[rows] = np.interp(second[rows], self.at, row)
        return np.rint(inputs).astype(np.int64), np.rint(outputs).astype(np.int64)

    @cached_property
    def _reached(self) -> np.ndarray:
        """float64[stretches, rows + 1]: cumulated shares of the rows in each stretch."""
        return np.pad(np.cumsum(self.course, axis=1), ((0, 0), (1, 0)))

    def _along_course(self, rng: np.random.Generator, first: np.ndarray) -> np.ndarray:
        """The uniforms that choose inputs, so moved that the rows have the shares of their stretches."""
        n, stretches = len(first), len(self.course)
        if self._next_call is None:
            stretch = rng.integers(stretches, size=n)
        else:
            stretch = (self._next_call + np.arange(n)) // self.calls_per_stretch % stretches
            self._next_call += n
        reached = self._reached[stretch]
        row = np.minimum((reached[:, 1:-1] <= first[:, None]).sum(axis=1), len(self.output_tokens) - 1)
        calls = np.arange(n)
        low, high = reached[calls, row], reached[calls, row + 1]
        within = np.clip((first - low) / np.maximum(high - low, 1e-12), 0.0, np.nextafter(1.0, 0.0))
        return (row + within) / len(self.output_tokens)


def _area(values: Row, at: Row) -> float:
    """The mean of a draw whose quantiles are interpolated linearly."""
    heights = np.array(values)
    return float(np.diff(at) @ (heights[1:] + heights[:-1]) / 2)
