"""Readers of real request logs: whatever the format, one columnar RequestLog of seconds and tokens comes out.

- `azure` (CSV): `TIMESTAMP` (date-time, any number of digits, no zone = UTC), `ContextTokens`, `GeneratedTokens`.
- `mooncake` (JSON lines): `timestamp` (ms), `input_length`, `output_length`, optional `hash_ids` (ids of the prompt's
  512-token blocks; equal leading ids are a shared prefix; the last block may be partial).
- `plain` (CSV or Parquet): `arrived_s` (seconds) or `timestamp` (seconds or date-time), `input_tokens`,
  `output_tokens`, optional `task_id` (or `session_id`) and `wait_s`. Rows of one task id are the calls of one task, in
  order of time. `wait_s` is the tool or human time before the call; without the column it is the recorded gap between
  the two calls, which also contains the recorded service time. Optional `prefix` says which texts a prompt begins with,
  as `name:tokens` in their order ("system-3:100 manual:900"): prompts that begin alike share that much KV cache.
  Optional `priority` (a whole number, lower = more urgent) of a task, at its first call.

Laws: time 0 is the first row; rows come sorted by time; token counts are whole and not negative (else TraceError); rows
with no input or no output tokens are failed requests: dropped and counted. What was done to a log is in its `notes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from sim.schema import TraceError
from sim.work import Segment

LogFormat = Literal["auto", "azure", "mooncake", "plain"]
MOONCAKE_BLOCK_TOKENS = 512  # Mooncake FAST25 release, README: hash_ids name blocks of 512 tokens
AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MOONCAKE_KEYS = ("timestamp", "input_length", "output_length")


@dataclass(frozen=True, eq=False)
class RequestLog:
    """A log of n requests in order of time. Columns are read-only and have n entries unless said otherwise."""

    path: str
    sha256: str
    arrived_s: np.ndarray  # float64, first is 0
    input_tokens: np.ndarray  # int64, >= 1
    output_tokens: np.ndarray  # int64, >= 1
    lines: np.ndarray  # where in the file each row stands, from 1
    hash_ids: np.ndarray | None = None  # all rows' block ids, end to end
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
    rows = _Rows(path, _table(path, file, content, format))
    return rows.log(digest)


def _table(path: str, file: str, content: bytes, format: LogFormat) -> tuple[str, pd.DataFrame]:
    """The format found and the raw table, its index the line in the file."""
    if file.endswith(".parquet") or content[:4] == b"PAR1":
        try:
            frame = pd.read_parquet(file)
        except Exception as error:  # pyarrow has many ways to say that a file is broken
            raise TraceError(f"{path}: is not a readable Parquet file: {str(error).splitlines()[0]}") from None
        return "plain", frame.set_axis(pd.RangeIndex(1, len(frame) + 1, name="row"))
    if not content.strip():
        raise TraceError(f"{path}: is empty")
    if format == "mooncake" or (format == "auto" and content.lstrip()[:1] == b"{"):
        return "mooncake", _json_lines(path, content)
    frame = _csv(path, file)
    if format == "auto":
        format = "azure" if AZURE_COLUMNS[1] in frame or AZURE_COLUMNS[2] in frame else "plain"
    return format, frame


def _csv(path: str, file: str) -> pd.DataFrame:
    try:
        frame = pd.read_csv(file, skip_blank_lines=False, low_memory=False, index_col=False, skipinitialspace=True)
    except pd.errors.ParserError as error:
        said = str(error).strip().splitlines()[-1].removeprefix("Error tokenizing data. C error: ")
        raise TraceError(f"{path}: {said}") from None
    except UnicodeDecodeError:
        raise TraceError(f"{path}: is not a text file") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    frame.index = range(2, len(frame) + 2)
    return frame.dropna(how="all")  # blank lines


def _json_lines(path: str, content: bytes) -> pd.DataFrame:
    rows, lines = [], []
    for line, text in enumerate(content.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise TraceError(f"{path}, line {line}: is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise TraceError(f"{path}, line {line}: is not a JSON object")
        missing = [key for key in MOONCAKE_KEYS if key not in row]
        if missing:
            raise TraceError(f"{path}, line {line}, column {missing[0]!r}: is missing; found {', '.join(row)}")
        rows.append((*(row[key] for key in MOONCAKE_KEYS), row.get("hash_ids")))
        lines.append(line)
    return pd.DataFrame(rows, columns=[*MOONCAKE_KEYS, "hash_ids"], index=lines)


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
        return self._columns(self._number(when, np.isfinite, "a number of milliseconds") / 1000.0, prompt, answer)

    def _plain(self) -> dict[str, np.ndarray]:
        when = "arrived_s" if "arrived_s" in self.frame or "timestamp" not in self.frame else "timestamp"
        self._require(when, "input_tokens", "output_tokens")
        stamps = self.frame[when]
        dated = when == "timestamp" and not pd.api.types.is_numeric_dtype(stamps)
        dated = dated and pd.to_numeric(stamps, errors="coerce").isna().all()
        arrived_s = self._moment(when) if dated else self._number(when, np.isfinite, "a number of seconds")
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
        texts = self.frame["prefix"].fillna("").astype(str)
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
        moments = pd.to_datetime(self.frame[name].astype(str), format="ISO8601", utc=True, errors="coerce")
        self._refuse(name, moments.isna().to_numpy(), "is not a date and time")
        ns = moments.to_numpy(dtype="datetime64[ns]").view(np.int64)
        return (ns - ns.min()) / 1e9 if len(ns) else ns.astype(float)

    def _tokens(self, name: str) -> np.ndarray:
        def whole(v):
            return (v >= 0) & (v < 2**31) & (v == np.floor(v))

        return self._number(name, whole, "a whole number of tokens >= 0").astype(np.int64)

    def _number(self, name: str, law: Callable[[np.ndarray], np.ndarray], said: str) -> np.ndarray:
        values = pd.to_numeric(self.frame[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
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
        flat = np.fromiter((i for row in ids for i in row), dtype=np.int64, count=int(offsets[-1]))
        return {"hash_ids": flat, "hash_offsets": offsets, "block_tokens": MOONCAKE_BLOCK_TOKENS}


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
    text = "an empty field" if value is None or value is pd.NaT or value != value else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
