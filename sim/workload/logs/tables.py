"""Tables of rows in batches: the base of JSON, CSV, Parquet and Arrow files, and of those with a header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from sim.workload.logs.files import LogFile
from sim.workload.logs.paths import dig

BATCH_ROWS = 1 << 16
"""Rows of a batch, where the reader of a format lets us choose."""


class Batch(NamedTuple):
    """Some rows of one file: their line or row numbers in it, int64[n] from 1, and the columns asked for, null where a
    row has no value."""

    lines: np.ndarray
    columns: dict[str, pd.Series]


class Table:
    """A source of rows. `place` is the word for one of them in messages: line, row or entry."""

    place = "row"

    def __init__(self, file: LogFile):
        self.file = file

    @property
    def description(self) -> str:
        """The format, in words for the receipt."""
        raise NotImplementedError

    @property
    def names(self) -> Sequence[str]:
        """The columns, as far as they are known."""
        raise NotImplementedError

    def has(self, path: str) -> bool:
        """Whether there is a column of that name, or something at that path within the first rows."""
        raise NotImplementedError

    def batches(self, paths: Sequence[str]) -> Iterator[Batch]:
        """The rows, with one column per path. Raises TraceError."""
        raise NotImplementedError


class Columnar(Table):
    """A table that knows its columns by a header; a path may lead into JSON that a cell holds, or into a struct."""

    def _head(self) -> Batch:
        """The first batch, with every column; empty if the file has no rows."""
        none = Batch(np.empty(0), {name: pd.Series(dtype=object) for name in self.names})
        return next(self.batches(self.names), none)

    def has(self, path: str) -> bool:
        if path in self.names:
            return True
        column = self._column_of(path)
        if column is None:
            return False
        values = self._head().columns[column]
        return any(dig(value, path[len(column) + 1 :]) is not None for value in values[:1000])

    def _column_of(self, path: str) -> str | None:
        """The column that holds a path: of that name, or of one that the path begins with."""
        if path in self.names:
            return path
        heads = [name for name in self.names if path.startswith(f"{name}.")]
        return max(heads, key=len, default=None)

    def _picked(self, columns: dict[str, pd.Series], paths: Sequence[str]) -> dict[str, pd.Series]:
        picked = {}
        for path in paths:
            column = self._column_of(path)
            if column is None:
                continue
            values = columns[column]
            if column != path:
                rest = path[len(column) + 1 :]
                values = pd.Series([dig(value, rest) for value in values], dtype=object)
            picked[path] = values
        return picked
