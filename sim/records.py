"""The book of facts: seconds and tokens, appended once, never changed. Money and percentiles are computed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from math import nan
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

import sim.columns
from sim.columns import Columns, blocks, n_rows
from sim.gap_histogram import N_BINS
from sim.moment_zero import MONDAY, MomentZero
from sim.work import (
    Backend,
    Outcome,
    Refusal,
    prefix_tokens,
    previous_index,
    returning_tokens_of,
    shared_prefix_tokens,
)


class Column(NamedTuple):
    """One column of the facts: the only place that says what it holds.

    `unit` is "" for names, states and numbers that have none. `read` takes the value from the object that the row is
    about (a Request, a Losses or an ApiExtra); None where the row is made of the recorder's arguments. The recorder
    spells the reads of a request out, because it is compiled and on the path of every request; a test holds them to
    these.
    """

    dtype: type
    unit: str
    meaning: str
    read: Callable[[Any], Any] | None = None


def _stamp(seconds: float | None) -> float:
    return nan if seconds is None else seconds


Layout = dict[str, Column]

REQUEST_COLUMNS: Layout = {
    "task_id": Column(
        np.int64, "", "Number of the task, from 0 in the order of arrival.", lambda r: r.task.task_id
    ),
    "call_index": Column(
        np.int32, "", "Place of this request among the calls of its task, from 0.", lambda r: r.call_index
    ),
    "calls_in_task": Column(
        np.int32, "calls", "Calls that the task makes if all of them finish.", lambda r: len(r.task.calls)
    ),
    "application": Column(
        np.int32, "", "Number of the application that the task belongs to, from 0.", lambda r: r.task.application
    ),
    "backend": Column(np.int8, "", "Where the request was sent: 0 the fleet, 1 the API.", lambda r: r.backend),
    "pool": Column(
        np.int16, "", "Place in the list of pools of the pool whose replica had the request last; -1 if none had.",
        lambda r: r.pool,
    ),
    "replica_id": Column(
        np.int32, "", "Number of the replica that served the request; -1 if none did.", lambda r: r.replica_id
    ),
    "outcome": Column(
        np.int8, "", "0 finished, 1 refused, 2 abandoned, 3 unfinished, 4 failed, 5 aborted, 6 stopped.",
        lambda r: r.outcome,
    ),
    "task_arrived_s": Column(
        np.float64, "s", "When the first call of the task arrived.", lambda r: r.task.arrived_s
    ),
    "arrived_s": Column(np.float64, "s", "When the request arrived.", lambda r: r.arrived_s),
    "admitted_s": Column(
        np.float64, "s",
        "When service began, the first time if it began anew on another replica (on an API: there); NaN if never.",
        lambda r: _stamp(r.admitted_s),
    ),
    "first_token_s": Column(
        np.float64, "s", "When the first token was delivered; NaN if never.", lambda r: _stamp(r.first_token_s)
    ),
    "finished_s": Column(
        np.float64, "s", "When the request had its outcome, whatever it was; NaN if it is unfinished.",
        lambda r: _stamp(r.finished_s),
    ),
    "input_tokens": Column(
        np.int32, "tokens", "Length of the prompt, cached tokens included.", lambda r: r.input_tokens
    ),
    "cached_input_tokens": Column(
        np.int32, "tokens", "Leading tokens of the prompt that a prefix cache supplied.",
        lambda r: r.cached_input_tokens,
    ),
    "output_tokens": Column(
        np.int32, "tokens", 
        "Tokens asked for, which finished requests alone have got; of aborted and stopped ones, those generated.",
        lambda r: r.output_tokens
    ),
    "preemptions": Column(
        np.int32, "count", "Times that the running sequence lost its KV memory to others.", lambda r: r.preemptions
    ),
    "preempted_s": Column(
        np.float64, "s", "Time out of the batch after preemptions or losses of a replica.", lambda r: r.preempted_s
    ),
    "cold_start_wait_s": Column(
        np.float64, "s", "Time that the request waited for a replica that was starting.",
        lambda r: r.cold_start_wait_s,
    ),
    "priority": Column(
        np.int32, "", "Priority of the task; a higher number is less urgent.", lambda r: r.task.priority
    ),
    "recomputed_tokens": Column(
        np.int32, "tokens", "Tokens that were computed again because of preemptions.", lambda r: r.recomputed_tokens
    ),
    "returning_tokens": Column(
        np.int32, "tokens",
        "Leading tokens of the prompt that the task's previous call had left in KV memory, wherever that was.",
        returning_tokens_of,
    ),
    "prefill_replica_id": Column(
        np.int32, "", "Number of the replica that computed the prompt, if that is another than `replica_id`; else -1.",
        lambda r: r.prefill_replica_id,
    ),
    "decode_admitted_s": Column(
        np.float64, "s", "When `replica_id` began to decode a prompt computed elsewhere; else NaN.",
        lambda r: _stamp(r.decode_admitted_s),
    ),
    "retries": Column(
        np.int32, "count", "Times that the request was tried again, its replica lost or the fleet full.",
        lambda r: r.losses.retries if r.losses else 0,
    ),
    "cache_write_tokens": Column(
        np.int32, "tokens", "Prompt tokens that were written to the prompt cache of an API.",
        lambda r: r.cache_write_tokens,
    ),
    "refusal": Column(
        np.int8, "",
        "Why the request was refused: 0 it was not, 1 longer than the context, 2 than the KV memory, 3 than a step "
        "that cuts no prompt, 4 larger than a rate limit ever allows, 5 the queue was full, 6 over a rate limit, "
        "7 the API was out.",
        lambda r: r.refusal,
    ),
    "itl_max_s": Column(
        np.float64, "s",
        "Longest time between two tokens of the answer; at an API, whose tokens come evenly, the mean; 0 if fewer than "
        "two were delivered.",
        lambda r: r.longest_gap_s,
    ),
    "previous_call": Column(
        np.int32, "", "Place (`call_index`) of the call whose conversation this one goes on from; -1 for the first.",
        lambda r: previous_index(r.task, r.call_index),
    ),
    "shared_prefix_tokens": Column(
        np.int32, "tokens", "Leading tokens of the prompt that prompts of other tasks begin with, too.",
        lambda r: shared_prefix_tokens(r.call),
    ),
    "prefix_tokens": Column(
        np.int32, "tokens", "Leading tokens of the prompt that other prompts may share.",
        lambda r: prefix_tokens(r.call),
    ),
    "answer_is_repeated": Column(
        np.int8, "", "1 if later prompts go on from the prompt and its answer, else 0.",
        lambda r: r.call.extends_prefix,
    ),
}  # fmt: skip
"""One row per request, entered when it has its outcome. Moments are seconds of simulated time."""

SPAN_COLUMNS: Layout = {
    "pool": Column(np.int16, "", "Place in the list of pools of the replica's pool."),
    "replica_id": Column(np.int32, "", "Number of the replica."),
    "state": Column(
        np.int8, "",
        "0 allocation, 1 image, 2 weights, 3 engine start (the stages of a cold start), 4 idle, 5 busy, 6 draining, "
        "7 asleep.",
    ),
    "start_s": Column(np.float64, "s", "When the replica entered the state."),
    "end_s": Column(np.float64, "s", "When the replica left the state."),
}  # fmt: skip
"""One row per stretch of a replica's life. The spans of one replica tile its life from its order to its release."""

STAY_COLUMNS: Layout = {
    "request_row": Column(np.int64, "", "Row of the request in the table of requests."),
    "pool": Column(np.int16, "", "Place in the list of pools of the replica's pool."),
    "replica_id": Column(np.int32, "", "Number of the replica."),
    "start_s": Column(np.float64, "s", "When the request was admitted there."),
    "end_s": Column(
        np.float64, "s", "When the replica was lost or the request had its outcome; NaN if it is unfinished."
    ),
}  # fmt: skip
"""One row per stay on a replica of a request that outlived one."""

API_EXTRAS: Layout = {
    name: Column(np.int32, unit, meaning, attrgetter(name))
    for name, unit, meaning in (
        ("throttled_attempts", "count", "Attempts that the API refused because of a rate limit (HTTP 429)."),
        ("failed_attempts", "count", "Attempts that failed because they were made during an outage of the API."),
        ("is_batch", "", "1 if the API took the request as batch work, else 0."),
        ("is_hedged", "", "1 if the request was sent a second time because the first token was late, else 0."),
        ("lost_input_tokens", "tokens", "Prompt tokens billed for the slower copy of a hedged request."),
        ("lost_cached_input_tokens", "tokens", "Those of `lost_input_tokens` read from the prompt cache."),
        ("lost_cache_write_tokens", "tokens", "Those of `lost_input_tokens` written to the prompt cache."),
        ("lost_output_tokens", "tokens", "Output tokens billed for the slower copy of a hedged request."),
    )
}
"""What a `sim.work.ApiExtra` has, in order; 0 for a request without one."""

API_EXTRA_COLUMNS: Layout = {
    "request_row": Column(np.int64, "", "Row of the request in the table of requests."), **API_EXTRAS,
}  # fmt: skip
"""One row per request that met more at an API than one plain call."""

AWAITED_COLUMNS: Layout = {
    "request_row": Column(np.int64, "", "Row of the request in the table of requests."),
    "call_index": Column(np.int32, "", "Place of a call of its task that it waited for."),
}
"""One row per call that a request waited for, in the order of its graph; of tasks that are chains none."""

TIER_HIT_COLUMNS: Layout = {
    "request_row": Column(np.int64, "", "Row of the request in the table of requests."),
    "tier": Column(np.int8, "", "Place in the list of KV tiers."),
    "tokens": Column(np.int32, "tokens", "Of `cached_input_tokens`, those that were loaded from the tier."),
}
"""One row per KV tier that a request was loaded from."""

LOADED = "loaded_input_tokens"
"""Of a request's `cached_input_tokens`, those that were loaded from KV tiers."""

FIRST_POOL = "baseline"
"""The name of the pool that a scenario's own keys describe."""


class ReplicaState(IntEnum):
    """What a replica does with the GPU seconds that are paid for. The first four are the stages of a cold start."""

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
    """The replicas of one pool, which are all alike."""

    name: str
    gpu: str | None  # as price lists call it; None where that is not known
    gpus_per_replica: int
    max_num_seqs: int  # cap on the running sequences of one replica
    peak_tokens_per_s: float | None  # input + output tokens of one replica saturated with the same mix
    on_demand_of: int | None = None  # place of the spot pool whose missing replicas these stand in for
    tokenizes: bool = False  # prompts pass its host, which keeps a replica busy, before the engine has them


def _no_rows(columns: Layout) -> dict[str, np.ndarray]:
    return {name: np.empty(0, column.dtype) for name, column in columns.items()}


@dataclass(frozen=True)
class Facts:
    """Everything that one simulated run leaves behind, before there are dollars or percentiles.

    `pools` holds every pool in order of preference, then those on demand that stand in for spot ones; it is empty
    without a fleet. The column `pool` of the tables is a place in it.
    """

    requests: Columns
    spans: Columns
    window: Window
    pools: tuple[PoolFacts, ...] = ()
    tasks_started: int = 0
    requests_started: int = 0
    block_tokens: int = 16  # of one KV block
    applications: dict[int, str] = field(default_factory=dict)
    stays: Columns = field(default_factory=lambda: _no_rows(STAY_COLUMNS))
    replicas_lost: int = 0  # taken back by their provider, or failed, since the window's start
    api_extras: Columns = field(default_factory=lambda: _no_rows(API_EXTRA_COLUMNS))
    moment_zero: MomentZero = MONDAY  # second 0 of the run
    kv_tiers: tuple[str, ...] = ()  # their names
    tier_hits: Columns = field(default_factory=lambda: _no_rows(TIER_HIT_COLUMNS))
    token_gaps: np.ndarray = field(default_factory=lambda: np.zeros(N_BINS, np.int64))
    """Gaps between tokens of the fleet that ended since the window's start, by bin of sim.gap_histogram, int64[N]."""
    awaited: Columns = field(default_factory=lambda: _no_rows(AWAITED_COLUMNS))

    @property
    def requests_in_full(self) -> Columns:
        """REQUEST_COLUMNS and beside them LOADED and those of API_EXTRA_COLUMNS, 0 where a request has no such row;
        and, where calls form graphs, `wait_for`: a list of places of calls each, empty for a call of a chain."""
        return self._in_full(0, self.requests)

    def blocks_in_full(self) -> Iterator[Columns]:
        """`requests_in_full`, of at most sim.columns.ROWS_AT_ONCE rows at a time, in order."""
        for begin, block in blocks(self.requests):
            yield self._in_full(begin, block)

    def _in_full(self, begin: int, requests: Columns) -> Columns:
        """Rows from `begin` on, of which `requests` holds the columns."""
        columns, n = dict(requests), n_rows(requests)
        hits = _of_rows(self.tier_hits, begin, n)
        columns[LOADED] = np.bincount(hits["request_row"], hits["tokens"], n).astype(np.int32)
        if n_rows(self.awaited):
            awaited = _of_rows(self.awaited, begin, n)
            bounds = np.searchsorted(awaited["request_row"], np.arange(1, n))
            columns["wait_for"] = np.empty(n, object)
            columns["wait_for"][:] = np.split(awaited["call_index"], bounds)
        extras = _of_rows(self.api_extras, begin, n)
        for name in API_EXTRAS:
            columns[name] = np.zeros(n, np.int32)
            columns[name][extras["request_row"]] = extras[name]
        return columns

    @property
    def ended_s(self) -> float:
        """When the run was over: the end of its last span, of its window without a fleet."""
        return float(self.spans["end_s"].max(initial=self.window.end_s))


def is_served(outcome: np.ndarray) -> np.ndarray:
    """bool[n]: whether requests of these outcomes, int8[n], were served as their clients wanted."""
    return (outcome == Outcome.FINISHED) | (outcome == Outcome.STOPPED)


def _of_rows(table: Columns, begin: int, n: int) -> Columns:
    """The rows of a table in order of its `request_row` that belong to `n` requests from row `begin` on, which is 0."""
    first, after = np.searchsorted(table["request_row"], (begin, begin + n))
    found = {name: table[name][first:after] for name in table}
    return found | {"request_row": found["request_row"] - begin}


def rows_of_previous_calls(requests: Columns) -> np.ndarray:
    """int64[n]: the row of the call that each request goes on from; -1 for first calls, and where it is not there."""
    n, call = n_rows(requests), requests["call_index"]
    if not call.any():
        return np.full(n, -1)
    found = _by_place(requests) if n <= sim.columns.BLOCK_ROWS else None
    return _by_key(requests, call) if found is None else found


def _by_place(requests: Columns) -> np.ndarray | None:
    """`rows_of_previous_calls` by a table with a place for each call of each task, in place of a sort and searches.

    None if tasks are not numbered as a run numbers them, or a call has no place among those of its task.
    """
    task, call, calls = requests["task_id"], requests["call_index"], requests["calls_in_task"]
    n = len(task)
    if task.min() < 0 or task.max() > 4 * n or call.min() < 0 or (call >= calls).any():
        return None
    sizes = np.zeros(int(task.max()) + 1, np.int64)
    sizes[task] = calls
    later = np.flatnonzero(call > 0)
    before = requests["previous_call"][later]
    if (sizes[task] != calls).any() or before.min() < 0 or (before >= calls[later]).any():
        return None
    ends = np.cumsum(sizes)
    if ends[-1] > 16 * n:  # Most calls have not been made.
        return None
    begins = ends - sizes
    rows = np.full(int(ends[-1]), -1)
    rows[(begins[task] + call)[::-1]] = np.arange(n)[::-1]  # Of rows that say the same of themselves the first counts.
    found = np.full(n, -1)
    found[later] = rows[begins[task[later]] + before]
    return found


def _by_key(requests: Columns, call: np.ndarray) -> np.ndarray:
    """`rows_of_previous_calls` of any numbers of tasks, and of a table on disk, block by block."""
    found = np.full(len(call), -1)
    width = int(call.max()) + 1
    order = np.flatnonzero(requests["calls_in_task"] > 1)
    keys = requests["task_id"][order] * width + call[order]
    del call
    by_key = np.argsort(keys, kind="stable")
    keys, order = keys[by_key], order[by_key]
    del by_key
    if not len(order):
        return found
    for begin, block in blocks(requests, "task_id", "call_index", "previous_call"):
        later = np.flatnonzero(block["call_index"] > 0)
        wanted = block["task_id"][later] * width + block["previous_call"][later]
        places = np.minimum(np.searchsorted(keys, wanted), len(order) - 1)
        found[begin + later] = np.where(keys[places] == wanted, order[places], -1)
    return found


__all__ = [
    "API_EXTRAS", "API_EXTRA_COLUMNS", "AWAITED_COLUMNS", "FIRST_POOL", "LOADED", "REQUEST_COLUMNS", "SPAN_COLUMNS",
    "STAY_COLUMNS", "TIER_HIT_COLUMNS", "Backend", "Column", "Facts", "Outcome", "PoolFacts", "Refusal", "ReplicaState",
    "Window", "is_served", "rows_of_previous_calls",
]  # fmt: skip
