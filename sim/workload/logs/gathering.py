"""From batches to columns: every row is kept, or set aside for a reason that is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sim.schema import TraceError
from sim.workload.logs.blocks import Blocks
from sim.workload.logs.columns import Understood
from sim.workload.logs.csv_table import CsvTable
from sim.workload.logs.moments import Moments
from sim.workload.logs.prefixes import Prefixes
from sim.workload.logs.roles import DURATIONS, KEPT, MOMENTS, NAMED, TOKENS, LogOptions
from sim.workload.logs.tables import Batch, Table
from sim.workload.logs.values import (
    Dates,
    Names,
    Place,
    Signs,
    as_text,
    empty,
    hashed,
    is_dated,
    lists_of_names,
    numbers,
    seconds,
    tokens,
)

UNFILLED = {"", "false", "none", "null", "0", "0.0", "{}", "[]", "nan"}
"""Texts of cells that count as not filled."""


@dataclass
class Rows:
    """The rows of a log, as columns by role, in the order of the file; not yet sorted, moments not yet in seconds.

    Columns have one entry per row: `lines` (int64, from 1) are the rows' places in their file; `numbers` by role are
    tokens (int64, -1 if absent), seconds (float64, NaN if absent), or indices into `names[role]` (int64).
    """

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
        """Keep only the rows with these indices, int64[n], in this order."""
        self.lines = self.lines[kept]
        for role, found in self.moments.items():
            self.moments[role] = found._replace(values=found.values[kept])
        for role in list(self.numbers):
            self.numbers[role] = self.numbers[role][kept]
        if self.lists is not None:
            self.lists.take(kept)
        if self.prefixes is not None:
            self.prefixes.take(kept)


class Gathered:
    """Turns batches into typed columns, one batch after the other, so that no text of a whole file is in memory."""

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
        """Take the comma for a decimal one if a column of times has numbers with one, and commas part no fields."""
        for role in (*MOMENTS, *DURATIONS):
            for name in self.columns.get(role, []):
                values = batch.columns.get(name)
                if values is not None and values.astype(str).str.fullmatch(r"-?\d+,\d+").any():
                    self.signs.decimal = ","

    def _kept(self, batch: Batch) -> np.ndarray:
        """bool[n]: which rows are requests to replay, by the preset's rules and the user's choice."""
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
        if role in TOKENS or role in ("n_requests", "total", *KEPT):
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
        else:  # Role wait_for.
            found = lists_of_names(values)
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
