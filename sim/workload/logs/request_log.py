"""Readers of real request logs: whatever the format, one columnar RequestLog of seconds and tokens comes out.

- `azure` (CSV): `TIMESTAMP` (date-time, any number of digits, no zone = UTC), `ContextTokens`, `GeneratedTokens`.
- `mooncake` (JSON lines): `timestamp` (ms), `input_length`, `output_length`, optional `hash_ids` (ids of the prompt's
  512-token blocks; equal leading ids are a shared prefix; the last block may be partial).
- `plain` (CSV or Parquet): `arrived_s` (seconds) or `timestamp` (seconds or date-time; no zone = UTC), `input_tokens`,
  `output_tokens`, optional `task_id` (or `session_id`) and `wait_s`. Rows of one task id are the calls of one task, in
  order of time. `wait_s` is the tool or human time before the call; without the column it is the recorded gap between
  the two calls, which also contains the recorded service time. Optional `prefix` says which texts a prompt begins with,
  as `name:tokens` in their order ("system-3:100 manual:900"): prompts that begin alike share that much KV cache.
  Optional `priority` (a whole number, lower = more urgent) of a task, at its first call.

Laws: time 0 is the first row; rows come sorted by time; token counts are whole and not negative (else TraceError); rows
with no input or no output tokens are failed requests: dropped and counted. What was done to a log is in its `notes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sim.schema import TraceError
from sim.work import Segment
from sim.workload.logs.containers import AZURE_COLUMNS, MOONCAKE_KEYS, LogFormat, raw_table

MOONCAKE_BLOCK_TOKENS = 512  # Mooncake FAST25 release, README: hash_ids name blocks of 512 tokens
MOST_SECONDS = 1e11
"""Number stamps beyond this, the year 5138 as seconds since 1970, are taken for milliseconds and refused."""


@dataclass(frozen=True, eq=False)
class RequestLog:
    """A log of n requests in order of time. Columns are read-only and have n entries unless said otherwise."""

    path: str
    sha256: str
    arrived_s: np.ndarray  # float64, first is 0
    input_tokens: np.ndarray  # int64, >= 1
    output_tokens: np.ndarray  # int64, >= 1
    lines: np.ndarray  # where in the file each row stands, from 1
    hash_ids: np.ndarray | None = None  # all rows' blocks, end to end, numbered 0, 1, ... in order of appearance
    hash_offsets: np.ndarray | None = None  # n + 1: row i owns hash_ids[hash_offsets[i]:hash_offsets[i + 1]]
    block_tokens: int | None = None
    task_ids: np.ndarray | None = None  # 0, 1, ... in order of each task's first call
    wait_s: np.ndarray | None = None
    priorities: np.ndarray | None = None  # lower = more urgent
    prefixes: np.ndarray | None = None  # of tuples of Segments: what each prompt begins with
    tick_s: float | None = None  # grid that the time stamps sit on, if they visibly do
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.arrived_s)

    @property
    def span_s(self) -> float:
        """From the first arrival to the last."""
        return float(self.arrived_s[-1])


def read_log(path: str, format: LogFormat = "auto") -> RequestLog:
    """Read a request log, once per file content. Raises TraceError naming file, line and column."""
    file = Path(path).expanduser()
    try:
        stat = file.stat()
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    return _read(str(file), path, format, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _read(file: str, path: str, format: LogFormat, _mtime_ns: int, _size: int) -> RequestLog:
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    digest = sha256(content).hexdigest()
    rows = _Rows(path, raw_table(path, file, content, format))
    return rows.log(digest)


class _Rows:
    """One raw table on its way to a RequestLog."""

    def __init__(self, path: str, table: tuple[str, pd.DataFrame]):
        self.path = path
        self.format, self.frame = table
        self.place = "row" if self.frame.index.name == "row" else "line"
        self.notes: list[str] = []

    def log(self, digest: str) -> RequestLog:
        columns = {"azure": self._azure, "mooncake": self._mooncake, "plain": self._plain}[self.format]()
        n_rows = len(self.frame)
        columns["lines"] = self.frame.index.to_numpy()
        served = (columns["input_tokens"] > 0) & (columns["output_tokens"] > 0)
        if not served.all():
            self.notes.append(f"{n_rows - served.sum()} of {n_rows} rows without input or output tokens were dropped")
        if not served.any():
            raise TraceError(f"{self.path}: holds no request")
        keep = np.flatnonzero(served)
        arrived_s = columns["arrived_s"]
        if (np.diff(arrived_s[keep]) < 0).any():
            self.notes.append(f"{int((np.diff(arrived_s[keep]) < 0).sum())} rows were out of order; the log was sorted")
            keep = keep[np.argsort(arrived_s[keep], kind="stable")]
        columns = {name: column[keep] for name, column in columns.items()}
        columns["arrived_s"] = columns["arrived_s"] - columns["arrived_s"][0]
        columns |= self._blocks(columns, keep)
        if "task_ids" in columns:
            columns["task_ids"] = pd.factorize(columns["task_ids"])[0]
        for column in columns.values():
            if isinstance(column, np.ndarray):
                column.flags.writeable = False
        tick_s = _tick_s(columns["arrived_s"])
        return RequestLog(self.path, digest, tick_s=tick_s, notes=tuple(self.notes), **columns)

    def _azure(self) -> dict[str, np.ndarray]:
        when, prompt, answer = AZURE_COLUMNS
        self._require(*AZURE_COLUMNS)
        return self._columns(self._moment(when), prompt, answer)

    def _mooncake(self) -> dict[str, np.ndarray]:
        when, prompt, answer = MOONCAKE_KEYS
        milliseconds = self._number(when, np.isfinite, "a number of milliseconds")
        self._refuse(when, np.abs(milliseconds) > 1e3 * MOST_SECONDS, "looks like microseconds, must be milliseconds")
        return self._columns(milliseconds / 1000.0, prompt, answer)

    def _plain(self) -> dict[str, np.ndarray]:
        when = "arrived_s" if "arrived_s" in self.frame or "timestamp" not in self.frame else "timestamp"
        self._require(when, "input_tokens", "output_tokens")
        arrived_s = self._moment(when) if when == "timestamp" and _dated(self.frame[when]) else self._seconds(when)
        found = self._columns(arrived_s, "input_tokens", "output_tokens")
        if "prefix" in self.frame:
            found["prefixes"] = self._prefixes(found["input_tokens"])
        if "priority" in self.frame:
            priorities = self._number("priority", lambda v: (np.abs(v) < 2**31) & (v == np.floor(v)), "a whole number")
            found["priorities"] = priorities.astype(np.int64)
        task = next((name for name in ("task_id", "session_id") if name in self.frame), None)
        if task:
            self._refuse(task, self.frame[task].isna().to_numpy(), "must not be empty")
            found["task_ids"] = self.frame[task].to_numpy()
            if "wait_s" in self.frame:
                found["wait_s"] = self._number("wait_s", lambda v: (v >= 0) & (v < np.inf), "a number of seconds >= 0")
        return found

    def _prefixes(self, input_tokens: np.ndarray) -> np.ndarray:
        """What each prompt begins with. A text is known by its name and all that stands before it."""
        texts = self.frame["prefix"].astype(object).fillna("").astype(str)
        law = "is not name:tokens (and more, separated by spaces), together at most the input tokens"
        parsed = {text: _segments(text) for text in texts.unique()}
        bad = [parsed[text] is None or sum(n for _, n in parsed[text]) > room
               for text, room in zip(texts, input_tokens.tolist(), strict=True)]  # fmt: skip
        self._refuse("prefix", np.array(bad), law)
        found = np.empty(len(texts), dtype=object)
        found[:] = [parsed[text] for text in texts]
        return found

    def _columns(self, arrived_s: np.ndarray, prompt: str, answer: str) -> dict[str, np.ndarray]:
        return {"arrived_s": arrived_s, "input_tokens": self._tokens(prompt), "output_tokens": self._tokens(answer)}

    def _require(self, *names: str) -> None:
        for name in names:
            if name not in self.frame:
                found = ", ".join(map(str, self.frame.columns))
                raise TraceError(f"{self.path}, {self.place} 1, column {name!r}: is missing; found {found}")

    def _moment(self, name: str) -> np.ndarray:
        """Date-times as seconds since the earliest, to the nanosecond."""
        stamps = self.frame[name]
        stamps = stamps if pd.api.types.is_datetime64_any_dtype(stamps) else stamps.astype(str)
        moments = pd.to_datetime(stamps, format="ISO8601", utc=True, errors="coerce")
        self._refuse(name, moments.isna().to_numpy(), "is not a date and time")
        self._refuse(name, ~moments.dt.year.between(1678, 2261).to_numpy(), "is not a year from 1678 to 2261")
        ns = moments.to_numpy(dtype="datetime64[ns]").view(np.int64)
        return (ns - ns.min()) / 1e9 if len(ns) else ns.astype(float)

    def _seconds(self, name: str) -> np.ndarray:
        seconds = self._number(name, np.isfinite, "a number of seconds")
        self._refuse(name, np.abs(seconds) > MOST_SECONDS, "looks like milliseconds, must be seconds")
        return seconds

    def _tokens(self, name: str) -> np.ndarray:
        def whole(v):
            return (v >= 0) & (v < 2**31) & (v == np.floor(v))

        return self._number(name, whole, "a whole number of tokens >= 0").astype(np.int64)

    def _number(self, name: str, law: Callable[[np.ndarray], np.ndarray], said: str) -> np.ndarray:
        column = self.frame[name]
        if column.dtype.kind in "mM":  # its numbers would be of whatever unit the file keeps moments in
            self._refuse(name, np.ones(len(column), bool), f"is not {said}")
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        self._refuse(name, ~law(values), f"is not {said}")
        return values

    def _refuse(self, name: str, bad: np.ndarray, said: str) -> None:
        if bad.any():
            at = int(bad.argmax())
            value = _shown(self.frame[name].iloc[at])
            raise TraceError(f"{self.path}, {self.place} {self.frame.index[at]}, column {name!r}: {value} {said}")

    def _blocks(self, columns: dict[str, np.ndarray], keep: np.ndarray) -> dict[str, Any]:
        """Block ids end to end, in the order of the kept rows."""
        if self.format != "mooncake" or self.frame["hash_ids"].isna().all():
            return {}
        ids = self.frame["hash_ids"].tolist()
        ids = [[] if ids[i] is None else ids[i] for i in keep]
        room = -(-columns["input_tokens"] // MOONCAKE_BLOCK_TOKENS)
        for row, most, line in zip(ids, room.tolist(), columns["lines"].tolist(), strict=True):
            if not isinstance(row, list) or len(row) > most or any(type(i) is not int for i in row):
                law = f"is not a list of at most {most} whole numbers, one per {MOONCAKE_BLOCK_TOKENS} input tokens"
                raise TraceError(f"{self.path}, line {line}, column 'hash_ids': {_shown(row)} {law}")
        offsets = np.concatenate(([0], np.cumsum([len(row) for row in ids])))
        numbers: dict[int, int] = {}  # ids may be hashes of any size
        numbered = (numbers.setdefault(i, len(numbers)) for row in ids for i in row)
        flat = np.fromiter(numbered, dtype=np.int64, count=int(offsets[-1]))
        return {"hash_ids": flat, "hash_offsets": offsets, "block_tokens": MOONCAKE_BLOCK_TOKENS}


def _dated(stamps: pd.Series) -> bool:
    """Whether a column holds dates and times rather than numbers."""
    if pd.api.types.is_datetime64_any_dtype(stamps):
        return True
    return not pd.api.types.is_numeric_dtype(stamps) and pd.to_numeric(stamps, errors="coerce").isna().all()


def _segments(text: str) -> tuple[Segment, ...] | None:
    """The segments that a prefix names; None if it cannot be read."""
    segments, path = [], ""
    for part in text.split():
        name, _, tokens = part.rpartition(":")
        if not name or not (tokens.isascii() and tokens.isdigit()) or int(tokens) == 0:
            return None
        segments.append((path + name, int(tokens)))
        path += part + " "
    return tuple(segments)


def _tick_s(arrived_s: np.ndarray) -> float | None:
    """The grid of the time stamps, if most rows share their stamp and the stamps sit on a grid; else None."""
    distinct, counts = np.unique(arrived_s, return_counts=True)
    if len(distinct) < 3 or counts[counts > 1].sum() <= 0.5 * len(arrived_s):
        return None
    gaps = np.diff(distinct)
    tick = float(np.median(gaps))
    return tick if (np.abs(gaps / tick - np.round(gaps / tick)) < 0.01).mean() > 0.95 else None


def _shown(value: Any) -> str:
    """A bad value as the file had it, cut short."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a gap elsewhere in the column made it a float
    if isinstance(value, pd.Timestamp | pd.Timedelta):
        value = str(value)
    text = "an empty field" if value is None or value is pd.NaT or value != value else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
