"""Traffic with several states, each with a rate of its own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.workload.arrivals.cox import PoissonOnPath, RatePath

_CHANGES = 1024


class Mmpp(PoissonOnPath):
    """A Markov-modulated Poisson process of n states, by its own rates, started in its stationary state.

    State i lasts for an exponential time of mean `mean_stays_s[i]` and sends `rates_per_s[i]`; then another one begins,
    with the probabilities in row i of `next_state` (null: each of the others equally likely). Two states, one of them
    silent, are an interrupted Poisson process.

    `index_of_dispersion`, with generator Q, stationary shares p, rates r and mean rate m = p r:
    1 + 2/m (p R D r - p R D (I - e^(Q w)) D r / w), D = (1p - Q)^-1 - 1p the deviation matrix (Fischer and
    Meier-Hellstern, The Markov-modulated Poisson process cookbook, 1993).
    """

    kind: Literal["mmpp"] = "mmpp"
    has_random_path: ClassVar[bool] = True
    rates_per_s: tuple[float, ...] = Field(min_length=2, max_length=64, description="tasks per second in each state")
    mean_stays_s: tuple[float, ...] = Field(min_length=2, max_length=64, description="mean length of each state")
    next_state: tuple[tuple[float, ...], ...] | None = Field(
        None, description="a row per state: probability of each state to be the next; null: all others alike"
    )

    @model_validator(mode="after")
    def _states_agree(self) -> Mmpp:
        n = len(self.rates_per_s)
        if len(self.mean_stays_s) != n:
            raise ValueError(f"rates_per_s has {n} states, mean_stays_s {len(self.mean_stays_s)}: must be as many")
        if min(self.rates_per_s) < 0 or max(self.rates_per_s) == 0 or min(self.mean_stays_s) <= 0:
            raise ValueError("rates_per_s must be >= 0 and not all 0, mean_stays_s > 0")
        if self.next_state is not None:
            rows = self.next_state
            if len(rows) != n or any(len(row) != n or min(row) < 0 or abs(sum(row) - 1) > 1e-9 for row in rows):
                raise ValueError(f"next_state must have {n} rows of {n} probabilities that add up to 1")
            if any(row[i] for i, row in enumerate(rows)):
                raise ValueError("next_state: no state follows itself; give it a longer mean stay instead")
            if np.linalg.matrix_rank(self._generator) < n - 1:
                raise ValueError("next_state: there must be one set of states that all come back to for ever")
        return self

    @property
    def mean_rate_per_s(self) -> float:
        return float(self._shares @ np.array(self.rates_per_s))

    def index_of_dispersion(self, window_s: float) -> float:
        from scipy.linalg import expm

        rates, n, mean = np.array(self.rates_per_s), len(self.rates_per_s), self.mean_rate_per_s
        stationary = np.tile(self._shares, (n, 1))
        deviation = np.linalg.inv(stationary - self._generator) - stationary
        weighted = self._shares * rates @ deviation
        passing = np.eye(n) - expm(self._generator * window_s)
        return float(1 + 2 / mean * (weighted @ rates - weighted @ passing @ deviation @ rates / window_s))

    @cached_property
    def _jumps(self) -> np.ndarray:
        """float64[n, n]: probability of each state to follow each."""
        n = len(self.rates_per_s)
        if self.next_state is None:
            return (np.ones((n, n)) - np.eye(n)) / (n - 1)
        return np.array(self.next_state)

    @property
    def _generator(self) -> np.ndarray:
        return (self._jumps - np.eye(len(self._jumps))) / np.array(self.mean_stays_s)[:, None]

    @cached_property
    def _shares(self) -> np.ndarray:
        """float64[n]: fraction of the time in each state."""
        balance = np.vstack((self._generator.T, np.ones(len(self._jumps))))
        wanted = np.append(np.zeros(len(self._jumps)), 1.0)
        return np.clip(np.linalg.lstsq(balance, wanted, rcond=None)[0], 0, None)

    def work(self, horizon_s: float) -> Iterator[tuple[str, float, float, str]]:
        yield from super().work(horizon_s)
        stay_s = 1 / float(self._shares @ (1 / np.array(self.mean_stays_s)))
        yield "mean_stays_s", stay_s, horizon_s / stay_s, "changes of state"

    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        following = [np.cumsum(row)[:-1].tolist() for row in self._jumps]
        stays_s, rates = np.array(self.mean_stays_s), np.array(self.rates_per_s)
        state = bisect_right(np.cumsum(self._shares)[:-1].tolist(), rng.random())
        start_s = 0.0
        while start_s < horizon_s:
            lengths, draws, states = rng.exponential(size=_CHANGES), rng.random(_CHANGES).tolist(), []
            for draw in draws:
                states.append(state)
                state = bisect_right(following[state], draw)
            edges = np.add.accumulate(np.concatenate(([start_s], lengths * stays_s[states])))
            edges = np.minimum(edges[: np.searchsorted(edges, horizon_s) + 1], horizon_s)
            yield edges, np.diff(edges) * rates[states[: len(edges) - 1]]
            start_s = float(edges[-1])
