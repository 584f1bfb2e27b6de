"""The base of arrivals whose clock runs faster when there is more to do: another process, in operational time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
from pydantic import Field, field_validator

from sim.schema import OneOf
from sim.workload.arrivals.base import Arrivals
from sim.workload.arrivals.cox import RatePath, on_path

_SIZES = 48


class TimeChange(Arrivals):
    """The moments of `process`, drawn in operational time and moved to where the operational clock reaches them.

    The clock runs at `speed(t)`, so the rate at t is speed(t) times that of `process`. Gaps keep their coefficient of
    variation relative to the rate around them, bursts their number of tasks: at twice the rate a burst lasts half as
    long (Cinlar 1975; Gerhardt and Nelson, Transforming renewal processes for simulation of nonstationary arrival
    processes, 2009). `exact_tasks` of `process` holds here, too.

    `index_of_dispersion` over windows placed at a uniformly random moment of the period: with m the operational length
    of the window, E(I(m) m) / E(m) + rate Var(m) / E(m), I and rate those of `process`. None if that states none.
    """

    process: OneOf[Arrivals] = Field(
        description="the arrivals whose rate is changed", examples=[{"kind": "steady", "rate_per_s": 0.5}]
    )

    @field_validator("process")
    @classmethod
    def _goes_on_and_is_even(cls, process: Arrivals) -> Arrivals:
        if process.ends_by_itself:
            raise ValueError(f"must go on forever, but kind = {process.kind} ends by itself")
        return process

    @abstractmethod
    def operational_s(self, t_s: np.ndarray) -> np.ndarray:
        """The operational clock's time at each moment, float64 as `t_s`; never falls. Only differences matter."""

    @property
    @abstractmethod
    def _mean_step(self) -> tuple[str, float]:
        """The key that sets how far apart the moments of `_edges` are, and that distance in seconds, on average."""

    @abstractmethod
    def _edges(self, horizon_s: float) -> Iterator[np.ndarray]:
        """Chunks of moments from 0 to horizon_s, each chunk from the last moment of the one before; between two moments
        the speed is taken as constant."""

    @property
    def has_exact_tasks(self) -> bool:
        return self.process.has_exact_tasks

    def work(self, horizon_s: float) -> Iterator[tuple[str, float, float, str]]:
        length_s = float(np.diff(self.operational_s(np.array([0.0, horizon_s])))[0])
        for key, value, n, what in self.process.work(length_s):
            yield f"process.{key}", value, n, what
        key, step_s = self._mean_step
        yield key, step_s, horizon_s / step_s, "steps"

    def index_of_dispersion(self, window_s: float) -> float | None:
        if self.period_s is None or self.process.period_s is not None:
            return None  # a process with a period of its own is in step with this one
        moments = np.linspace(0.0, self.period_s, 10_080, endpoint=False)
        lengths = self.operational_s(moments + window_s) - self.operational_s(moments)
        sizes = np.linspace(max(lengths.min(), 1e-9 * lengths.max()), lengths.max(), _SIZES)
        stated = [self.process.index_of_dispersion(float(size)) for size in sizes]
        if None in stated:
            return None
        given_length = np.interp(lengths, sizes, np.array(stated, dtype=float)) * lengths
        rate = self.process.mean_rate_per_s
        return float((given_length.mean() + rate * lengths.var()) / lengths.mean())

    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        return on_path(self.process.times(rng, self._length_s(horizon_s)), self._path(horizon_s), horizon_s)

    def _length_s(self, horizon_s: float) -> float:
        """Operational length of the horizon."""
        return float(np.diff(self.operational_s(np.array([0.0, horizon_s])))[0])

    def _path(self, horizon_s: float) -> RatePath:
        for edges in self._edges(horizon_s):
            yield edges, np.diff(self.operational_s(edges))
