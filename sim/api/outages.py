"""Outages of a provider: scheduled, random, or both."""

from __future__ import annotations

from datetime import datetime
from math import inf

from numpy.random import Generator
from pydantic import Field, model_validator

from sim.moment_zero import MomentZero, OnTheClock
from sim.schema import Config, ConfigError


class Outage(Config):
    """A stretch of time, from its start for `duration_s`, in which no request is admitted."""

    start_s: float | None = Field(None, ge=0, description="start, in simulated seconds; null: see starts_at")
    starts_at: str | None = Field(
        None, description="start, as date and time in the scenario's zone, such as 2026-03-02T10:00; null: see start_s"
    )
    duration_s: float = Field(gt=0, description="length")

    @model_validator(mode="after")
    def _one_start(self) -> Outage:
        if (self.start_s is None) == (self.starts_at is None):
            raise ValueError("start_s and starts_at: give one of them")
        if self.starts_at is not None:
            self._local()
        return self

    def second(self, moment_zero: MomentZero) -> float:
        """The second at which it begins, below 0 if before the run. Raises ConfigError for a time no clock showed."""
        if self.start_s is not None:
            return self.start_s
        try:
            return moment_zero.second_of(self._local())
        except ValueError as error:
            raise ConfigError(f"api.outages.schedule: starts_at = {self.starts_at}: {error}") from None

    def _local(self) -> datetime:
        try:
            local = datetime.fromisoformat(self.starts_at or "")
        except ValueError:
            raise ValueError(
                f"starts_at = {self.starts_at}: must be a date and time, such as 2026-03-02T10:00"
            ) from None
        if local.tzinfo is not None:
            raise ValueError(f"starts_at = {self.starts_at}: is in the scenario's zone and names none of its own")
        return local


class Outages(OnTheClock):
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
        starts = [(outage.second(outages.moment_zero), outage.duration_s) for outage in outages.schedule]
        self._scheduled = sorted((start_s, start_s + duration_s) for start_s, duration_s in starts)

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
