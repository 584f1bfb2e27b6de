"""The recorder: rows of facts, appended as they happen and packed small, read back as the columns of sim.records."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
from mypy_extensions import mypyc_attr

import sim.columns
from sim.columns import Columns, OnDisk, unpacked
from sim.gap_histogram import GapHistogram
from sim.records import (
    API_EXTRA_COLUMNS,
    API_EXTRAS,
    AWAITED_COLUMNS,
    REQUEST_COLUMNS,
    SPAN_COLUMNS,
    STAY_COLUMNS,
    TIER_HIT_COLUMNS,
    Backend,
    Column,
    ReplicaState,
)
from sim.work import Losses, Refusal, Request, prefix_tokens, previous_index, returning_tokens_of, shared_prefix_tokens

_NOT_REFUSED: Final = Refusal.NONE  # Looking up a member of an enum costs as much as a function call.
_CHUNK_ROWS: Final = 1 << 13
_MORE_ROWS: Final = 1 << 8  # by which a chunk grows, so that a short table stays small
_CHUNKS_AT_ONCE: Final = 16  # 20 MB of requests are unpacked at a time, on their way to disk
_PACKED: dict[type, str] = {
    np.int8: "b",
    np.int16: "h",
    np.int32: "i",
    np.int64: "q",
    np.float64: "d",
}  # struct's letters, standard sizes
_OF_PLAIN: Final = frozenset({
    "task_id", "call_index", "calls_in_task", "application", "backend", "pool", "replica_id", "outcome",
    "task_arrived_s", "arrived_s", "admitted_s", "first_token_s", "finished_s", "input_tokens", "output_tokens",
    "prefill_replica_id", "decode_admitted_s", "itl_max_s", "previous_call",
})  # fmt: skip
"""Columns of a plain request (see `_is_plain`) that are not 0, where nothing is shared with other prompts."""
_OF_SHARING: Final = _OF_PLAIN | {
    "cached_input_tokens", "returning_tokens", "shared_prefix_tokens", "prefix_tokens", "answer_is_repeated",
}  # fmt: skip
"""Columns of a plain request that are not 0."""


def _layout(columns: dict[str, Column], written: frozenset[str] | None = None) -> str:
    """The format of a packed row, for `struct`; columns that are not written come out as 0."""
    letters = [(name, _PACKED[column.dtype]) for name, column in columns.items()]
    zeros = {letter: f"{struct.calcsize('=' + letter)}x" for letter in _PACKED.values()}
    return "=" + "".join(letter if written is None or name in written else zeros[letter] for name, letter in letters)


class _Table:
    """Rows packed into compact chunks of bytes, which go to disk where they become too many; read back as columns.

    A row is entered in two steps, `place = table.new_row()` and `table.pack(table.chunk, place, *values)`: the second
    writes where the row is to stay, with no bytes object to make and to copy.
    """

    def __init__(self, columns: dict[str, Column], folder: Path | None):
        self._dtype = np.dtype([(name, column.dtype) for name, column in columns.items()])
        self.pack: Any = struct.Struct(_layout(columns)).pack_into
        self._block_rows: int = sim.columns.BLOCK_ROWS
        self._chunk_rows = min(_CHUNK_ROWS, self._block_rows)
        self._row_bytes: int = self._dtype.itemsize
        self._limit = self._chunk_rows * self._row_bytes
        self._more = bytes(min(_MORE_ROWS, self._chunk_rows) * self._row_bytes)
        self._chunks: list[bytearray] = []
        self.chunk = bytearray()
        self._end = 0  # of the last row in the chunk
        self._folder = folder
        self._on_disk: Any = None
        self._rows_on_disk = 0

    def new_row(self) -> int:
        """Make room for a row, and return where it begins in `chunk`, in bytes."""
        if self._end == self._limit:
            self._chunks.append(self.chunk)
            self.chunk, self._end = bytearray(), 0
            if len(self._chunks) * self._chunk_rows >= self._block_rows:
                self._write()
        place = self._end
        self._end = place + self._row_bytes
        if self._end > len(self.chunk):
            self.chunk += self._more[: self._limit - place]
        return place

    def enter(self, *values: Any) -> None:
        """Enter a row."""
        place = self.new_row()
        self.pack(self.chunk, place, *values)

    def _write(self) -> None:
        """Move all rows to disk."""
        if self._on_disk is None:
            self._on_disk = OnDisk(self._dtype, self._folder)
        chunks = self._filled()
        for first in range(0, len(chunks), _CHUNKS_AT_ONCE):
            self._on_disk.append(chunks[first : first + _CHUNKS_AT_ONCE])
        self._rows_on_disk = self._on_disk.n_rows
        self._chunks, self.chunk, self._end = [], bytearray(), 0

    def _filled(self) -> list[bytearray]:
        """The chunks that have rows, without the room for further ones."""
        return [*self._chunks, *([self.chunk[: self._end]] if self._end else [])]

    def __len__(self) -> int:
        held = len(self._chunks) * self._chunk_rows + self._end // self._row_bytes
        return self._rows_on_disk + held

    def columns(self) -> Columns:
        if self._on_disk is not None:
            if self._chunks or self._end:
                self._write()
            found: Columns = self._on_disk
            return found
        return unpacked(self._filled() or [bytearray()], self._dtype)


def _is_plain(r: Request) -> bool:
    """Whether a request was served at once, whole and without a loss: most are.

    The columns of _OF_SHARING tell all of it, and the others are 0.
    """
    return (
        r.admitted_s is not None
        and r.first_token_s is not None
        and r.finished_s is not None
        and r.decode_admitted_s is None
        and r.prefill_replica_id == -1
        and r.refusal is _NOT_REFUSED
        and r.losses is None
        and r.preemptions == 0
        and r.recomputed_tokens == 0
        and r.preempted_s == 0.0
        and r.cold_start_wait_s == 0.0
        and r.cache_write_tokens == 0
    )


@mypyc_attr(allow_interpreted_subclasses=True)
class Recorder:
    """Takes down what happened, at the moment it happened.

    `from_s`: when the window begins, for the gaps of tokens. `folder`: where tables go that are too long for memory;
    None: to the system's folder of temporary files.
    """

    def __init__(self, from_s: float = 0.0, folder: Path | None = None) -> None:
        self.gap_histogram = GapHistogram(from_s)
        self._requests = _Table(REQUEST_COLUMNS, folder)
        self._pack_plain: Any = struct.Struct(_layout(REQUEST_COLUMNS, _OF_PLAIN)).pack_into
        self._pack_sharing: Any = struct.Struct(_layout(REQUEST_COLUMNS, _OF_SHARING)).pack_into
        self._spans = _Table(SPAN_COLUMNS, folder)
        self._stays = _Table(STAY_COLUMNS, folder)
        self._api_extras = _Table(API_EXTRA_COLUMNS, folder)
        self._awaited = _Table(AWAITED_COLUMNS, folder)
        self._tier_hits = _Table(TIER_HIT_COLUMNS, folder)
        self.replica_lost_s: list[float] = []

    def request(self, r: Request, _nan: float = float("nan")) -> None:
        """Enter a request that has its outcome: the values that REQUEST_COLUMNS reads off it, spelled out for speed."""
        task, i, losses, call = r.task, r.call_index, r.losses, r.call
        task_id, task_arrived_s, calls, application, priority, _, graph = task
        _, _, _, segments, extends_prefix, _, _ = call
        before = i - 1
        if graph is not None:
            before = previous_index(task, i)
            for index in graph[i]:
                self._awaited.enter(len(self._requests), index)
        if losses is not None:
            self._enter_stays(r, losses)
        if r.tier_hits is not None:
            for tier, tokens in r.tier_hits:
                self._tier_hits.enter(len(self._requests), tier, tokens)
        if r.api_extra is not None:
            extra = r.api_extra
            self._api_extras.enter(len(self._requests), *[getattr(extra, name) for name in API_EXTRAS])
        table = self._requests
        place = table.new_row()
        if not priority and _is_plain(r):
            if i == 0 and not segments and not extends_prefix and r.cached_input_tokens == 0:
                self._pack_plain(
                    table.chunk, place, task_id, i, len(calls), application, r.backend, r.pool, r.replica_id, r.outcome,
                    task_arrived_s, r.arrived_s, r.admitted_s, r.first_token_s, r.finished_s,
                    r.input_tokens, r.output_tokens, -1, _nan, r.longest_gap_s, before,
                )  # fmt: skip
                return
            self._pack_sharing(
                table.chunk, place, task_id, i, len(calls), application, r.backend, r.pool, r.replica_id, r.outcome,
                task_arrived_s, r.arrived_s, r.admitted_s, r.first_token_s, r.finished_s,
                r.input_tokens, r.cached_input_tokens, r.output_tokens, returning_tokens_of(r) if i else 0,
                -1, _nan, r.longest_gap_s, before, shared_prefix_tokens(call), prefix_tokens(call), extends_prefix,
            )  # fmt: skip
            return
        table.pack(
            table.chunk, place, task_id, i, len(calls), application, r.backend, r.pool, r.replica_id, r.outcome,
            task_arrived_s, r.arrived_s,
            _nan if r.admitted_s is None else r.admitted_s,
            _nan if r.first_token_s is None else r.first_token_s,
            _nan if r.finished_s is None else r.finished_s,
            r.input_tokens, r.cached_input_tokens, r.output_tokens, r.preemptions, r.preempted_s, r.cold_start_wait_s,
            priority, r.recomputed_tokens, returning_tokens_of(r) if i else 0,
            r.prefill_replica_id, _nan if r.decode_admitted_s is None else r.decode_admitted_s,
            0 if losses is None else losses.retries, r.cache_write_tokens, r.refusal,
            r.longest_gap_s, before, shared_prefix_tokens(call), prefix_tokens(call), extends_prefix,
        )  # fmt: skip

    def _enter_stays(self, r: Request, losses: Losses) -> None:
        stays, last_s = losses.stays, losses.resumed_s if losses.stays else r.admitted_s
        if last_s is not None and r.backend == Backend.FLEET:
            stays = [*stays, (r.pool, r.replica_id, last_s, float("nan") if r.finished_s is None else r.finished_s)]
        for stay in stays:
            self._stays.enter(len(self._requests), *stay)

    def span(self, pool: int, replica_id: int, state: ReplicaState, start_s: float, end_s: float) -> None:
        """Enter a stretch of a replica's life; empty stretches are dropped."""
        if end_s > start_s:
            self._spans.enter(pool, replica_id, state, start_s, end_s)

    def requests(self) -> Columns:
        """Columns of REQUEST_COLUMNS, in order of outcome."""
        return self._requests.columns()

    def stays(self) -> Columns:
        """Columns of STAY_COLUMNS."""
        return self._stays.columns()

    def awaited(self) -> Columns:
        """Columns of AWAITED_COLUMNS, in order of the requests' rows."""
        return self._awaited.columns()

    def tier_hits(self) -> Columns:
        """Columns of TIER_HIT_COLUMNS, in order of outcome."""
        return self._tier_hits.columns()

    def api_extras(self) -> Columns:
        """Columns of API_EXTRA_COLUMNS, in order of outcome."""
        return self._api_extras.columns()

    def spans(self) -> Columns:
        """Columns of SPAN_COLUMNS, in order of their end."""
        return self._spans.columns()
