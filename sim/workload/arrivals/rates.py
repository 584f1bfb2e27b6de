"""The base of arrivals that a file gives as rates over time, with token lengths of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from sim.moment_zero import MomentZero
from sim.schema import ConfigError
from sim.workload.arrivals.base import Arrivals
from sim.workload.lengths.base import Lengths

BLOCK = 4096
MOST_TASKS = 1e9


class Marked(NamedTuple):
    """A block of n arrivals in order of time, each with the number of what it comes from: a bucket, or a client."""

    times_s: np.ndarray  # float64[n]
    marks: np.ndarray  # int64[n]


class Rates(Arrivals):
    """Arrivals by recorded rates: requests are drawn, each a task of its own, and none is one that was recorded.

    Mark m stands for one piece of the record; `marked` draws moments with their marks, `typical_marks` marks alone, as
    often as they occur, and `tokens` the lengths of calls with these marks. With `lengths_from: config` only the
    moments are used.
    """

    path: str = Field(min_length=1, description="of the record")
    rate_factor: float = Field(1.0, gt=0, description="on every rate")
    loop: bool = Field(True, description="begin the record again at its end; else nothing arrives after it")
    lengths_from: Literal["log", "config"] = Field("log", description="where tokens and tasks come from")

    @property
    def ends_by_itself(self) -> bool:
        return True

    @property
    @abstractmethod
    def record_s(self) -> float:
        """Seconds that the record covers. Raises TraceError if it cannot be read, like all that follows."""

    @property
    @abstractmethod
    def log(self) -> Any:
        """What was read: with `path`, `sha256` and `receipt`."""

    @property
    def begins(self) -> MomentZero | None:
        """Second 0 of the record, where it has dates."""
        return None

    @property
    def application_names(self) -> tuple[str, ...]:
        """Applications of the tasks, by number; () if they have none."""
        return ()

    def applications(self, marks: np.ndarray) -> np.ndarray:
        """int64[n]: the application of calls with these marks."""
        return np.zeros(len(marks), np.int64)

    @property
    def default_horizon_s(self) -> float:
        """Seconds that the record covers."""
        return self.record_s

    def refuse_endless_work(self, horizon_s: float) -> None:
        """Raise ConfigError if the record asks for more tasks than can be played."""
        n_tasks = self.mean_rate_per_s * horizon_s
        if n_tasks > MOST_TASKS:
            asked = f"asks for {n_tasks:.2g} tasks; at most {MOST_TASKS:g} are played"
            raise ConfigError(f"arrivals.rate_factor = {self.rate_factor:g}: {asked}")

    @abstractmethod
    def marked(self, rng: np.random.Generator, horizon_s: float) -> Iterator[Marked]:
        """Blocks of arrivals in [0, horizon_s), of at most BLOCK."""

    @abstractmethod
    def typical_marks(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """int64[n]: the marks of n arrivals at random."""

    @abstractmethod
    def tokens(
        self, rng: np.random.Generator, marks: np.ndarray, lengths: Lengths | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Input and output tokens, int64[n] >= 1, of calls with these marks. `lengths`: the scenario's own."""

    @property
    def needs_lengths(self) -> bool:
        """Whether `tokens` needs the scenario's lengths."""
        return False

    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        for block in self.marked(rng, horizon_s):
            yield block.times_s
