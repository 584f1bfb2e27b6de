"""Hours of the week in which tokens cost a multiple."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.schema import Config

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class TimedRate(Config):
    """Hours of the week, UTC, in which tokens cost a multiple. Requests count by the hour in which they arrive."""

    from_hour: int = Field(ge=0, le=23)
    to_hour: int = Field(ge=1, le=24, description="not included; two entries for hours across midnight")
    weekdays: tuple[Weekday, ...] = Field(WEEKDAYS, min_length=1)
    multiplier: float = Field(gt=0)

    @model_validator(mode="after")
    def _hours_in_order(self) -> TimedRate:
        if self.from_hour >= self.to_hour:
            raise ValueError(f"to_hour = {self.to_hour}: must be > from_hour = {self.from_hour}")
        return self

    @property
    def label(self) -> str:
        """As it stands on a bill."""
        days = "" if self.weekdays == WEEKDAYS else "/".join(self.weekdays) + " "
        return f"{days}{self.from_hour:02}-{self.to_hour:02} UTC x {self.multiplier:g}"

    def covers(self, hour_of_week: np.ndarray) -> np.ndarray:
        """Which hours, counted from Monday 00:00 UTC, it applies to."""
        days = [WEEKDAYS.index(day) for day in self.weekdays]
        hour = hour_of_week % 24
        return np.isin(hour_of_week // 24 % 7, days) & (hour >= self.from_hour) & (hour < self.to_hour)
