"""Seconds from the stamps of a log: when its calls arrived and ended, from one moment 0."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

import numpy as np

from sim.schema import TraceError
from sim.workload.logs.columns import unit_of
from sim.workload.logs.gathering import Rows
from sim.workload.logs.moments import (
    Moments,
    looks_absolute,
    number_seconds,
    refuse_days,
    too_long,
    unit_by_digits,
)
from sim.workload.logs.roles import LogOptions
from sim.workload.logs.values import as_written


class Timeline(NamedTuple):
    """Arrivals in seconds from `zero_s`: seconds since 1970 where `is_absolute`, else by the log's own clock."""

    seconds: np.ndarray
    zero_s: float
    is_absolute: bool
    unit: str  # and what says so; "dates"

    def begun(self, moment_zero: str, zone: tzinfo = UTC) -> Timeline:
        """The same arrivals, with second 0 at the full hour or the midnight of a zone before it; else as they are."""
        if moment_zero == "first_row":
            return self
        first = datetime.fromtimestamp(self.zero_s, UTC).astimezone(zone)
        hour = 0 if moment_zero == "day" else first.hour
        full = first.replace(hour=hour, minute=0, second=0, microsecond=0)
        before_s = self.zero_s - full.timestamp()
        return self._replace(seconds=self.seconds + before_s, zero_s=full.timestamp())

    @property
    def moment_zero(self) -> datetime | None:
        """The date and time of second 0; None if the log has none."""
        return datetime.fromtimestamp(self.zero_s, UTC) if self.is_absolute else None

    def moment(self, second: float) -> str | None:
        """The date and time of a second; None if the log has none."""
        if not self.is_absolute:
            return None
        return datetime.fromtimestamp(self.zero_s + second, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class _Clock(NamedTuple):
    """The meaning of a column's numbers: their unit, the unit in words for the receipt, and whether they are dates."""

    unit: str
    description: str
    is_absolute: bool


def timeline_of(
    rows: Rows, options: LogOptions, shown: str, durations: dict[str, np.ndarray]
) -> tuple[Timeline, np.ndarray | None]:
    """Arrivals of the rows, in the order they have, and their ends (NaN where unknown; None: the log has none).

    Of start, end and duration any two give the third. A later call of a session may have a wait in place of a stamp.
    """
    role = "arrived" if "arrived" in rows.moments else "ended"
    stamps = rows.moments[role]
    clock = _clock(role, stamps, rows, options, shown)
    _refuse_empty(stamps, rows, shown, durations)
    given = ~stamps.is_empty
    zero = stamps.values[given].min() if stamps.are_dates else _least(stamps, clock, given)
    if rows.understood.preset.origin == "file" and not stamps.are_dates:
        zero = 0.0
    seconds = _seconds(stamps, clock, zero)
    duration = durations.get("duration")
    if role == "ended":
        assert duration is not None
        if np.isnan(duration).any():
            raise TraceError(f"{shown}: has rows without a duration, and so without a start")
        ended, seconds = seconds, seconds - duration
        first = seconds.min()
        seconds, ended = seconds - first, ended - first
        zero = zero / 1e9 + first if stamps.are_dates else zero + first
    else:
        seconds = _carried_on(seconds, rows)
        if np.isnan(seconds).any():
            i = int(np.isnan(seconds).argmax())
            where = f"{shown}, {rows.place} {rows.lines[i]}, column {stamps.name!r}"
            raise TraceError(f"{where}: is empty, and no call that this one waits for comes before it in the log")
        ended = None
        if "ended" in rows.moments:
            others = rows.moments["ended"]
            ended = _on_the_same_clock(others, stamps, _clock("ended", others, rows, options, shown), zero)
        if duration is not None:
            by_duration = seconds + duration
            ended = by_duration if ended is None else np.where(np.isnan(ended), by_duration, ended)
        zero = zero / 1e9 if stamps.are_dates else zero
    return Timeline(seconds, float(zero), clock.is_absolute, clock.description), ended


def _least(stamps: Moments, clock: _Clock, given: np.ndarray) -> float:
    return float(number_seconds(stamps, clock.unit)[given].min())


def _seconds(stamps: Moments, clock: _Clock, zero: float) -> np.ndarray:
    if stamps.are_dates:
        return np.where(stamps.is_empty, np.nan, (stamps.values - zero) / 1e9)
    return number_seconds(stamps, clock.unit) - zero


def _on_the_same_clock(stamps: Moments, first: Moments, clock: _Clock, zero: float) -> np.ndarray:
    """Stamps of another column, from the zero of the first: dates and numbers since 1970 may meet."""
    if stamps.are_dates == first.are_dates:
        return _seconds(stamps, clock, zero)
    return _seconds(stamps, clock, zero / 1e9 if first.are_dates else zero * 1e9)


def _clock(role: str, stamps: Moments, rows: Rows, options: LogOptions, shown: str) -> _Clock:
    if stamps.are_dates:
        return _Clock("ns", "dates", True)
    values = stamps.values[~stamps.is_empty]
    unit, told_by = unit_of(role, rows.understood, options)
    if unit == "auto":
        refuse_days(shown, stamps, values)
        unit, told_by = unit_by_digits(values, rows.understood.preset.undecided == "ms_if_whole")
    bad = too_long(stamps, unit)
    if bad is not None:
        i, law = bad
        where = f"{shown}, {rows.place} {rows.lines[i]}, column {stamps.name!r}"
        raise TraceError(f"{where}: {as_written(stamps.values[i])} {law}")
    is_absolute = unit == "excel_days" or looks_absolute(number_seconds(stamps, unit)[~stamps.is_empty])
    return _Clock(unit, f"{unit} ({told_by})", is_absolute)


def _refuse_empty(stamps: Moments, rows: Rows, shown: str, durations: dict[str, np.ndarray]) -> None:
    """Every row needs a stamp, but for later calls of sessions with recorded waits, and what waits for named calls."""
    empty = stamps.is_empty
    waits = [durations[role] for role in ("wait", "wait_after") if role in durations]
    if empty.any() and waits and "session" in rows.numbers:
        known, session = np.zeros(len(rows), bool), rows.numbers["session"]
        known[np.unique(session, return_index=True)[1]] = True  # the first row of each session
        empty = empty & (known | (session == 0))
    if "wait_for" in rows.numbers and "id" in rows.numbers:
        empty = empty & ~rows.numbers["wait_for"].astype(bool)
    if empty.any():
        i = int(empty.argmax())
        what = "a date and time" if stamps.are_dates else "a number of seconds"
        raise TraceError(f"{shown}, {rows.place} {rows.lines[i]}, column {stamps.name!r}: an empty field is not {what}")


def _carried_on(seconds: np.ndarray, rows: Rows) -> np.ndarray:
    """Where calls have no stamp, that of the call before in their session, in the order of the file, or the latest of
    those that they wait for."""
    if not np.isnan(seconds).any():
        return seconds
    carried = seconds.copy()
    if "wait_for" in rows.numbers and "id" in rows.numbers:
        _carry_from_awaited(carried, rows)
    if "session" in rows.numbers:
        order = np.argsort(rows.numbers["session"], kind="stable")
        ranked = carried[order]
        given = np.where(np.isnan(ranked), 0, np.arange(len(ranked)))
        carried[order] = ranked[np.maximum.accumulate(given)]
    return carried


def _carry_from_awaited(seconds: np.ndarray, rows: Rows) -> None:
    row_of = {own: row for row, own in enumerate(rows.numbers["id"].tolist())}
    for row in np.flatnonzero(np.isnan(seconds)).tolist():
        stamps = [seconds[row_of[name]] for name in rows.numbers["wait_for"][row] if name in row_of]
        seconds[row] = max((stamp for stamp in stamps if not np.isnan(stamp)), default=np.nan)
