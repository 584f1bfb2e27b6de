"""Tables as columns by name: in memory, or on disk where a run is too long for that, and read one at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sim.schema import ConfigError

Columns = Mapping[str, np.ndarray]
"""Columns of one length by name: a dict, or one of the classes below, whose columns are made anew at each look-up."""

BLOCK_ROWS = 1 << 20
"""A table of fewer rows stays in memory; a longer one is written to disk in blocks of as many, 160 MB of requests."""

ROWS_AT_ONCE = 1 << 18
"""Rows of a block. Work on rows is done block by block: its temporaries take memory for a block, not for the table."""


class OnDisk(Mapping[str, np.ndarray]):
    """A table in a temporary file without a name, which is gone with this object, or with the process.

    `folder`: where the file lies; None: among the system's temporary files. Raises ConfigError if it cannot be written.
    """

    def __init__(self, dtype: np.dtype, folder: Path | None):
        self.n_rows = 0
        self._dtype = dtype
        self._folder = folder
        self._begins: list[int] = []  # by block: its first row
        try:
            self._file: Any = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  open as long as the table
        except OSError as error:
            raise self._unwritable(error) from None

    def append(self, rows: Sequence[bytes | bytearray]) -> None:
        """Write packed rows, column after column."""
        columns = unpacked(rows, self._dtype)
        self._begins.append(self.n_rows)
        self.n_rows += n_rows(columns)
        try:
            self._file.seek(0, os.SEEK_END)
            for column in columns.values():
                left = column.data.cast("B")
                while left:
                    left = left[self._file.write(left) :]
        except OSError as error:
            raise self._unwritable(error) from None

    def between(self, name: str, begin: int, end: int) -> np.ndarray:
        """The rows [begin, end) of a column."""
        dtype = self._dtype[name]
        assert self._dtype.fields is not None
        found, before = np.empty(end - begin, dtype), self._dtype.fields[name][1]
        for first, after in zip(self._begins, [*self._begins[1:], self.n_rows], strict=True):
            low, high = max(begin, first), min(end, after)
            if low < high:
                # Of the block's columns, those before this one have `before` bytes in every row.
                start = first * self._dtype.itemsize + (after - first) * before + (low - first) * dtype.itemsize
                self._read(found[low - begin : high - begin], start)
        return found

    def _read(self, into: np.ndarray, start: int) -> None:
        self._file.seek(start)
        left = into.data.cast("B")
        while left:
            left = left[self._file.readinto(left) :]

    def _unwritable(self, error: OSError) -> ConfigError:
        where, why = self._folder or tempfile.gettempdir(), error.strerror or error
        return ConfigError(
            f"{where}: {why}; tables of {BLOCK_ROWS:,} rows or more are kept there while a run lasts, output.dir names "
            "another folder"
        )

    def __getitem__(self, name: str) -> np.ndarray:
        return self.between(name, 0, self.n_rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._dtype.names or ())

    def __len__(self) -> int:
        return len(self._dtype.names or ())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # for another process, which does not have the file


def unpacked(chunks: Sequence[bytes | bytearray], dtype: np.dtype) -> dict[str, np.ndarray]:
    """The columns of packed rows."""
    total = sum(map(len, chunks)) // dtype.itemsize
    columns, begin = {name: np.empty(total, dtype[name]) for name in dtype.names or ()}, 0
    for chunk in chunks:  # one after another, so that all columns find it in the cache
        rows = np.frombuffer(chunk, dtype)
        end = begin + len(rows)
        for name, column in columns.items():
            column[begin:end] = rows[name]
        begin = end
    return columns


class _Selected(Mapping[str, np.ndarray]):
    """Some rows of a table that is not in memory."""

    def __init__(self, columns: Columns, rows: np.ndarray):
        self._columns = columns
        self._rows = rows
        self.n_rows = int(np.count_nonzero(rows)) if rows.dtype == np.bool_ else len(rows)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name][self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def n_rows(columns: Columns) -> int:
    """How many rows a table has."""
    if isinstance(columns, OnDisk | _Selected):
        return columns.n_rows
    return len(next(iter(columns.values())))


def select(columns: Columns, rows: np.ndarray) -> Columns:
    """These rows of a table: bool[n], or int64 row numbers. In memory if the table is."""
    if isinstance(columns, OnDisk | _Selected):
        return _Selected(columns, rows)
    return {name: column[rows] for name, column in columns.items()}


def blocks(columns: Columns, *names: str) -> Iterator[tuple[int, Columns]]:
    """(first row, the columns `names` of at most ROWS_AT_ONCE rows) for all rows of a table, in order; all columns if
    none is named."""
    n, wanted = n_rows(columns), names or tuple(columns)
    for begin in range(0, n, ROWS_AT_ONCE):
        end = min(begin + ROWS_AT_ONCE, n)
        if isinstance(columns, OnDisk):
            yield begin, {name: columns.between(name, begin, end) for name in wanted}
        else:
            yield begin, {name: columns[name][begin:end] for name in wanted}


def folder_for(output_dir: str) -> Path:
    """Where tables too long for memory go: the folder of results, or the nearest one above that exists; the system's
    folder of temporary files if that is not ours to write."""
    wanted = Path(output_dir).absolute()
    found = next(place for place in (wanted, *wanted.parents) if place.is_dir())
    return found if os.access(found, os.W_OK) else Path(tempfile.gettempdir())
