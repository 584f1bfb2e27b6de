"""From tables to columns: every row is read once, kept, or set aside for a reason that is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sim.schema import TraceError
from sim.workload.logs.blocks import Blocks
from sim.workload.logs.columns import Understood, require, understand
from sim.workload.logs.documents import JsonTable, NewKeys
from sim.workload.logs.files import LogFile, files_of, look_into
from sim.workload.logs.moments import Moments
from sim.workload.logs.prefixes import Prefixes
from sim.workload.logs.readers.reader import TableReader
from sim.workload.logs.roles import DURATIONS, MOMENTS, NAMED, TOKENS, LogOptions
from sim.workload.logs.tables import Batch, CsvTable, ParquetTable, Table
from sim.workload.logs.values import (
    Dates,
    Names,
    Place,
    Signs,
    as_text,
    empty,
    hashed,
    is_dated,
    numbers,
    seconds,
    tokens,
)

MOST_ROWS = 50_000_000
"""A log of more rows is refused: it would take more than 4 GB."""

A_RATE = (
    "a rate, not requests: arrivals=rate_profile plays it as one (or export one row per request; if each row is one "
    "request: arrivals.allow=[sums])"
)

UNFILLED = {"", "false", "none", "null", "0", "0.0", "{}", "[]", "nan"}


@dataclass
class Rows:
    """The rows of a log, as columns by role, in the order of the file; nothing yet sorted or understood as time."""

    understood: Understood
    place: str
    container: str
    lines: np.ndarray
    moments: dict[str, Moments]
    numbers: dict[str, np.ndarray]
    names: dict[str, list[str]]
    dates: Dates
    n_read: int
    set_aside: Counter
    lists: Blocks | None = None
    prefixes: Prefixes | None = None
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)

    def take(self, kept: np.ndarray) -> None:
        """Only these rows, in this order (indices)."""
        self.lines = self.lines[kept]
        for role, found in self.moments.items():
            self.moments[role] = found._replace(values=found.values[kept])
        for role in list(self.numbers):
            self.numbers[role] = self.numbers[role][kept]
        if self.lists is not None:
            self.lists.take(kept)
        if self.prefixes is not None:
            self.prefixes.take(kept)


def read_rows(shown: str, options: LogOptions) -> Rows:
    """Every row of the files of a log. Raises TraceError."""
    files = files_of(options.path)
    if len(files) == 1:
        return _Reading(shown, options, [look_into(files[0], shown)]).rows()
    return _Reading(shown, options, [look_into(file, f"{shown}: {file.name}") for file in files]).rows()


class _Reading:
    def __init__(self, shown: str, options: LogOptions, files: list[LogFile]):
        self.shown, self.options, self.files = shown, options, files
        first = _table(files[0], options)
        self.understood = understand(first, options, files[0].shown)
        if self.understood.preset.sums and "sums" not in options.allow:
            raise TraceError(
                f"{shown}: is {self.understood.preset.title}: its rows are sums over many requests: {A_RATE}"
            )
        self.unfold = None
        reader = self.understood.preset.reader
        if not isinstance(reader, TableReader):
            self.unfold = reader.rows
            first = self._opened(files[0])
            self.understood = self.understood._replace(columns=understand(first, self._as_found, shown).columns)
        require(self.understood, first, files[0].shown)
        self.first = first

    @property
    def _as_found(self) -> LogOptions:
        return self.options.model_copy(update={"format": self.understood.preset.name})

    def _opened(self, file: LogFile) -> Table:
        table = _table(file, self.options)
        if self.unfold is None:
            return table
        if not isinstance(table, JsonTable):
            raise TraceError(f"{file.shown}: {self.understood.preset.title} comes as JSON, not as {table.description}")
        return table.unfolded_by(self.unfold)

    def rows(self) -> Rows:
        for _ in range(50):
            try:
                return self._once()
            except NewKeys:
                self.understood = self.understood._replace(
                    columns=understand(self.first, self._as_found, self.files[0].shown).columns
                )
        raise TraceError(f"{self.shown}: its rows have too many different keys")

    def _once(self) -> Rows:
        gathered = _Gathered(self.options, self.understood)
        for i, file in enumerate(self.files):
            table = self.first if i == 0 else self._opened(file)
            for batch in self._batches(table, i, gathered.paths):
                gathered.add(batch, Place(file.shown, table.place, batch.lines), table)
                if gathered.n_read > MOST_ROWS:
                    raise TraceError(f"{self.shown}: has more than {MOST_ROWS:,} rows; take a part of it")
        packed = f", {self.files[0].compression}" if self.files[0].compression else ""
        parts = f", {len(self.files)} files" if len(self.files) > 1 else ""
        return gathered.rows(self.first.place, f"{self.first.description}{packed}{parts}")

    def _batches(self, table: Table, i: int, paths: list[str]) -> Iterator[Batch]:
        if isinstance(table, JsonTable):
            try:
                yield from table.batches(paths, self.understood.watched if i == 0 else frozenset())
            except NewKeys:
                raise
            return
        yield from table.batches(paths)


def _table(file: LogFile, options: LogOptions) -> Table:
    if file.kind == "json":
        return JsonTable(file, options.encoding)
    if file.kind == "csv":
        return CsvTable(file, options.encoding, options.delimiter)
    return ParquetTable(file)


class _Gathered:
    """Batches as they come, each turned into small typed columns at once."""

    def __init__(self, options: LogOptions, understood: Understood):
        self.options, self.understood = options, understood
        self.columns = understood.columns
        preset = understood.preset
        rules = [rule.column for rule in preset.set_aside]
        self.paths = list(dict.fromkeys([name for names in self.columns.values() for name in names] + rules))
        self.parts: dict[str, list[np.ndarray]] = {"lines": []}
        self.kinds: dict[str, bool] = {}
        zone = options.time.zone or preset.time.zone
        self.format = options.time.format or preset.time.format
        self.dates = Dates(self.format, zone)
        self.codes = {role: Names() for role in NAMED if role in self.columns}
        self.set_aside: Counter = Counter()
        self.n_read = 0
        self.signs = Signs(options.decimal, options.thousands)
        self.blocks = Blocks() if "prefix_blocks" in self.columns else None
        self.prefixes = Prefixes() if "prefix" in self.columns else None

    def add(self, batch: Batch, place: Place, table: Table) -> None:
        self.n_read += len(batch.lines)
        if self.n_read and self.signs.decimal is None and isinstance(table, CsvTable) and table.delimiter != ",":
            self._guess_decimal(batch)
        kept = self._kept(batch)
        if not kept.all():
            columns = {name: values[kept].reset_index(drop=True) for name, values in batch.columns.items()}
            batch = Batch(batch.lines[kept], columns)
            place = Place(place.shown, place.word, batch.lines)
        self.parts["lines"].append(batch.lines)
        for role, names in self.columns.items():
            self._add_role(role, names, batch, place)

    def _guess_decimal(self, batch: Batch) -> None:
        """Where no comma parts the fields, a number with one comma in a column of times has a decimal comma."""
        for role in (*MOMENTS, *DURATIONS):
            for name in self.columns.get(role, []):
                values = batch.columns.get(name)
                if values is not None and values.astype(str).str.fullmatch(r"-?\d+,\d+").any():
                    self.signs.decimal = ","

    def _kept(self, batch: Batch) -> np.ndarray:
        """Which rows are requests to replay, by the preset's rules and the user's choice."""
        kept = np.ones(len(batch.lines), bool)
        for rule in self.understood.preset.set_aside:
            if rule.column not in batch.columns:
                continue
            values = as_text(batch.columns[rule.column]).fillna("").str.casefold().to_numpy(dtype=object)
            out = np.zeros(len(values), bool)
            if rule.filled:
                out |= ~np.isin(values.astype(str), list(UNFILLED))
            if rule.equal:
                out |= np.isin(values.astype(str), [value.casefold() for value in rule.equal])
            if rule.unlike:
                out |= ~np.isin(values.astype(str), [value.casefold() for value in rule.unlike]) & (values != "")
            self._count(rule.why, kept & out)
            kept &= ~out
        for role in NAMED:
            wanted = self.options.keep.of(role)
            if wanted and role not in self.columns:
                raise TraceError(
                    f"arrivals.keep.{role}: the log has no column for it; say arrivals.columns.{role}=NAME"
                )
            if wanted:
                values = self._coalesced(self.columns[role], batch)
                out = ~as_text(values).isin(wanted).to_numpy()
                self._count(f"another {role}", kept & out)
                kept &= ~out
        return kept

    def _count(self, why: str, rows: np.ndarray) -> None:
        if rows.any():
            self.set_aside[why] += int(rows.sum())

    def _coalesced(self, names: list[str], batch: Batch) -> pd.Series:
        values = batch.columns.get(names[0])
        if values is None:
            values = pd.Series([None] * len(batch.lines), dtype=object)
        for name in names[1:]:
            other = batch.columns.get(name)
            if other is not None and empty(values).any():
                values = values.astype(object).where(~empty(values), other.astype(object))
        return values

    def _add_role(self, role: str, names: list[str], batch: Batch, place: Place) -> None:
        values, name = self._coalesced(names, batch), names[0]
        if role in MOMENTS:
            self._add_moments(role, name, values, place)
            return
        if role in TOKENS or role in ("continues", "n_requests", "total"):
            found: Any = tokens(self.signs.plain(values), place, name)
        elif role in DURATIONS:
            found = seconds(self.signs.plain(values), place, name, "is not a number of seconds >= 0")
            place.refuse(name, values, found < 0, "is not a number of seconds >= 0")
        elif role in NAMED:
            found = self.codes[role].read(values)
        elif role in ("session", "id", "parent"):
            found = hashed(values)
        elif role in ("turn", "priority", "block_tokens"):
            found = self._whole(role, name, values, place)
        elif role == "prefix_blocks":
            assert self.blocks is not None, "made for a log with this column"
            self.blocks.add(values, place, name)
            return
        elif role == "prefix":
            assert self.prefixes is not None, "made for a log with this column"
            self.prefixes.add(values, place, name)
            return
        else:  # wait_for: whether there is anything
            found = ~empty(values) & np.array([bool(np.size(v)) for v in values], bool)
        self.parts.setdefault(role, []).append(found)

    def _whole(self, role: str, name: str, values: pd.Series, place: Place) -> np.ndarray:
        found, missing = numbers(values), empty(values)
        law = "is not a whole number"
        if role == "priority":
            place.refuse(name, values, missing, law)
        with np.errstate(invalid="ignore"):
            place.refuse(name, values, ~missing & ~((found == np.floor(found)) & (np.abs(found) < 2**31)), law)
        return np.where(missing, -1, found).astype(np.int64)

    def _add_moments(self, role: str, name: str, values: pd.Series, place: Place) -> None:
        if role not in self.kinds and (~empty(values)).any():
            self.kinds[role] = self.format is not None or is_dated(self.signs.plain(values))
            if name.endswith("_s") and self.kinds[role]:
                self.kinds[role] = False
        if self.kinds.get(role, False):
            if self.format is not None and values.dtype.kind in "iuf":
                values = as_text(values)
            found = self.dates.read(values, place, name)
        else:
            found = seconds(self.signs.plain(values), place, name, "is not a number of seconds")
        self.parts.setdefault(role, []).append(found)

    def rows(self, place: str, container: str) -> Rows:
        def whole(role: str) -> np.ndarray:
            parts = self.parts.pop(role, [])
            return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0)

        lines = whole("lines")
        moments = {}
        for role in MOMENTS:
            if role in self.parts:
                moments[role] = Moments(self.columns[role][0], self._even(role, whole), self.kinds.get(role, False))
        columns = {role: whole(role) for role in list(self.parts)}
        names = {role: codes.names for role, codes in self.codes.items()}
        sign = ", decimal comma" if self.signs.decimal == "," else ""
        return Rows(
            self.understood, place, container + sign, lines, moments, columns, names, self.dates, self.n_read,
            self.set_aside, self.blocks, self.prefixes,
        )  # fmt: skip

    def _even(self, role: str, whole: Callable[[str], np.ndarray]) -> np.ndarray:
        """A column whose first batches were empty is of the kind of the later ones."""
        if self.kinds.get(role, False):
            self.parts[role] = [
                part if part.dtype == np.int64 else np.full(len(part), np.iinfo(np.int64).min)
                for part in self.parts[role]
            ]
        return whole(role)
