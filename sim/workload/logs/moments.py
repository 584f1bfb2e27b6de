"""From stamps to seconds: units, dates, zones, and what no stamp of a real log looks like."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim.schema import TraceError

MOST_SECONDS = 1e11
"""Number stamps beyond this, the year 5138 as seconds since 1970, are no seconds."""

_EPOCH_FROM_S = 631_152_000  # 1990: number stamps from here on are read as dates, too
_NEXT = {
    "s": ("milliseconds", "seconds"),
    "ms": ("microseconds", "milliseconds"),
    "us": ("nanoseconds", "microseconds"),
}
_EXCEL_1970 = 25_569  # the serial day of 1970-01-01


class Moments(NamedTuple):
    """A column of moments as they were read: whole nanoseconds since 1970 (dates), or numbers as written."""

    name: str
    values: np.ndarray
    are_dates: bool

    @property
    def is_empty(self) -> np.ndarray:
        """bool[n]: the rows without a moment."""
        return self.values == np.iinfo(np.int64).min if self.are_dates else np.isnan(self.values)


def unit_by_digits(stamps: np.ndarray, whole_is_ms: bool) -> tuple[str, str]:
    """The unit of number stamps, float64[n], and why, where nothing states it: seconds, unless they are too large.

    `whole_is_ms`: whole numbers that do not look like seconds since 1970 are taken for ms.
    """
    typical = float(np.median(np.abs(stamps))) if len(stamps) else 0.0
    for limit, unit in ((1e17, "ns"), (1e14, "us"), (MOST_SECONDS, "ms")):
        if typical > limit:
            return unit, "by their digits, since 1970"
    if typical > _EPOCH_FROM_S:
        return "s", "by their digits, since 1970"
    if whole_is_ms and (stamps == np.floor(stamps)).all():
        return "ms", "assumed: whole numbers"
    return "s", "assumed"


def number_seconds(moments: Moments, unit: str) -> np.ndarray:
    """The moments, numbers of this unit, as seconds, float64[n]."""
    if unit == "excel_days":
        return (moments.values - _EXCEL_1970) * 86_400.0
    factor = {"s": 1.0, "ms": 1000.0, "us": 1e6, "ns": 1e9}[unit]
    return moments.values / factor


def too_long(moments: Moments, unit: str) -> tuple[int, str] | None:
    """The first stamp that cannot be of that unit, and the law it breaks; None if all can."""
    with np.errstate(invalid="ignore"):
        bad = np.abs(number_seconds(moments, unit)) > MOST_SECONDS
    if not bad.any():
        return None
    if unit not in _NEXT:
        return int(bad.argmax()), "is no moment before the year 5138"
    looks, must = _NEXT[unit]
    finer = {"s": "ms", "ms": "us", "us": "ns"}[unit]
    return int(bad.argmax()), f"looks like {looks}, must be {must} (or say arrivals.time.unit={finer})"


def refuse_days(shown: str, moments: Moments, stamps: np.ndarray) -> None:
    """Raise TraceError for numbers that read as dates: YYYYMMDD, YYYYMMDDhhmmss, or days of a spreadsheet."""
    if not len(stamps):
        return
    whole = (stamps == np.floor(stamps)).all()
    for digits, format in ((8, "%Y%m%d"), (12, "%Y%m%d%H%M"), (14, "%Y%m%d%H%M%S")):
        lowest, highest = 19_000_101 * 10.0 ** (digits - 8), 21_001_231.9 * 10.0 ** (digits - 8)
        if whole and lowest <= stamps.min() and stamps.max() <= highest and _are_calendar_days(stamps, digits):
            raise TraceError(
                f"{shown}, column {moments.name!r}: {int(stamps[0])} reads as a date; say which: "
                f"arrivals.time.format={format} (dates) or arrivals.time.unit=s (numbers)"
            )
    if 36_526 <= stamps.min() and stamps.max() < 73_051 and np.ptp(stamps) < 3_660:  # 2000 to 2099
        raise TraceError(
            f"{shown}, column {moments.name!r}: {stamps[0]:g} reads as a day of a spreadsheet; say which: "
            "arrivals.time.unit=excel_days (dates) or arrivals.time.unit=s (numbers)"
        )


def _are_calendar_days(stamps: np.ndarray, digits: int) -> bool:
    days = np.floor(stamps / 10.0 ** (digits - 8))
    month, day = np.floor(days / 100) % 100, days % 100
    return bool(((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all())


def looks_absolute(seconds: np.ndarray) -> bool:
    """Whether number stamps, float64[n] in s, count from 1970 rather than from a start of their own."""
    return bool(len(seconds) and np.median(seconds) >= _EPOCH_FROM_S)
