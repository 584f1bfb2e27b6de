"""Hand-made and synthetic books of facts, so that ledger and report can be tested without a simulator.

`Book` is for stories with whole-number times; `day_of_traffic` is a lawful random world of any size.
"""

from __future__ import annotations

import dataclasses
import heapq

import numpy as np

from sim.records import (
    FIRST_POOL,
    REQUEST_COLUMNS,
    SPAN_COLUMNS,
    STAY_COLUMNS,
    Backend,
    Facts,
    Outcome,
    PoolFacts,
    Refusal,
    ReplicaState,
    Window,
)

NAN = float("nan")


def typed(rows, columns) -> dict[str, np.ndarray]:
    """Rows of values in the order of these columns of sim.records."""
    return {name: np.array([row[i] for row in rows], column.dtype) for i, (name, column) in enumerate(columns.items())}


class Book:
    """Facts written by hand, one request and one replica at a time."""

    def __init__(self, window=(0.0, 100.0), gpus_per_replica=1, max_num_seqs=4, peak_tokens_per_s=100.0):
        self.window = Window(*window)
        pool = PoolFacts(FIRST_POOL, None, gpus_per_replica, max_num_seqs, peak_tokens_per_s)
        self.pools = (pool,) if gpus_per_replica else ()
        self.rows: list[dict] = []
        self.spans: list[tuple] = []
        self.stays: list[tuple] = []

    def replica(self, replica_id: int, *spans: tuple[str, float, float]) -> Book:
        """A life told as (state, start_s, end_s)."""
        self.spans += [(0, replica_id, ReplicaState[state.upper()], start_s, end_s) for state, start_s, end_s in spans]
        return self

    def request(self, arrived_s, admitted_s=NAN, first_token_s=NAN, finished_s=NAN, **columns) -> Book:
        """A finished single call of its own task on replica 0, unless the columns say otherwise."""
        row = dict(
            task_arrived_s=arrived_s,
            task_id=len(self.rows), call_index=0, calls_in_task=1, application=0, backend=Backend.FLEET, pool=0,
            replica_id=0,
            outcome=Outcome.FINISHED, arrived_s=arrived_s, admitted_s=admitted_s, first_token_s=first_token_s,
            finished_s=finished_s, input_tokens=10, cached_input_tokens=0, output_tokens=5, preemptions=0,
            preempted_s=0.0, cold_start_wait_s=0.0, priority=0, recomputed_tokens=0, returning_tokens=0,
            prefill_replica_id=-1, decode_admitted_s=NAN, retries=0, cache_write_tokens=0,
            refusal=Refusal.QUEUE_FULL if columns.get("outcome") == Outcome.REFUSED else Refusal.NONE,
            itl_max_s=1.0, previous_call=columns.get("call_index", 0) - 1, shared_prefix_tokens=0, prefix_tokens=0,
            answer_is_repeated=0,
        )  # fmt: skip
        self.rows.append(row | columns)
        return self

    def retried(self, arrived_s, admitted_s, first_token_s, finished_s, *stays, **columns) -> Book:
        """A request that outlived a replica, with its stays as (replica_id, start_s, end_s)."""
        self.stays += [(len(self.rows), 0, *stay) for stay in stays]
        columns = dict(retries=len(stays) - 1, replica_id=stays[-1][0]) | columns
        return self.request(arrived_s, admitted_s, first_token_s, finished_s, **columns)

    def api(self, arrived_s, first_token_s, finished_s, **columns) -> Book:
        """A call the API finished."""
        sent = {"input_tokens": 10, "cached_input_tokens": 0} | columns
        sent = {"cache_write_tokens": sent["input_tokens"] - sent["cached_input_tokens"]} | sent
        sent = {"backend": Backend.API, "pool": -1, "replica_id": -1} | sent
        return self.request(arrived_s, arrived_s, first_token_s, finished_s, **sent)

    def facts(self, **changes) -> Facts:
        requests = {n: np.array([r[n] for r in self.rows], column.dtype) for n, column in REQUEST_COLUMNS.items()}
        spans, stays = typed(self.spans, SPAN_COLUMNS), typed(self.stays, STAY_COLUMNS)
        first_calls = sum(row["call_index"] == 0 for row in self.rows)
        fields = dict(requests=requests, spans=spans, window=self.window, pools=self.pools,
                      tasks_started=first_calls, requests_started=len(self.rows), stays=stays)  # fmt: skip
        return Facts(**(fields | changes))


def quiet_book() -> Book:
    """A lawful little world: one replica starts for 20 s, serves two overlapping requests, idles, is released at 90."""
    return (
        Book()
        .replica(
            0, ("allocation", 0, 5), ("weights", 5, 15), ("engine_start", 15, 20), ("busy", 20, 40), ("idle", 40, 90)
        )
        .request(2, 20, 22, 32, input_tokens=100, output_tokens=11, cold_start_wait_s=18.0)
        .request(21, 25, 27, 40, input_tokens=200, output_tokens=14, cached_input_tokens=50)
    )


def day_of_traffic(
    seed=0, requests_n=20_000, length_s=86_400.0, replicas=4, max_num_seqs=16, service_s=20.0, patience_s=None,
    overflow_wait_s=None, cold_start_s=60.0,
) -> Facts:  # fmt: skip
    """A diurnal day: replica 0 is always on, the others start cold in the morning and go in the evening.

    Every slot serves one request at a time, first come first served; who would wait beyond `overflow_wait_s` goes to
    the API, longer than `patience_s` leaves.
    """
    rng = np.random.default_rng(seed)
    day = rng.uniform(0, length_s, 4 * requests_n)
    keep = rng.uniform(0, 1.8, len(day)) < 1 - 0.8 * np.cos(2 * np.pi * day / length_s)
    arrived = np.sort(day[keep][:requests_n])
    lives = [(0.0, 0.0, length_s * 1.2)]
    for i in range(1, replicas):
        wake = length_s * (0.25 + 0.08 * i)
        lives.append((wake, wake + cold_start_s, length_s * (0.85 - 0.06 * i)))
    book, slots = _Columns(), [(ready, i, 0) for i, (_, ready, _) in enumerate(lives) for _ in range(max_num_seqs)]
    heapq.heapify(slots)
    prompt, answer = rng.integers(50, 2000, requests_n), rng.integers(2, 500, requests_n)
    service = rng.exponential(service_s, requests_n) + 0.5
    for k, at in enumerate(arrived.tolist()):
        _serve(
            book, slots, lives, k, at, float(service[k]), int(prompt[k]), int(answer[k]), patience_s, overflow_wait_s
        )
    requests = book.requests()
    spans = _spans(lives, requests)
    return Facts(
        requests=requests, spans=spans, window=Window(0.0, length_s), tasks_started=len(arrived),
        requests_started=len(arrived),
        pools=(PoolFacts(FIRST_POOL, None, 1, max_num_seqs, max_num_seqs * 1275 / service_s),),
    )  # fmt: skip


def part_of(facts: Facts, start_s: float, end_s: float) -> Facts:
    """The same book without the arrivals after `end_s`, a quiet moment, and read from `start_s` on."""
    came = facts.requests["arrived_s"] < end_s
    begun = facts.spans["start_s"] < end_s
    spans = {name: column[begun] for name, column in facts.spans.items()}
    return dataclasses.replace(
        facts,
        requests={name: column[came] for name, column in facts.requests.items()},
        spans=spans | {"end_s": np.minimum(spans["end_s"], end_s)},
        window=Window(start_s, end_s),
    )


def quiet_moment(facts: Facts, after_s: float) -> float:
    """The first moment from `after_s` on at which no replica works."""
    spans = facts.spans
    working = spans["state"] != ReplicaState.IDLE
    begun = np.argsort(spans["start_s"][working])
    for start_s, end_s in zip(spans["start_s"][working][begun], spans["end_s"][working][begun], strict=True):
        if start_s > after_s:
            break
        after_s = max(after_s, float(end_s))
    return after_s


class _Columns:
    def __init__(self):
        self.rows: list[tuple] = []

    def requests(self) -> dict[str, np.ndarray]:
        usual = (0, 0, 0, -1, NAN, 0, 0, 0, 0.0, -1, 0, 0, 0)  # the last columns, which rows leave out
        table = np.array([(*row, *usual) for row in self.rows], float).reshape(-1, len(REQUEST_COLUMNS))
        columns = typed(table, REQUEST_COLUMNS)
        uncached = columns["input_tokens"] - columns["cached_input_tokens"]
        return columns | {"cache_write_tokens": np.where(columns["backend"] == Backend.API, uncached, 0)}


def _serve(book, slots, lives, task, at, service, prompt, answer, patience_s, overflow_wait_s) -> None:
    free, replica, _ = slots[0]
    start = max(free, at)
    while start + service > lives[replica][2]:  # its replica goes home before it would finish: the slot closes
        heapq.heappop(slots)
        free, replica, _ = slots[0]
        start = max(free, at)
    wait = start - at
    cold = max(0.0, lives[replica][1] - max(at, lives[replica][0])) if replica else 0.0
    common = (task, 0, 1, 0)
    if overflow_wait_s is not None and wait > overflow_wait_s:
        first, end = at + 0.6, at + 0.6 + answer / 80
        book.rows.append((*common, 1, -1, -1, 0, at, at, at, first, end, prompt, 0, answer, 0, 0.0, 0.0))
    elif patience_s is not None and wait > patience_s:
        book.rows.append((*common, 0, -1, -1, 2, at, at, NAN, NAN, at + patience_s, prompt, 0, answer, 0, 0.0, cold))
    else:
        heapq.heapreplace(slots, (start + service, replica, task))
        first = start + 0.1 * service
        row = (
            *common,
            0,
            0,
            replica,
            0,
            at,
            at,
            start,
            first,
            start + service,
            prompt,
            prompt // 4,
            answer,
            0,
            0.0,
            cold,
        )
        book.rows.append(row)


def _spans(lives, requests) -> dict[str, np.ndarray]:
    rows = []
    for replica, (wake, ready, end) in enumerate(lives):
        for stage in range(4):
            step = (ready - wake) / 4
            if step:
                rows.append(
                    (0, replica, stage, wake + stage * step, ready if stage == 3 else wake + (stage + 1) * step)
                )
        mine = np.flatnonzero((requests["replica_id"] == replica) & (requests["outcome"] == 0))
        mine = mine[np.argsort(requests["admitted_s"][mine])]
        now = ready
        for start, stop in _merged(zip(requests["admitted_s"][mine], requests["finished_s"][mine], strict=True)):
            if start > now:
                rows.append((0, replica, ReplicaState.IDLE, now, start))
            rows.append((0, replica, ReplicaState.BUSY, start, stop))
            now = stop
        if end > now:
            rows.append((0, replica, ReplicaState.IDLE, now, end))
    return typed(rows, SPAN_COLUMNS)


def _merged(stays):
    merged: list[list[float]] = []
    for start, stop in stays:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return merged
