"""Any arrivals with a weekly profile."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.moment_zero import OnTheClock
from sim.schema import Config
from sim.units import DAY_S, MINUTE_S, WEEK_S
from sim.workload.arrivals.cox import RatePath
from sim.workload.arrivals.time_change import TimeChange
from sim.workload.arrivals.weekly_rate import WeeklyRate


class Harmonic(Config):
    """One cosine of a weekly profile."""

    cycles_per_week: int = Field(ge=1, le=42, description="7: a daily cycle; 1: a weekly one")
    amplitude_fraction: float = Field(ge=0, description="of the mean rate")
    peak_hour: float = Field(0.0, ge=0, lt=168, description="hour of the week, from Monday 0:00, of one of its peaks")


class Weekly(TimeChange, OnTheClock):
    """Any other arrivals with a weekly profile: the rate of `process` is the mean over a week.

    The profile is a table, relative rates in the middle of the hours, or a sum of harmonics:
    rate(t) / mean = 1 + sum(amplitude * cos(2 pi cycles (t - peak) / week)). A periodic monotone cubic through 168
    points of the week (see WeeklyRate) gives the rate between them. `hours` has 24 numbers (every day alike), 48 (a
    weekday, then a day at the weekend) or 168 (Monday 0:00 to Sunday 24:00). Hours and days are
    those of the scenario's moment zero and zone, through daylight saving.
    """

    kind: Literal["weekly"] = "weekly"
    hours: tuple[float, ...] | None = Field(None, description="relative rate by hour: 24, 48 or 168 of them")
    harmonics: tuple[Harmonic, ...] = Field((), max_length=40, description="in place of hours")

    @model_validator(mode="after")
    def _one_profile(self) -> Weekly:
        if (self.hours is None) == (not self.harmonics):
            raise ValueError("needs hours or harmonics, and not both")
        if self.hours is not None and len(self.hours) not in (24, 48, 168):
            raise ValueError(f"hours must be 24, 48 or 168 numbers, not {len(self.hours)}")
        low, high = float(self.week_points.min()), float(self.week_points.max())
        if low < 0 or high == 0:
            raise ValueError(f"the rate must be >= 0 and not always 0, but is {low:g} to {high:g} times the mean")
        return self

    @property
    def mean_rate_per_s(self) -> float:
        return self.process.mean_rate_per_s

    @property
    def period_s(self) -> float:
        return WEEK_S

    @property
    def week_points(self) -> np.ndarray:
        """float64[168]: relative rates in the middle of each hour of the week, from Monday 0:00."""
        if self.hours is not None:
            day = np.array(self.hours)
            return np.concatenate((np.tile(day[:24], 5), np.tile(day[-24:], 2))) if len(day) < 168 else day
        points = np.ones(168)
        for wave in self.harmonics:
            turns = wave.cycles_per_week * (np.arange(168) + 0.5 - wave.peak_hour) / 168
            points += wave.amplitude_fraction * np.cos(2 * np.pi * turns)
        return np.where(np.abs(points) < 1e-12, 0.0, points)

    @property
    def start_s(self) -> float:
        """Local time since Monday 0:00 at which the horizon begins."""
        return self.moment_zero.week_s

    @cached_property
    def weekly_speed(self) -> WeeklyRate:
        """The operational clock's speed as a function of the time since Monday 0:00; its mean is 1."""
        return WeeklyRate(self.week_points, 1.0)

    def operational_s(self, t_s: np.ndarray) -> np.ndarray:
        """Without changes of the clock for daylight saving."""
        return self.weekly_speed.integral(self.start_s + np.asarray(t_s))

    def _length_s(self, horizon_s: float) -> float:
        if not self.has_exact_tasks:
            # What lies beyond the end of the path is not played: a day more than changes of the clock can add.
            return super()._length_s(horizon_s) + DAY_S
        speed = self.weekly_speed
        return sum(
            float(np.diff(speed.integral(local_s + np.array([from_s, to_s])))[0])
            for from_s, to_s, local_s in self._stretches(0.0, horizon_s)
        )

    def _path(self, horizon_s: float) -> RatePath:
        for edges in self._edges(horizon_s):
            for from_s, to_s, local_s in self._stretches(float(edges[0]), float(edges[-1])):
                inner = edges[(edges > from_s) & (edges < to_s)]
                part = np.concatenate(([from_s], inner, [to_s]))
                yield part, np.diff(self.weekly_speed.integral(local_s + part))

    def _stretches(self, begin_s: float, end_s: float) -> Iterator[tuple[float, float, float]]:
        """(from, to, local seconds since Monday 0:00 of second 0) of each stretch without a change of the clock."""
        clock = self.moment_zero
        first_offset_s = clock.offset_s(0.0)
        for from_s, to_s, offset_s in clock.stretches(begin_s, end_s):
            yield from_s, to_s, clock.week_s + offset_s - first_offset_s

    @property
    def _mean_step(self) -> tuple[str, float]:
        return "hours", MINUTE_S

    def _edges(self, horizon_s: float) -> Iterator[np.ndarray]:
        begin_s = 0.0
        while begin_s < horizon_s:
            end_s = min(begin_s + DAY_S, horizon_s)
            yield np.append(np.arange(begin_s, end_s, MINUTE_S), end_s)
            begin_s = end_s
