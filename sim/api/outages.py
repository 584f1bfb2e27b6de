"""When a provider is down: by a schedule, by chance, or both."""

from __future__ import annotations

from math import inf

from numpy.random import Generator
from pydantic import Field, model_validator

from sim.schema import Config


class Outage(Config):
    """One stretch of time in which nothing is let in."""

    start_s: float = Field(ge=0)
    duration_s: float = Field(gt=0)


class Outages(Config):
    """When a provider is down. A request sent then fails after `error_after_s`, unbilled, and is tried again
    (`api.retry`). What it has let in before goes on: answers are not cut short.

    By chance: up and down times are exponential, drawn from a stream of their own, so the same under every policy.
    """

    schedule: tuple[Outage, ...] = ()
    mean_time_between_s: float | None = Field(None, gt=0, description="mean seconds up between outages; null: none")
    mean_duration_s: float | None = Field(None, gt=0, description="mean seconds of an outage that comes by chance")
    error_after_s: float = Field(0, ge=0, description="seconds until a request sent during an outage has failed")

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
        """Long-run share of the time that chance leaves it up."""
        if self.mean_time_between_s is None:
            return 1.0
        return self.mean_time_between_s / (self.mean_time_between_s + self.mean_duration_s)


class OutageClock:
    """Says whether a provider is down. Moments must not go back."""

    def __init__(self, outages: Outages, rng: Generator | None):
        if outages.mean_time_between_s is not None and rng is None:
            raise ValueError("outages by chance need a generator")
        self._outages = outages
        self._rng = rng
        self._down_s, self._up_s = -inf, -inf  # the outage by chance that comes or is on
        self._scheduled = sorted((o.start_s, o.start_s + o.duration_s) for o in outages.schedule)

    def is_down(self, now_s: float) -> bool:
        """Whether an outage is on; it is over at the moment of its end."""
        return any(start_s <= now_s < end_s for start_s, end_s in self._scheduled) or self._by_chance(now_s)

    def _by_chance(self, now_s: float) -> bool:
        outages = self._outages
        if outages.mean_time_between_s is None:
            return False
        while self._up_s <= now_s:
            self._down_s = max(self._up_s, 0.0) + self._rng.exponential(outages.mean_time_between_s)
            self._up_s = self._down_s + self._rng.exponential(outages.mean_duration_s)
        return self._down_s <= now_s
