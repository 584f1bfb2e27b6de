"""Hours of the week in which tokens cost a multiple of the list price."""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from sim.moment_zero import WEEKDAYS, Weekday
from sim.schema import Config


class TimedRate(Config):
    """Hours of the week, in the tariff's zone, in which tokens cost `multiplier` times the list price.

    A request's hour is that of its arrival.
    """

    from_hour: int = Field(ge=0, le=23)
    to_hour: int = Field(ge=1, le=24, description="first hour not included; hours across midnight need two entries")
    weekdays: tuple[Weekday, ...] = Field(WEEKDAYS, min_length=1, description="days on which it applies")
    multiplier: float = Field(gt=0, description="price in these hours / list price")

    @model_validator(mode="after")
    def _hours_in_order(self) -> TimedRate:
        if self.from_hour >= self.to_hour:
            raise ValueError(f"to_hour = {self.to_hour}: must be > from_hour = {self.from_hour}")
        return self

    def label(self, zone_name: str) -> str:
        """The text by which lines of a bill name these hours."""
        days = "" if self.weekdays == WEEKDAYS else "/".join(self.weekdays) + " "
        return f"{days}{self.from_hour:02}-{self.to_hour:02} {zone_name} x {self.multiplier:g}"

    def covers(self, hour_of_week: np.ndarray) -> np.ndarray:
        """bool[n]: whether the rate applies in each of these hours int64[n], counted from Monday 00:00."""
        days = [WEEKDAYS.index(day) for day in self.weekdays]
        hour = hour_of_week % 24
        return np.isin(hour_of_week // 24 % 7, days) & (hour >= self.from_hour) & (hour < self.to_hour)
