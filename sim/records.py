"""The book of facts: seconds and tokens, appended once, never changed. Money and percentiles are computed from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from sim.work import Backend, Outcome

REQUEST_COLUMNS = {
    "task_id": np.int64, "call_index": np.int32, "calls_in_task": np.int32, "application": np.int32,
    "backend": np.int8, "replica_id": np.int32, "outcome": np.int8,
    "task_arrived_s": np.float64,
    "arrived_s": np.float64, "admitted_s": np.float64, "first_token_s": np.float64, "finished_s": np.float64,
    "input_tokens": np.int32, "cached_input_tokens": np.int32, "output_tokens": np.int32,
    "preemptions": np.int32, "preempted_s": np.float64, "cold_start_wait_s": np.float64,
    "priority": np.int32, "recomputed_tokens": np.int32, "returning_tokens": np.int32,
    "prefill_replica_id": np.int32, "decode_admitted_s": np.float64, "retries": np.int32,
    "cache_write_tokens": np.int32,
}  # fmt: skip
"""One row per request. `task_arrived_s`: when the task's first call arrived. Stamps that never happened are NaN.
`finished_s` is the moment of the outcome, whatever it was (NaN only for unfinished requests); `output_tokens` are
generated in full by finished requests only. `recomputed_tokens`: computed again because of preemptions.
`returning_tokens`: how many leading tokens of a prompt the task's previous call had left in KV memory, wherever that
was. `prefill_replica_id`: where the prompt was computed, if not on `replica_id`, which began to decode it at
`decode_admitted_s`; else -1 and NaN. `retries`: how often a replica was lost under it, or the fleet turned it away, and
it was tried again; then `admitted_s` is its first admission, anywhere (on an API: there), and `preempted_s` includes
the time until the next. `cache_write_tokens`: of the prompt, into the prompt cache of an API."""

SPAN_COLUMNS = {"replica_id": np.int32, "state": np.int8, "start_s": np.float64, "end_s": np.float64}
"""One row per stretch of a replica's life. The spans of one replica tile its life from request to release."""

STAY_COLUMNS = {"request_row": np.int64, "replica_id": np.int32, "start_s": np.float64, "end_s": np.float64}
"""One row per stay on a replica of a request that outlived one: from admission there until the replica was lost or the
request had its outcome (NaN for unfinished ones)."""

API_EXTRAS = (
    "throttled_attempts", "failed_attempts", "is_batch", "is_hedged",
    "lost_input_tokens", "lost_cached_input_tokens", "lost_cache_write_tokens", "lost_output_tokens",
)  # fmt: skip
"""What a `sim.work.ApiExtra` has, in order."""

API_EXTRA_COLUMNS = {"request_row": np.int64, **dict.fromkeys(API_EXTRAS, np.int32)}
"""One row per request that met more at an API than one plain call. `throttled_attempts`: answered 429;
`failed_attempts`: made during an outage; `is_batch`: taken as batch work; `is_hedged`: sent twice, and the `lost_*`
tokens of the copy that lost are billed as well."""

FIRST_POOL = "baseline"
"""What the first pool is called where there are several."""

REPLICAS_PER_POOL = 1_000_000
"""The replicas of the first pool are numbered from 0, those of the next from this on, and so forth."""

ON_DEMAND_FROM = REPLICAS_PER_POOL // 2
"""Within a pool, those that are on demand in place of spot are numbered from this on."""


class ReplicaState(IntEnum):
    """What a replica is doing with the GPU seconds somebody pays for. The first four are the stages of a cold start."""

    ALLOCATION = 0
    IMAGE = 1
    WEIGHTS = 2
    ENGINE_START = 3
    IDLE = 4
    BUSY = 5
    DRAINING = 6
    ASLEEP = 7  # weights in host RAM, no request served; only where the GPU stays paid for

    @property
    def is_cold_start(self) -> bool:
        return self <= ReplicaState.ENGINE_START


class Window(NamedTuple):
    """The stretch of simulated time that is reported on: the tasks that begin in it, with all their calls.

    Paid for are the GPU seconds that fall in it, and, so that work begun in it is not free, what replicas do after it
    other than idle.
    """

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


class PoolFacts(NamedTuple):
    """The replicas of one pool: all alike."""

    name: str
    gpu: str | None  # as price lists call it; None for the first pool, whose GPU is named beside the facts
    gpus_per_replica: int
    max_num_seqs: int
    peak_tokens_per_s: float | None
    on_demand_of: int | None = None  # the place of the spot pool whose missing replicas these stand in for


def _no_rows(columns: dict[str, type]) -> dict[str, np.ndarray]:
    return {name: np.empty(0, kind) for name, kind in columns.items()}


@dataclass(frozen=True)
class Facts:
    """Everything one simulated run leaves behind, before anyone speaks of dollars or percentiles.

    `gpus_per_replica`, `max_num_seqs` and `peak_tokens_per_s` are those of the first pool.
    """

    requests: dict[str, np.ndarray]
    spans: dict[str, np.ndarray]
    window: Window
    gpus_per_replica: int  # 0 when there is no fleet
    max_num_seqs: int  # cap on running sequences of one replica
    peak_tokens_per_s: float | None  # input + output of one replica saturated with the same mix; None without a fleet
    tasks_started: int = 0
    requests_started: int = 0
    block_tokens: int = 16  # of one KV block
    applications: dict[int, str] = field(default_factory=dict)
    stays: dict[str, np.ndarray] = field(default_factory=lambda: _no_rows(STAY_COLUMNS))
    replicas_lost: int = 0  # taken back by their provider, or failed
    api_extras: dict[str, np.ndarray] = field(default_factory=lambda: _no_rows(API_EXTRA_COLUMNS))
    further_pools: tuple[PoolFacts, ...] = ()

    @property
    def pools(self) -> tuple[PoolFacts, ...]:
        """All pools, the first one first."""
        first = PoolFacts(FIRST_POOL, None, self.gpus_per_replica, self.max_num_seqs, self.peak_tokens_per_s)
        return (first, *self.further_pools)

    def pool_of(self, replica_id: np.ndarray) -> np.ndarray:
        """The place in `pools` of each of these replicas' pools; among several, -1 for who has no replica."""
        if not self.further_pools:
            return np.zeros(len(replica_id), np.int64)
        found, number = np.divmod(replica_id, REPLICAS_PER_POOL)
        for at, pool in enumerate(self.pools):
            if pool.on_demand_of is not None:
                found = np.where((found == pool.on_demand_of) & (number >= ON_DEMAND_FROM), at, found)
        return found

    @property
    def requests_in_full(self) -> dict[str, np.ndarray]:
        """REQUEST_COLUMNS and beside them those of API_EXTRA_COLUMNS, 0 where a request has no such row."""
        columns = dict(self.requests)
        for name in API_EXTRAS:
            columns[name] = np.zeros(len(columns["task_id"]), np.int32)
            columns[name][self.api_extras["request_row"]] = self.api_extras[name]
        return columns

    @property
    def ended_s(self) -> float:
        """When the run was over: the end of its last span, of its window without a fleet."""
        return float(self.spans["end_s"].max(initial=self.window.end_s))


__all__ = [
    "API_EXTRAS", "API_EXTRA_COLUMNS", "FIRST_POOL", "REPLICAS_PER_POOL", "REQUEST_COLUMNS", "SPAN_COLUMNS",
    "STAY_COLUMNS", "Backend", "Facts", "Outcome", "PoolFacts", "ReplicaState", "Window",
]  # fmt: skip
