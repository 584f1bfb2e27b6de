"""Prefix blocks: which blocks of tokens each prompt is made of, and how large a block is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from sim.schema import TraceError
from sim.workload.logs.values import Place, as_written

_SIZES = (512, 16, 32, 64, 128, 256, 1024, 2048, 4096)
_NAMES = frozenset({int, str, tuple})
"""Types of the names of blocks; not bool, which is an int of its own."""


class Blocks:
    """The block ids of all rows, end to end, numbered from 0 in the order in which they appear.

    Ids are names of any kind and size. A block that a prompt has twice is another one the second time: a prefix cache
    knows a block by all that comes before it, too.
    """

    def __init__(self):
        self._numbers: defaultdict[Any, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__  # A new name gets the next number.
        self._ids: list[np.ndarray] = []  # whole numbers stand for themselves until another kind of name comes
        self._counts: list[np.ndarray] = []
        self.flat = self.counts = np.empty(0, np.int64)

    def add(self, values: pd.Series, place: Place, column: str) -> None:
        """The ids of some rows. Raises TraceError."""
        rows: list[list] = []
        for i, row in enumerate(values):
            if row is None or (isinstance(row, float) and row != row):
                row = []
            elif isinstance(row, np.ndarray):
                row = row.tolist()
            if not isinstance(row, list):
                raise _no_list(row, i, place, column)
            rows.append(row)
        kinds = set(map(type, chain.from_iterable(rows)))
        if not kinds <= _NAMES:
            i = next(i for i, row in enumerate(rows) if not _NAMES.issuperset(map(type, row)))
            raise _no_list(rows[i], i, place, column)
        ids = None if self._numbers or not kinds <= {int} else _whole_numbers(rows)
        if ids is None:
            if not self._numbers:
                self._ids = [self._numbered(part.tolist()) for part in self._ids]
            rows = [_distinguished(row) if len(set(row)) < len(row) else row for row in rows]
            ids = self._numbered(chain.from_iterable(rows))
        self._ids.append(ids)
        self._counts.append(np.fromiter(map(len, rows), np.int64, len(rows)))

    def _numbered(self, names: Iterable) -> np.ndarray:
        return np.fromiter(map(self._numbers.__getitem__, names), np.int64)

    def take(self, kept: np.ndarray) -> None:
        """Keep only the rows with these indices, int64[n], in this order."""
        self._whole()
        self.counts, begins = self.counts[kept], (np.cumsum(self.counts) - self.counts)[kept]
        offsets = np.concatenate(([0], np.cumsum(self.counts)))
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], self.counts)
        self.flat = self.flat[np.repeat(begins, self.counts) + within]

    def _whole(self) -> None:
        if self._ids:
            self.flat, self.counts = np.concatenate(self._ids), np.concatenate(self._counts)
            self._ids, self._counts = [], []

    def numbered(self) -> tuple[np.ndarray, np.ndarray]:
        """The blocks of all rows, int64[m], numbered from 0 in order of appearance, and offsets, int64[n + 1].

        Row i has the blocks [offsets[i]:offsets[i + 1]].
        """
        self._whole()
        self._numbers.clear()
        return _in_order_of_appearance(self.flat), np.concatenate(([0], np.cumsum(self.counts)))

    @property
    def has_any(self) -> bool:
        """Whether any row has blocks."""
        self._whole()
        return len(self.flat) > 0

    def begins(self) -> tuple[np.ndarray, np.ndarray]:
        """The index of each row's first block, int64[n], and the number of its blocks, int64[n]."""
        self._whole()
        return np.cumsum(self.counts) - self.counts, self.counts


def _no_list(row: Any, i: int, place: Place, column: str) -> TraceError:
    where = f"{place.shown}, {place.word} {place.lines[i]}, column {column!r}"
    return TraceError(f"{where}: {as_written(row)} is not a list of names of blocks")


def _whole_numbers(rows: list[list[int]]) -> np.ndarray | None:
    """The names of all rows end to end, int64[m]; None if one is too large, or a row has a name twice."""
    try:
        flat = np.fromiter(chain.from_iterable(rows), np.int64)
    except OverflowError:
        return None
    ends = np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))
    falls = np.diff(flat) <= 0  # The names of most rows rise, so that none of them comes twice.
    falls[ends[(ends > 0) & (ends < len(flat))] - 1] = False  # What comes next belongs to another row.
    others = np.unique(np.searchsorted(ends, np.flatnonzero(falls), side="right")).tolist()
    return flat if all(len(set(row)) == len(row) for row in map(rows.__getitem__, others)) else None


def _in_order_of_appearance(names: np.ndarray) -> np.ndarray:
    """Names, int64[m], numbered from 0: `pd.factorize`, but that it needs no hashes where names are small."""
    if not len(names) or names.min() < 0 or names.max() > 4 * len(names):
        return pd.factorize(names)[0].astype(np.int64)
    places = np.arange(len(names))
    first = np.empty(int(names.max()) + 1, np.int64)
    first[names[::-1]] = places[::-1]  # Of several places the last one stays, which is here the first one in order.
    first_of_each = first[names]
    return (np.cumsum(first_of_each == places) - 1)[first_of_each]


def _distinguished(row: list) -> list:
    seen: dict[Any, int] = {}
    apart = []
    for name in row:
        times = seen.get(name, 0)
        seen[name] = times + 1
        apart.append((name, times) if times else name)
    return apart


def size_of_blocks(input_tokens: np.ndarray, counts: np.ndarray, given: int | None, usual: int | None) -> int | None:
    """Tokens of a block: as given, or as usual for the format where every row can have it, or one size that fits all.

    A row with blocks fits a size if the blocks cover its prompt: ceil or floor of input / size. None if none fits.
    `input_tokens` and `counts`, the blocks of each row, are int64[n].
    """
    if given is not None:
        return given
    has = counts > 0
    tokens, n = input_tokens[has], counts[has]
    if usual is not None and (n == -(-tokens // usual)).all():
        return usual
    fitting = [size for size in _SIZES if ((n == -(-tokens // size)) | (n == tokens // size)).all()]
    if fitting and len(tokens):
        return fitting[0] if usual not in fitting else usual
    return usual if usual is not None and (n <= -(-tokens // usual)).all() else None


def whole_or_added(
    task_ids: np.ndarray, input_tokens: np.ndarray, output_tokens: np.ndarray, lists: Blocks | None
) -> str | None:
    """Whether later inputs of a task are whole prompts or what was added to them; None if neither is clear.

    Whole prompts begin with the blocks of the one before (but for its last, partial block) and can hold it and its
    answer; added ones share no block with it. The answer is clear if at least nine in ten of the later calls agree.
    The arrays are int64[n], one entry per call.
    """
    order = np.argsort(task_ids, kind="stable")
    later = order[1:][task_ids[order[1:]] == task_ids[order[:-1]]]
    before = order[:-1][task_ids[order[1:]] == task_ids[order[:-1]]]
    if not len(later):
        return "whole"
    if lists is None or not lists.has_any:
        holds = input_tokens[later] >= input_tokens[before] + output_tokens[before]
        return "whole" if holds.mean() >= 0.9 else None
    begins, counts = lists.begins()
    whole = added = 0
    for i, j in zip(before.tolist(), later.tolist(), strict=True):
        old = lists.flat[begins[i] : begins[i] + counts[i]]
        new = lists.flat[begins[j] : begins[j] + counts[j]]
        n = max(len(old) - 1, 1)
        whole += len(new) >= n and bool((new[:n] == old[:n]).all())
        added += not np.isin(new, old).any()
    return "whole" if whole >= 0.9 * len(later) else "added" if added >= 0.9 * len(later) else None
