"""The moment zero of a scenario: the date, time and zone of second 0, off which hours and weekdays are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.resources import files
from typing import Literal, Self, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import PrivateAttr

from sim.schema import Config, each_part
from sim.units import DAY_S

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_OFFSET = re.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)")
_TEXT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?))?\s*(\S+)?")
_YEARS = (1970, 2199)
_LAST_S = 2e11
"""Calendars end with the year 9999: 6300 years after second 0 time of day stands still."""
_FORM = "must be a date, a time and a zone, such as 2026-03-02T00:00 Europe/Berlin"
ConfigT = TypeVar("ConfigT", bound=Config)


@cache
def zone_of(name: str) -> tzinfo:
    """The zone of a name of the IANA database (Europe/Berlin) or of an offset (+02:00). Raises ValueError.

    Zones are those of the package tzdata, whatever the machine has, so that a run gives the same numbers everywhere.
    """
    if name in ("UTC", "Z"):
        return UTC
    if offset := _OFFSET.fullmatch(name):
        sign = -1 if offset[1] == "-" else 1
        return timezone(sign * timedelta(hours=int(offset[2]), minutes=int(offset[3])))
    if name not in _zone_names():
        near = get_close_matches(name, _zone_names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"is neither a zone of the IANA database nor an offset like +02:00{hint}")
    with files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


@dataclass(frozen=True)
class MomentZero:
    """Second 0 of a scenario: a moment, and the zone in which its hours and weekdays are told.

    Local time follows the zone's rules through daylight saving: a local day has 23 hours in spring and 25 in autumn.

    >>> berlin = MomentZero.parse("2026-03-29T00:00 Europe/Berlin")
    >>> [f"{berlin.local(hour * 3600):%H:%M}" for hour in (0, 1, 2, 3)]
    ['00:00', '01:00', '03:00', '04:00']
    >>> berlin.next_midnight_s(0.0) / 3600
    23.0
    """

    moment: datetime  # UTC
    zone_name: str = "UTC"

    @classmethod
    def parse(cls, text: str) -> MomentZero:
        """From a date, a time (else midnight) and a zone (else UTC). Raises ValueError."""
        found = _TEXT.fullmatch(text.strip())
        if not found:
            raise ValueError(_FORM)
        zone_name = "UTC" if found[3] in (None, "Z") else found[3]
        zone = zone_of(zone_name)
        try:
            local = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}")
        except ValueError as error:
            raise ValueError(f"{_FORM}: {error}") from None
        if not _YEARS[0] <= local.year <= _YEARS[1]:
            raise ValueError(f"must lie in the years {_YEARS[0]} to {_YEARS[1]}")
        return cls(_in_utc(local, zone), zone_name)

    @property
    def zone(self) -> tzinfo:
        """The zone that `zone_name` names."""
        return zone_of(self.zone_name)

    def local(self, second: float, zone: tzinfo | None = None) -> datetime:
        """Date and time of day at a second, in the scenario's zone or another."""
        moment = self.moment + timedelta(seconds=min(second, _LAST_S))
        return moment.astimezone(self.zone if zone is None else zone)

    def offset_s(self, second: float) -> float:
        """Local time at a second minus UTC."""
        offset = self.local(second).utcoffset()
        assert offset is not None, "the moment has a zone"
        return offset.total_seconds()

    def second_of(self, local: datetime) -> float:
        """The second of a date and time in the scenario's zone. Raises ValueError for one that no clock showed."""
        return (_in_utc(local, self.zone) - self.moment).total_seconds()

    @cached_property
    def week_s(self) -> float:
        """Local time at second 0, counted from Monday 00:00 of its week."""
        local = self.local(0.0)
        since_midnight = local.replace(tzinfo=None) - datetime(local.year, local.month, local.day)
        return local.weekday() * DAY_S + since_midnight.total_seconds()

    @cached_property
    def past_hour_s(self) -> float:
        """Seconds from the full hour of UTC to second 0, >= 0 and < 3600: sums by the hour are cut at full hours."""
        return self.moment.minute * 60.0 + self.moment.second + self.moment.microsecond / 1e6

    def next_midnight_s(self, second: float) -> float:
        """The first second after this one at which a local day begins."""
        local = self.local(second)
        following = datetime(local.year, local.month, local.day) + timedelta(days=1)
        return self._second_from(following)

    def day_begin_s(self, second: float) -> float:
        """The second at which the local day of this second began, <= second."""
        local = self.local(second)
        return self._second_from(datetime(local.year, local.month, local.day))

    def same_time_s(self, later: timedelta) -> float:
        """The second at which local clocks have gone on by whole days from second 0."""
        return self._second_from(self.local(0.0).replace(tzinfo=None) + later)

    def _second_from(self, local: datetime) -> float:
        """As `second_of`; where the clocks went forward over midnight, the day begins at the moment of that."""
        zoned = local.replace(tzinfo=self.zone)
        return (zoned.astimezone(UTC) - self.moment).total_seconds()

    def stretches(self, begin_s: float, end_s: float) -> Iterator[tuple[float, float, float]]:
        """(begin, end, local time minus UTC) of the parts of [begin_s, end_s) between changes of the clocks."""
        while begin_s < end_s:
            step_s, offset_s = min(begin_s + DAY_S, end_s), self.offset_s(begin_s)
            if self.offset_s(step_s) != offset_s:
                low, high = begin_s, step_s  # the change lies in (low, high], to the second
                while high - low > 0.5:
                    middle = (low + high) / 2
                    low, high = (middle, high) if self.offset_s(middle) == offset_s else (low, middle)
                change = (self.moment + timedelta(seconds=high)).replace(second=0, microsecond=0)  # at a full minute
                step_s = (change - self.moment).total_seconds()
            yield begin_s, step_s, offset_s
            begin_s = step_s

    def hours_of_week(self, hours: np.ndarray, zone: tzinfo) -> np.ndarray:
        """Hours since Monday 00:00 in a zone, int64[n], of full hours of UTC, int64[n]: hour 0 is that of second 0."""
        different, where = np.unique(hours, return_inverse=True)
        first = self.moment - timedelta(seconds=self.past_hour_s)
        local = [(first + timedelta(hours=hour)).astimezone(zone) for hour in different.tolist()]
        return np.array([24 * moment.weekday() + moment.hour for moment in local], np.int64)[where]

    @property
    def shown(self) -> str:
        """As people read it: `Mon 2026-03-02 00:00 Europe/Berlin`."""
        local = self.local(0.0)
        seconds = f":{local:%S}" if local.second else ""
        return f"{WEEKDAYS[local.weekday()].capitalize()} {local:%Y-%m-%d %H:%M}{seconds} {self.zone_name}"

    def __str__(self) -> str:
        """As `parse` reads it."""
        local = self.local(0.0).replace(tzinfo=None)
        timespec = "microseconds" if local.microsecond else "seconds" if local.second else "minutes"
        return f"{local.isoformat(timespec=timespec)} {self.zone_name}"


MONDAY = MomentZero(datetime(2024, 5, 13, tzinfo=UTC))
"""Second 0 of a scenario that names no date: a Monday, 00:00 UTC."""


def _in_utc(local: datetime, zone: tzinfo) -> datetime:
    """A local time in UTC; of one that the clocks showed twice, the first. Raises ValueError for one never shown."""
    moment = local.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) != local:
        raise ValueError(f"{local:%Y-%m-%d %H:%M} is no time of day in {zone}: the clocks went forward over it")
    return moment


class OnTheClock(Config):
    """A part of a scenario that reads hours or weekdays. A run gives it the moment zero before it begins.

    >>> from typing import Literal
    >>> import numpy as np
    >>> import sim
    >>> class AtNine(sim.Arrivals, sim.OnTheClock):
    ...     kind: Literal["at_nine"] = "at_nine"
    ...     @property
    ...     def mean_rate_per_s(self):
    ...         return 1 / 86400
    ...     def times(self, rng, horizon_s):
    ...         seconds = np.arange(0, horizon_s, 3600.0)
    ...         yield np.array([s for s in seconds if self.moment_zero.local(s).hour == 9])
    >>> days = sim.scenario(arrivals=AtNine(), horizon_s=3 * 86400, starts_at="2026-03-28T00:00 Europe/Berlin")
    >>> sim.simulate(days).requests["arrived_s"].tolist()  # the clocks go forward on the second day
    [32400.0, 115200.0, 201600.0]
    """

    _moment_zero: MomentZero = PrivateAttr(MONDAY)

    @property
    def moment_zero(self) -> MomentZero:
        """Second 0 of the run; Monday 2024-05-13 00:00 UTC until a run has said otherwise."""
        return self._moment_zero

    def starting(self, moment_zero: MomentZero) -> Self:
        """A copy for a run with this second 0."""
        copy = self.model_copy()
        copy._moment_zero = moment_zero
        return copy


def on_the_clock(config: ConfigT, moment_zero: MomentZero) -> ConfigT:
    """The same config, in which every part that reads the clock has this moment zero. What reads none is not copied."""
    return each_part(config, lambda part: part.starting(moment_zero) if isinstance(part, OnTheClock) else part)
