"""Cells as numbers: moments, seconds, tokens and codes, or a refusal that names file, line and column."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import numpy as np
import pandas as pd

from sim.moment_zero import zone_of
from sim.schema import TraceError

MOST_TOKENS = 2**31
_ZONED = r"(?:[zZ]|UTC|GMT|[+-]\d\d:?\d\d|[+-]\d\d)$"
_DAY_OR_MONTH_FIRST = (
    r"^(?P<first>\d{1,2})(?P<mark>[./-])(?P<second>\d{1,2})[./-](?P<year>\d{4}|\d{2})"
    r"(?:(?P<gap>,? |T)\d{1,2}:\d{2}(?P<seconds>:\d{2})?(?P<parts>[.]\d+)?(?P<noon> ?[AaPp][Mm])?)?$"
)
_GROUPED = {sign: re.escape(sign) for sign in ".,'_ "}


class Place:
    """The position of a batch's cells in their file, so that an error can name file, line and column."""

    def __init__(self, shown: str, word: str, lines: np.ndarray):
        self.shown, self.word, self.lines = shown, word, lines

    def refuse(self, column: str, values: pd.Series, bad: np.ndarray, law: str) -> None:
        """Raise TraceError for the first cell of `values` where `bad`, bool[n], is true, if there is one."""
        if bad.any():
            i = int(bad.argmax())
            where = f"{self.shown}, {self.word} {self.lines[i]}, column {column!r}"
            raise TraceError(f"{where}: {as_written(values.iloc[i])} {law}")


def as_written(value: Any) -> str:
    """A bad value as the file had it, cut short."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e17:
        value = int(value)  # a gap elsewhere in the column made it a float
    if isinstance(value, pd.Timestamp | pd.Timedelta):
        value = str(value)
    text = "an empty field" if value is None or value is pd.NaT or value != value else _short(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _short(value: Any) -> str:
    if isinstance(value, str):
        number = _plain_number(value)
        return number if number is not None else repr(value[:80])
    try:
        return repr(value)
    except ValueError:  # an integer of more digits than Python cares to print
        return "a number of thousands of digits"


def _plain_number(text: str) -> str | None:
    """A cell of a CSV that is a number is shown without quotes."""
    return text if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+|inf)", text) else None


def empty(values: pd.Series) -> np.ndarray:
    """bool[n]: which cells hold nothing."""
    missing = values.isna().to_numpy()
    if values.dtype.kind == "O":
        missing = missing | (values == "").to_numpy()
    return missing


class Signs:
    """How numbers are written in text."""

    def __init__(self, decimal: str | None, thousands: str | None):
        self.decimal, self.thousands = decimal, thousands

    def plain(self, values: pd.Series) -> pd.Series:
        """The same cells, with a decimal point and without signs between thousands."""
        if values.dtype.kind not in "OUT" or (self.decimal in (None, ".") and self.thousands is None):
            return values
        text = values.where(values.isna(), values.astype(str))
        if self.thousands is not None:
            text = text.str.replace(self.thousands, "", regex=False).str.replace("\u00a0", "", regex=False)
        if self.decimal == ",":
            text = text.str.replace(",", ".", regex=False)
        return text


def numbers(values: pd.Series) -> np.ndarray:
    """float64, NaN where a cell is empty or no number."""
    if values.dtype.kind in "mMb":  # the numbers of moments would be of whatever unit the file keeps them in
        return np.full(len(values), np.nan)
    if values.dtype.kind in "iuf":
        return values.to_numpy(dtype=float, na_value=np.nan)
    try:
        return pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    except (OverflowError, TypeError, ValueError):
        return np.array([_number(value) for value in values], dtype=float)


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else np.nan
    except OverflowError:
        return np.inf
    except ValueError:
        return np.nan


def tokens(values: pd.Series, place: Place, column: str) -> np.ndarray:
    """int64, -1 where a cell is empty. Raises TraceError."""
    found, missing = numbers(values), empty(values)
    with np.errstate(invalid="ignore"):
        whole = (found >= 0) & (found < MOST_TOKENS) & (found == np.floor(found))
    bad = ~whole & ~missing
    hint = ""
    if bad.any() and (grouped := re.fullmatch(r"\d{1,3}([., '_])\d{3}(\1\d{3})*", str(values[bad].iloc[0]).strip())):
        hint = f"; if that parts thousands: \"arrivals.thousands='{grouped[1]}'\""
    place.refuse(column, values, bad, f"is not a whole number of tokens >= 0{hint}")
    return np.where(missing, -1.0, found).astype(np.int64)


def seconds(values: pd.Series, place: Place, column: str, law: str) -> np.ndarray:
    """float64 as written, NaN where a cell is empty. Raises TraceError."""
    found = numbers(values)
    place.refuse(column, values, ~np.isfinite(found) & ~empty(values), law)
    return found


def is_dated(values: pd.Series) -> bool:
    """Whether cells hold dates and times rather than numbers."""
    if values.dtype.kind == "M":
        return True
    filled = values[~empty(values)]
    if values.dtype.kind != "O" or not len(filled):
        return False
    first = filled.iloc[0]
    if isinstance(first, dt.date | pd.Timestamp):
        return True
    return not np.isfinite(numbers(filled.iloc[:100])).any()


def likely_formats(texts: pd.Series) -> list[str]:
    """How dates such as 03/02/2026 08:00 may be meant: with the day first, the month first, or either of them.

    >>> likely_formats(pd.Series(["03/02/2026 08:00:05", "28/02/2026 09:00:00"]))
    ['%d/%m/%Y %H:%M:%S']
    """
    found = texts.str.extract(_DAY_OR_MONTH_FIRST)
    if found["first"].isna().any():
        return []
    one = found.fillna("").iloc[0]
    hour, noon = ("%I", f"{one.noon[:-2]}%p") if one.noon else ("%H", "")
    clock = f"{one.gap}{hour}:%M{':%S' if one.seconds else ''}{'.%f' if one.parts else ''}{noon}" if one.gap else ""
    end = f"{one.mark}{'%Y' if len(one.year) == 4 else '%y'}{clock}"
    orders = [("%d", "%m", found["second"]), ("%m", "%d", found["first"])]
    return [f"{a}{one.mark}{b}{end}" for a, b, months in orders if months.astype(int).max() <= 12]


class Dates:
    """Reads dates and times as nanoseconds since 1970 (UTC), and remembers whether they named their zone."""

    def __init__(self, format: str | None, zone: str | None):
        self.format, self.zone = format, zone
        self.with_zone = self.without_zone = 0
        self.ambiguous = 0
        self.first_of_other_kind: tuple[int, str] | None = None
        self._first_kind: bool | None = None

    def read(self, values: pd.Series, place: Place, column: str) -> np.ndarray:
        """int64 nanoseconds; the least int64 where a cell is empty. Raises TraceError."""
        missing = empty(values)
        if values.dtype.kind == "M":
            zoned = np.full(len(values), values.dt.tz is not None)
            stamps = values
        else:
            if values.dtype.kind == "O" and isinstance(next(iter(values[~missing]), None), bytes):
                place.refuse(column, values, ~missing, "is not a date and time")
            text = values.where(~missing, None).astype("string").str.strip()
            zoned = text.str.contains(_ZONED, regex=True).fillna(False).to_numpy(bool)
            if self.format is not None and "%z" not in self.format.lower():
                zoned[:] = False
            stamps = self._parsed(text, zoned, place, column, values, missing)
        self._count(zoned[~missing], place.lines[~missing])
        return self._nanoseconds(stamps, zoned, place, column, values, missing)

    def _parsed(self, text, zoned, place, column, values, missing) -> pd.Series:
        if self.format is None:
            text = text.str.replace(r"\s*(?:UTC|GMT)$", "Z", regex=True)
        how = self.format or "ISO8601"
        stamps = pd.to_datetime(text, format=how, utc=True, errors="coerce")
        hint = "is not a date and time" + (f" as {self.format}" if self.format else " (ISO 8601)")
        bad = stamps.isna().to_numpy() & ~missing
        likely = likely_formats(text[bad]) if bad.any() and self.format is None else []
        if likely:
            how = " or ".join(f"\"arrivals.time.format='{each}'\"" for each in likely)  # as a shell and Hydra take it
            hint = f"is not a date and time that can be read for sure; say how: {how}"
        place.refuse(column, values, bad, hint)
        return stamps

    def _nanoseconds(self, stamps, zoned, place, column, values, missing) -> np.ndarray:
        years = stamps.dt.year
        outside = ~years.between(1678, 2261).to_numpy() & ~missing
        place.refuse(column, values, outside, "is not a year from 1678 to 2261")
        stamps = stamps.where(~missing, pd.Timestamp(0, tz=stamps.dt.tz)) if missing.any() else stamps
        if self.zone is not None and not zoned.all() and self.zone != "UTC":
            stamps = self._local(stamps, zoned, zone_of(self.zone))
        if stamps.dt.tz is not None:
            stamps = stamps.dt.tz_convert("UTC").dt.tz_localize(None)
        found = stamps.to_numpy(dtype="datetime64[ns]").view(np.int64)
        return np.where(missing, np.iinfo(np.int64).min, found)

    def _local(self, stamps: pd.Series, zoned: np.ndarray, zone: dt.tzinfo) -> pd.Series:
        """Dates without a zone, read as clocks of `zone` show them. An hour that the clock shows twice is the first."""
        naive = stamps.dt.tz_localize(None) if stamps.dt.tz is not None else stamps
        local = naive.dt.tz_localize(zone, ambiguous=np.ones(len(naive), bool), nonexistent="shift_forward")
        twice = naive.dt.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward").isna()
        self.ambiguous += int((twice & ~zoned).sum())
        local = local.dt.tz_convert("UTC")
        return local.where(~zoned, stamps.dt.tz_convert("UTC")) if zoned.any() else local

    def _count(self, zoned: np.ndarray, lines: np.ndarray) -> None:
        self.with_zone += int(zoned.sum())
        self.without_zone += int((~zoned).sum())
        if len(zoned) and self._first_kind is None:
            self._first_kind = bool(zoned[0])
        if self.first_of_other_kind is None:
            other = np.flatnonzero(zoned != self._first_kind)
            if len(other):
                self.first_of_other_kind = (int(lines[other[0]]), "a" if zoned[other[0]] else "no")


class Names:
    """Numbers for names, in order of appearance; -1 for none."""

    def __init__(self):
        self.codes: dict[str, int] = {}

    def read(self, values: pd.Series) -> np.ndarray:
        """The code of each name, int32[n]; -1 for an empty cell."""
        codes, uniques = pd.factorize(as_text(values))
        numbers = np.array([self.codes.setdefault(name, len(self.codes)) for name in uniques] + [-1], np.int32)
        return numbers[codes]

    @property
    def names(self) -> list[str]:
        return list(self.codes)


def as_text(values: pd.Series) -> pd.Series:
    """Cells as text, None where there is none; whole numbers without a decimal point, whatever the column's type."""
    missing = empty(values)
    if values.dtype.kind == "f":
        text = pd.Series([str(int(v)) if v == v and float(v).is_integer() else str(v) for v in values], dtype=object)
    else:
        text = values.astype(str).astype(object)
    return text.where(~missing, None)


def hashed(values: pd.Series) -> np.ndarray:
    """uint64 that tells names apart, 0 for none. Of 27 million names, two would be taken for one with p < 1e-4."""
    text = as_text(values)
    missing = text.isna().to_numpy()
    found = pd.util.hash_array(text.where(~missing, "").to_numpy(dtype=object), categorize=False)
    found[found == 0] = 1
    found[missing] = 0
    return found


def lists_of_names(values: pd.Series) -> np.ndarray:
    """object[n] of tuples: the names in each list, as `hashed` tells them apart; () where there is none."""
    lists = [list(value) if isinstance(value, list | tuple | np.ndarray) else [value] for value in values]
    lists = [[] if found == [None] or found == [""] or found != found else found for found in lists]
    counts = np.array([len(found) for found in lists], np.int64)
    codes = hashed(pd.Series([name for found in lists for name in found], dtype=object)).tolist()
    ends = np.cumsum(counts).tolist()
    tuples = np.empty(len(lists), object)
    tuples[:] = [tuple(codes[end - n : end]) for end, n in zip(ends, counts.tolist(), strict=True)]
    return tuples
