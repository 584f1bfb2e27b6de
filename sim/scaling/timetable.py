"""A scaler with a timetable: bounds on the number of replicas by day of the week and time of day."""

from __future__ import annotations

import re
from math import ceil
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from sim.clock import Clock
from sim.knob import Knob
from sim.moment_zero import WEEKDAYS, OnTheClock, Weekday, zone_of
from sim.scaling.scaler import Scaler, ScalerAtWork, kept
from sim.schema import Config
from sim.units import WEEK_S
from sim.views import FleetView

_HOUR_MINUTE = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_MINUTE_S = 60


class Bounds(Config):
    """The smallest and the largest number of replicas."""

    min_replicas: int = Field(ge=0, description="smallest number of replicas")
    max_replicas: int = Field(ge=0, description="largest number of replicas")

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas = {self.max_replicas} must be >= min_replicas = {self.min_replicas}")
        return self


class Period(Bounds):
    """The bounds on some days of the week, from the time of day `start` until just before `end`."""

    days: tuple[Weekday, ...] = Field(min_length=1)
    start: str = Field(description="HH:MM, local")
    end: str = Field(description="HH:MM, local, at most 24:00; a night is two periods")

    @field_validator("start", "end")
    @classmethod
    def _a_time_of_day(cls, text: str) -> str:
        if not _HOUR_MINUTE.fullmatch(text):
            raise ValueError("must be HH:MM, in quotes")
        return text

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> Period:
        if self.end <= self.start:
            raise ValueError(f"end = {self.end} must be later than start = {self.start}; a night is two periods")
        return self

    def covers(self, day: str, hour_minute: str) -> bool:
        """Whether the period covers this local day of the week and time of day (HH:MM)."""
        return day in self.days and self.start <= hour_minute < self.end


class Timetable(Scaler, OnTheClock):
    """Bounds by period of the week; within them, replicas in proportion to the requests, and an idle timeout.

    Periods are local times of `time_zone`, through daylight saving, on the dates that the scenario's moment zero gives.
    A period's replicas are ordered `lead_s` early, so that they have started when it begins. Where the bounds fall,
    replicas above them are drained.

    Source: AIBrix's scheduled bounds (HH:MM, time zone, days; no midnight within a period, no overlap).
    """

    kind: Literal["timetable"] = "timetable"
    asks_on_arrival: ClassVar[bool] = True
    asks_on_idle: ClassVar[bool] = True
    settles_within_s: ClassVar[float] = WEEK_S  # the largest and the smallest period may be days away
    tick_s: ClassVar[float] = float(_MINUTE_S)  # a timetable speaks in minutes

    time_zone: str | None = Field(
        None, description="a zone of the IANA database (Europe/Berlin), or an offset (+02:00); None: the scenario's"
    )
    periods: tuple[Period, ...] = Field(min_length=1)
    otherwise: Bounds
    lead_s: Annotated[float, Knob(0, 3600, 60)] = Field(
        ge=0, description="replicas of a period are ordered so much earlier"
    )
    target_requests_per_replica: Annotated[float | None, Knob(1, 1024, 1)] = Field(
        gt=0, description="None: exactly min_replicas of the period"
    )
    idle_timeout_s: Annotated[float, Knob(0, 3600, 10)] = Field(
        ge=0, description="idle seconds after which a replica above the floor leaves"
    )

    @field_validator("time_zone")
    @classmethod
    def _a_known_zone(cls, name: str | None) -> str | None:
        if name is not None:
            zone_of(name)
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Timetable:
        for i, period in enumerate(self.periods):
            for other in self.periods[:i]:
                if set(period.days) & set(other.days) and period.start < other.end and other.start < period.end:
                    raise ValueError(f"periods {other.start}-{other.end} and {period.start}-{period.end} overlap")
        if not self.max_replicas:
            raise ValueError("max_replicas must be > 0 at some time of the week")
        return self

    @property
    def min_replicas(self) -> int:
        return min(bounds.min_replicas for bounds in (*self.periods, self.otherwise))

    @property
    def max_replicas(self) -> int:
        return max(bounds.max_replicas for bounds in (*self.periods, self.otherwise))

    @property
    def initial_replicas(self) -> int:
        return self.bounds_at(0.0)[0]

    def bounds_at(self, now_s: float) -> tuple[int, int]:
        """(smallest, largest) number of replicas at a simulated time, raised to that of a period within `lead_s`."""
        now, ahead = self._bounds(now_s), self._bounds(now_s + self.lead_s)
        return max(now.min_replicas, ahead.min_replicas), max(now.max_replicas, ahead.max_replicas)

    def _bounds(self, now_s: float) -> Bounds:
        local = self.moment_zero.local(now_s, None if self.time_zone is None else zone_of(self.time_zone))
        day, hour_minute = WEEKDAYS[local.weekday()], f"{local:%H:%M}"
        return next((period for period in self.periods if period.covers(day, hour_minute)), self.otherwise)

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        return _Timetable(self)


class _Timetable:
    """A timetable in one run. Looks the bounds up once a minute, because many requests arrive in one."""

    __slots__ = ("_rule", "_until_s", "_fewest", "_most")

    def __init__(self, rule: Timetable):
        self._rule = rule
        self._until_s = -1.0

    def target_replicas(self, view: FleetView) -> int:
        rule, now_s = self._rule, view.now_s
        if now_s >= self._until_s:
            self._fewest, self._most = rule.bounds_at(now_s)
            past_s = rule.moment_zero.week_s % _MINUTE_S  # the clock's minutes begin so long before the simulated ones
            self._until_s = ((now_s + past_s) // _MINUTE_S + 1) * _MINUTE_S - past_s
        if rule.target_requests_per_replica is None:
            return self._fewest
        wanted = ceil(view.n_outstanding / rule.target_requests_per_replica)
        return max(self._fewest, min(max(wanted, kept(view, rule.idle_timeout_s, self._most)), self._most))
