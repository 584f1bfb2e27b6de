"""Outages of a provider: scheduled, random, or both."""

from __future__ import annotations

from math import inf

from numpy.random import Generator
from pydantic import Field, model_validator

from sim.schema import Config


class Outage(Config):
    """A stretch of time [start_s, start_s + duration_s) in which no request is admitted."""

    start_s: float = Field(ge=0, description="start, in simulated seconds")
    duration_s: float = Field(gt=0, description="length")


class Outages(Config):
    """When a provider is down. A request sent during an outage fails after `error_after_s`, is not billed, and is
    retried (`api.retry`). Requests admitted before an outage are answered to their end.

    Random outages: up times and down times are exponential, drawn from a stream that nothing else uses, so that every
    policy faces the same ones.
    """

    schedule: tuple[Outage, ...] = Field((), description="scheduled outages")
    mean_time_between_s: float | None = Field(None, gt=0, description="mean up time between random outages; null: none")
    mean_duration_s: float | None = Field(None, gt=0, description="mean length of a random outage")
    error_after_s: float = Field(0, ge=0, description="seconds until a request sent during an outage fails")

    @model_validator(mode="after")
    def _both_or_neither(self) -> Outages:
        if (self.mean_time_between_s is None) != (self.mean_duration_s is None):
            raise ValueError(
                f"mean_time_between_s = {self.mean_time_between_s} and mean_duration_s = {self.mean_duration_s}: "
                "give both or neither"
            )
        return self

    @property
    def mean_available_fraction(self) -> float:
        """Fraction of the time, in the long run, without a random outage."""
        if self.mean_time_between_s is None or self.mean_duration_s is None:
            return 1.0
        return self.mean_time_between_s / (self.mean_time_between_s + self.mean_duration_s)


class OutageClock:
    """Whether a provider is down, at moments that never decrease.

    `rng` is required for random outages: ValueError without it.
    """

    def __init__(self, outages: Outages, rng: Generator | None):
        self._random: tuple[Generator, float, float] | None = None  # (generator, mean up time, mean down time)
        if outages.mean_time_between_s is not None and outages.mean_duration_s is not None:
            if rng is None:
                raise ValueError("rng = None: random outages (mean_time_between_s) need a generator")
            self._random = rng, outages.mean_time_between_s, outages.mean_duration_s
        self._down_s, self._up_s = -inf, -inf  # start and end of the present or next random outage
        self._scheduled = sorted((o.start_s, o.start_s + o.duration_s) for o in outages.schedule)

    def is_down(self, now_s: float) -> bool:
        """Whether an outage covers this moment; its end is not part of it."""
        return any(start_s <= now_s < end_s for start_s, end_s in self._scheduled) or self._is_down_at_random(now_s)

    def _is_down_at_random(self, now_s: float) -> bool:
        if self._random is None:
            return False
        rng, mean_up_s, mean_down_s = self._random
        while self._up_s <= now_s:
            self._down_s = max(self._up_s, 0.0) + rng.exponential(mean_up_s)
            self._up_s = self._down_s + rng.exponential(mean_down_s)
        return self._down_s <= now_s
