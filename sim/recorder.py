"""The recorder: rows of facts, appended as they happen and packed small, read back as the columns of sim.records."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from mypy_extensions import mypyc_attr

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
from sim.work import Losses, Request, prefix_tokens, previous_index, returning_tokens_of, shared_prefix_tokens

_CHUNK_ROWS: Final = 1 << 13
_PACKED: dict[type, str] = {
    np.int8: "b",
    np.int16: "h",
    np.int32: "i",
    np.int64: "q",
    np.float64: "d",
}  # struct's letters, standard sizes


class _Table:
    """Rows packed into compact chunks of bytes; read back as typed columns."""

    def __init__(self, columns: dict[str, Column]):
        self._dtype = np.dtype([(name, column.dtype) for name, column in columns.items()])
        self.pack: Any = struct.Struct("=" + "".join(_PACKED[column.dtype] for column in columns.values())).pack
        self._names = tuple(columns)
        self._limit = _CHUNK_ROWS * self._dtype.itemsize
        self._chunks: list[bytearray] = []
        self._chunk = bytearray()

    def append(self, packed_row: bytes) -> None:
        self._chunk += packed_row
        if len(self._chunk) >= self._limit:
            self._chunks.append(self._chunk)
            self._chunk = bytearray()

    def __len__(self) -> int:
        return len(self._chunks) * _CHUNK_ROWS + len(self._chunk) // self._dtype.itemsize

    def columns(self) -> dict[str, np.ndarray]:
        n_rows, begin = len(self), 0
        columns = {name: np.empty(n_rows, self._dtype[name]) for name in self._names}
        for chunk in (*self._chunks, self._chunk):  # one after another, so that all columns find it in the cache
            rows = np.frombuffer(chunk, self._dtype)
            end = begin + len(rows)
            for name, column in columns.items():
                column[begin:end] = rows[name]
            begin = end
        return columns


@mypyc_attr(allow_interpreted_subclasses=True)
class Recorder:
    """Takes down what happened, at the moment it happened. `from_s`: when the window begins, for the gaps of tokens."""

    def __init__(self, from_s: float = 0.0) -> None:
        self.gap_histogram = GapHistogram(from_s)
        self._requests = _Table(REQUEST_COLUMNS)
        self._spans = _Table(SPAN_COLUMNS)
        self._stays = _Table(STAY_COLUMNS)
        self._api_extras = _Table(API_EXTRA_COLUMNS)
        self._awaited = _Table(AWAITED_COLUMNS)
        self._tier_hits = _Table(TIER_HIT_COLUMNS)
        self.replica_lost_s: list[float] = []

    def request(self, r: Request, _nan: float = float("nan")) -> None:
        """Enter a request that has its outcome: the values that REQUEST_COLUMNS reads off it, spelled out for speed."""
        task, i, losses, call = r.task, r.call_index, r.losses, r.call
        before = i - 1
        if task.graph is not None:
            before = previous_index(task, i)
            for index in task.graph[i]:
                self._awaited.append(self._awaited.pack(len(self._requests), index))
        if losses is not None:
            self._enter_stays(r, losses)
        if r.tier_hits is not None:
            for tier, tokens in r.tier_hits:
                self._tier_hits.append(self._tier_hits.pack(len(self._requests), tier, tokens))
        if r.api_extra is not None:
            extra, extras = r.api_extra, self._api_extras
            extras.append(extras.pack(len(self._requests), *[getattr(extra, name) for name in API_EXTRAS]))
        table = self._requests
        table.append(table.pack(
            task.task_id, i, len(task.calls), task.application, r.backend, r.pool, r.replica_id, r.outcome,
            task.arrived_s, r.arrived_s,
            _nan if r.admitted_s is None else r.admitted_s,
            _nan if r.first_token_s is None else r.first_token_s,
            _nan if r.finished_s is None else r.finished_s,
            r.input_tokens, r.cached_input_tokens, r.output_tokens, r.preemptions, r.preempted_s, r.cold_start_wait_s,
            task.priority, r.recomputed_tokens, returning_tokens_of(r) if i else 0,
            r.prefill_replica_id, _nan if r.decode_admitted_s is None else r.decode_admitted_s,
            0 if losses is None else losses.retries, r.cache_write_tokens, r.refusal,
            r.longest_gap_s, before, shared_prefix_tokens(call), prefix_tokens(call), call.extends_prefix,
        ))  # fmt: skip

    def _enter_stays(self, r: Request, losses: Losses) -> None:
        stays, last_s = losses.stays, losses.resumed_s if losses.stays else r.admitted_s
        if last_s is not None and r.backend == Backend.FLEET:
            stays = [*stays, (r.pool, r.replica_id, last_s, float("nan") if r.finished_s is None else r.finished_s)]
        for stay in stays:
            self._stays.append(self._stays.pack(len(self._requests), *stay))

    def span(self, pool: int, replica_id: int, state: ReplicaState, start_s: float, end_s: float) -> None:
        """Enter a stretch of a replica's life; empty stretches are dropped."""
        if end_s > start_s:
            self._spans.append(self._spans.pack(pool, replica_id, state, start_s, end_s))

    def requests(self) -> dict[str, np.ndarray]:
        """Columns of REQUEST_COLUMNS, in order of outcome."""
        return self._requests.columns()

    def stays(self) -> dict[str, np.ndarray]:
        """Columns of STAY_COLUMNS."""
        return self._stays.columns()

    def awaited(self) -> dict[str, np.ndarray]:
        """Columns of AWAITED_COLUMNS, in order of the requests' rows."""
        return self._awaited.columns()

    def tier_hits(self) -> dict[str, np.ndarray]:
        """Columns of TIER_HIT_COLUMNS, in order of outcome."""
        return self._tier_hits.columns()

    def api_extras(self) -> dict[str, np.ndarray]:
        """Columns of API_EXTRA_COLUMNS, in order of outcome."""
        return self._api_extras.columns()

    def spans(self) -> dict[str, np.ndarray]:
        """Columns of SPAN_COLUMNS, in order of their end."""
        return self._spans.columns()
