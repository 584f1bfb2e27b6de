"""JSON in batches: lines of objects, one array of them, or one object; unfolded by a reader if the format has one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd
from pydantic_core import from_json

from sim.schema import TraceError
from sim.workload.logs.files import LogFile
from sim.workload.logs.paths import dig, heads_of
from sim.workload.logs.readers.reader import Documents
from sim.workload.logs.tables import BATCH_ROWS, Batch, Table

Unfold = Callable[[Documents], Documents]

_SAMPLE_ROWS = 2000
MOST_BYTES = 1 << 30
"""A single JSON value longer than this is refused: it would have to be held in memory whole."""


def parsed(text: str) -> Any:
    """What `json.loads` makes of a text, to the last bit, in a third of the time. Raises what it raises."""
    try:
        return from_json(text)
    except (ValueError, TypeError):  # It accepts less, single surrogates for instance, and words its errors otherwise.
        return json.loads(text)


class NewKeys(Exception):
    """Rows have keys that none of the rows looked at before had."""


class JsonTable(Table):
    """JSON objects as rows. Columns are what the first rows have; later keys are noticed by `batches`."""

    def __init__(self, file: LogFile, encoding: str | None, unfold: Unfold | None = None):
        super().__init__(file)
        self.encoding = encoding or file.encoding or "utf-8-sig"
        self.place = "line"
        self._unfold = unfold
        self._sample: list[dict] = []
        self._extra: list[dict] = []
        self._top_keys: set[str] = set()
        self._fill_sample()

    def _fill_sample(self) -> None:
        self._sample = [row for _, row in islice(self.rows(), _SAMPLE_ROWS)]
        self._top_keys = set().union(*self._sample)
        if not self._sample:
            raise TraceError(f"{self.file.shown}: holds no request")

    def unfolded_by(self, unfold: Unfold) -> JsonTable:
        """The same file, its documents unfolded into rows."""
        return JsonTable(self.file, self.encoding, unfold)

    @property
    def description(self) -> str:
        return "JSON" if self.place == "entry" else "JSON lines"

    @property
    def names(self) -> Sequence[str]:
        return list(dict.fromkeys(key for row in chain(self._sample[:100], self._extra) for key in row))

    def has(self, path: str) -> bool:
        if self._top_keys.isdisjoint(heads_of(path)):
            return False  # Most paths of all formats end here, without a look at each row.
        return any(dig(row, path) is not None for row in chain(self._sample, self._extra))

    def rows(self) -> Documents:
        """The rows, unfolded. Raises TraceError."""
        if self._unfold is None:
            yield from self.documents()
            return
        try:
            yield from self._unfold(self.documents())
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise TraceError(f"{self.file.shown}: holds an object that is not as its format has it: {reason}") from None

    def documents(self) -> Documents:
        """The JSON objects as the file has them. Raises TraceError."""
        with self.file.open() as content:
            text = io.TextIOWrapper(content, encoding=self.encoding, newline="\n")
            try:
                yield from self._parsed(text)
            except (UnicodeError, LookupError):
                raise TraceError(
                    f"{self.file.shown}: is not text in {self.encoding}; "
                    "if it is in another encoding, say which: arrivals.encoding=latin-1"
                ) from None
            except RecursionError:
                raise TraceError(f"{self.file.shown}: is nested too deeply") from None

    def _parsed(self, text: io.TextIOWrapper) -> Documents:
        lines = enumerate(text, 1)
        begun = next(((number, line) for number, line in lines if line.strip()), None)
        if begun is None:
            return
        first, is_whole = _attempt(begun[1])
        second = next(((number, line) for number, line in lines if line.strip()), None) if is_whole else None
        if not is_whole or isinstance(first, list) or (second is None and _entries(first) != [first]):
            yield from self._one_value(begun[1], text, begun[0])
            return
        for number, line in chain([begun] if second is None else [begun, second], lines):
            if not line.isspace():
                yield number, self._object(line, number)

    def _one_value(self, begun: str, text: io.TextIOWrapper, line: int) -> Documents:
        """The entries of one array that the file is, or the one object."""
        content = begun + text.read(MOST_BYTES)
        if len(content) >= MOST_BYTES:
            raise TraceError(f"{self.file.shown}: is one JSON value of more than 1 GB; make it JSON lines")
        try:
            value = json.loads(content)
        except ValueError as error:
            number = getattr(error, "lineno", 1) + line - 1
            raise TraceError(f"{self.file.shown}, line {number}: is not JSON: {error}") from None
        self.place = "entry"
        for number, entry in enumerate(_entries(value), 1):
            if not isinstance(entry, dict):
                raise TraceError(f"{self.file.shown}, entry {number}: is not a JSON object")
            yield number, entry

    def _object(self, text: str, line: int) -> dict[str, Any]:
        try:
            row = parsed(text)
        except ValueError as error:
            raise TraceError(f"{self.file.shown}, line {line}: is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise TraceError(f"{self.file.shown}, line {line}: is not a JSON object")
        return row

    def batches(self, paths: Sequence[str], watched: frozenset[str] = frozenset()) -> Iterator[Batch]:
        """The rows, with one column per path. Raises NewKeys when rows have keys of the `watched`, and the first ones
        did not."""
        rows = iter(self.rows())
        missing = watched.difference(*self._sample, *self._extra)
        while block := list(islice(rows, BATCH_ROWS)):
            if missing:
                new = [row for _, row in block if not missing.isdisjoint(row)]
                if new:
                    self._extra += [
                        next(row for row in new if key in row) for key in missing.intersection(*[set().union(*new)])
                    ]
                    self._top_keys = self._top_keys.union(*self._extra)
                    raise NewKeys
            lines = np.fromiter((line for line, _ in block), np.int64, len(block))
            yield Batch(lines, {path: _column(block, path) for path in paths})


def _column(block: list[tuple[int, dict]], path: str) -> pd.Series:
    if "." not in path:
        return pd.Series([row.get(path) for _, row in block], dtype=object)
    return pd.Series([dig(row, path) for _, row in block], dtype=object)


_HOLD_MORE = {"requests", "resourceSpans", "spans", "sub_requests", "has_more", "event", "timing_events", "messages"}
"""Keys of single objects that are no mere wrapper around a list of rows."""


def _entries(value: Any) -> list[Any]:
    """The rows of one JSON value: a list, the one list of objects in an object around it, or the object itself."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and _HOLD_MORE.isdisjoint(value):
        lists = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
        if len(lists) == 1:
            return lists[0]
    return [value]


def _attempt(line: str) -> tuple[Any, bool]:
    try:
        return parsed(line), True
    except ValueError:
        return None, line.strip()[:1] == "{" and line.strip()[-1:] == "}"
