"""Rate over time: its course, the profile of the day and of the week, the busiest hour, the trend, empty hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.distributions import student_t_quantile
from sim.moment_zero import MomentZero
from sim.units import DAY_S, HOUR_S, MINUTE_S, WEEK_S
from sim.workload.description.calls import Calls
from sim.workload.description.dispersion import Silence

_STEPS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 4 * 3600.0, DAY_S, WEEK_S)
_MOST_BINS = 200
_EXPECTED_IN_EMPTY_HOUR = 30.0


@dataclass(frozen=True)
class Course:
    """Rates in equal steps from second 0; the last step may be cut short by the end of the record."""

    step_s: float
    requests_per_s: tuple[float, ...]
    input_tokens_per_s: tuple[float, ...]
    output_tokens_per_s: tuple[float, ...]


@dataclass(frozen=True)
class Profile:
    """Requests per second by hour, over the mean of the hours; hours that the record does not hold are None."""

    hours: tuple[float | None, ...]  # 24: of the day; 168: of the week, from Monday 0:00
    is_local: bool  # by the log's dates and zone; else hours count from the first row
    zone: str


@dataclass(frozen=True)
class Busiest:
    """The stretch of this length with the most requests."""

    length_s: float
    begins_s: float
    begins: str | None  # local date and time; None: the log has none
    requests: int
    times_mean: float
    input_tokens_per_s: float
    output_tokens_per_s: float


@dataclass(frozen=True)
class Trend:
    """Least squares line through the rates of equal parts: change of the rate, as a fraction of its mean."""

    part: str  # "week", "day", or "part"
    parts: int
    change_fraction: float  # over the whole record
    low: float  # 95 % interval
    high: float
    per_day_fraction: float


def course_of(calls: Calls) -> Course:
    """At most 200 steps."""
    step_s = next((step for step in _STEPS_S if calls.period_s <= _MOST_BINS * step), 4 * WEEK_S)
    bins = max(int(np.ceil(calls.period_s / step_s)), 1)
    place = np.minimum((calls.arrived_s / step_s).astype(np.int64), bins - 1)
    lengths_s = np.full(bins, step_s)
    lengths_s[-1] = max(calls.period_s - step_s * (bins - 1), 1e-9)

    def per_s(weights: np.ndarray | None) -> tuple[float, ...]:
        return tuple((np.bincount(place, weights, bins) / lengths_s).tolist())

    return Course(step_s, per_s(None), per_s(calls.input_tokens), per_s(calls.output_tokens))


class Minutes:
    """Arrivals in each whole minute of a record, and the local hour of the week of each."""

    def __init__(self, times_s: np.ndarray, period_s: float, zero: MomentZero | None):
        self.n = int(period_s / MINUTE_S)
        place = (times_s / MINUTE_S).astype(np.int64)
        self.counts = np.bincount(place[place < self.n], minlength=self.n)[: self.n]
        self.zero = zero
        self.week_s = self._local_week_s() % WEEK_S

    def _local_week_s(self) -> np.ndarray:
        """Local time since Monday 0:00 in the middle of each minute; since the first row, if there are no dates."""
        middles = (np.arange(self.n) + 0.5) * MINUTE_S
        if self.zero is None:
            return middles
        local, first_offset_s = np.empty(self.n), self.zero.offset_s(0.0)
        for from_s, to_s, offset_s in self.zero.stretches(0.0, self.n * MINUTE_S):
            part = slice(*np.searchsorted(middles, [from_s, to_s]))
            local[part] = middles[part] + self.zero.week_s + offset_s - first_offset_s
        return local

    def profile(self, hours: int) -> Profile | None:
        """By hour of the day (24) or of the week (168); None if the record is shorter than that."""
        if self.n * MINUTE_S < hours * HOUR_S:
            return None
        hour = (self.week_s / HOUR_S).astype(np.int64) % hours
        exposed = np.bincount(hour, minlength=hours)
        rates = np.bincount(hour, self.counts, hours) / np.maximum(exposed, 1)
        mean = rates[exposed > 0].mean()
        relative = [float(r / mean) if e and mean else None for r, e in zip(rates, exposed, strict=True)]
        return Profile(tuple(relative), self.zero is not None, self.zero.zone_name if self.zero else "UTC")

    def empty_hours(self) -> int:
        """Hours of the record without a request in which at least 30 were to be expected at the rate of that hour of
        the week (of the day, or over all, where the record is shorter)."""
        hours = self.n // 60
        if not hours:
            return 0
        counts = self.counts[: hours * 60].reshape(hours, 60).sum(axis=1)
        expected = np.full(hours, counts.mean())
        for length in (24, 168):
            if hours >= 2 * length:
                place = (self.week_s[: hours * 60 : 60] / HOUR_S).astype(np.int64) % length
                seen = counts > 0
                sums = np.bincount(place[seen], counts[seen], length)
                expected = (sums / np.maximum(np.bincount(place[seen], minlength=length), 1))[place]
        return int(((counts == 0) & (expected >= _EXPECTED_IN_EMPTY_HOUR)).sum())


def busiest_of(calls: Calls, length_s: float) -> Busiest | None:
    """The stretch of `length_s`, to begin at any request, with the most requests; None of shorter records."""
    if calls.period_s < length_s:
        return None
    times_s = calls.arrived_s
    ends = np.searchsorted(times_s, times_s + length_s)
    counts = ends - np.arange(len(times_s))
    first = int(counts.argmax())
    part = slice(first, int(ends[first]))
    n, begins_s = int(counts[first]), float(times_s[first])
    return Busiest(
        length_s, begins_s, local_time(calls.zero, begins_s), n, n / length_s / (len(calls) / calls.period_s),
        float(calls.input_tokens[part].sum() / length_s), float(calls.output_tokens[part].sum() / length_s),
    )  # fmt: skip


def trend_of(calls: Calls) -> Trend | None:
    """Over whole weeks, if there are three; else whole days, if there are three; else twelve equal parts."""
    n = len(calls)
    if n < 24:
        return None
    lengths_s = {"week": WEEK_S, "day": DAY_S, "part": calls.period_s / 12}
    part, length_s = next((name, s) for name, s in lengths_s.items() if calls.period_s >= 3 * s)
    parts = int(calls.period_s / length_s + 1e-9)
    place = (calls.arrived_s / length_s).astype(np.int64)
    counts = np.bincount(place[place < parts], minlength=parts)[:parts].astype(float)
    x = np.arange(parts) - (parts - 1) / 2
    mean = float(counts.mean())
    slope = float(x @ counts / (x @ x) / mean)
    left = counts / mean - 1 - slope * x
    half = student_t_quantile(0.975, parts - 2) * float(np.sqrt(left @ left / (parts - 2) / (x @ x)))
    whole = calls.period_s / length_s
    per_day = slope * DAY_S / length_s
    return Trend(part, parts, slope * whole, (slope - half) * whole, (slope + half) * whole, per_day)


def longest_silences(calls: Calls, most: int = 3) -> tuple[Silence, ...]:
    """The longest stretches without a request, longest first."""
    gaps = np.diff(calls.arrived_s)
    order = np.argsort(-gaps, kind="stable")[:most]
    return tuple(
        Silence(float(calls.arrived_s[i]), float(gaps[i]), local_time(calls.zero, float(calls.arrived_s[i])))
        for i in order.tolist()
    )


def local_time(zero: MomentZero | None, second: float) -> str | None:
    """Date and time in the zone of the log, to the second; None without dates."""
    return None if zero is None else zero.local(second).strftime("%a %Y-%m-%d %H:%M:%S")
