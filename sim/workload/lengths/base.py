"""The base of token lengths: pairs of input and output tokens of single calls."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from sim.schema import Choice


class Lengths(Choice):
    """A joint distribution of input and output tokens of a call.

    The contract of every kind (tests/contracts/test_lengths.py):

    1. `draw(rng, n)` returns two int64 arrays of shape (n,), input and output tokens, all >= 1.
    2. All chance comes from `rng`: the same stream gives the same tokens.
    3. `mean_input_tokens` and `mean_output_tokens` are the means of what `draw` returns; 120 000 calls come within 6 %.

    >>> from typing import Literal
    >>> import numpy as np
    >>> import sim
    >>> class ShortOrLong(sim.Lengths):
    ...     kind: Literal["short_or_long"] = "short_or_long"
    ...     @property
    ...     def mean_input_tokens(self):
    ...         return 1050.0
    ...     @property
    ...     def mean_output_tokens(self):
    ...         return 50.0
    ...     def draw(self, rng, n):
    ...         return rng.choice([100, 2000], n), np.full(n, 50)
    >>> run = sim.simulate(sim.scenario(lengths=ShortOrLong(), horizon_s=60))
    >>> set(run.requests["input_tokens"]) <= {100, 2000}
    True
    """

    @property
    @abstractmethod
    def mean_input_tokens(self) -> float:
        """Mean of the input tokens that `draw` returns."""

    @property
    @abstractmethod
    def mean_output_tokens(self) -> float:
        """Mean of the output tokens that `draw` returns."""

    def in_order(self) -> Lengths:
        """What draws the calls of a workload one after the other: itself, or where lengths change in the course of the
        calls, a copy that goes on at each `draw` where it stopped."""
        return self

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Input and output tokens of n calls, int64, shape (n,) each."""
