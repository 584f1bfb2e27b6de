"""The recorder enters what the columns of sim.records say, and nothing else."""

from __future__ import annotations

import math

import numpy as np

import sim.columns
from sim.recorder import Recorder
from sim.records import (
    API_EXTRAS,
    REQUEST_COLUMNS,
    SPAN_COLUMNS,
    STAY_COLUMNS,
    Backend,
    Facts,
    ReplicaState,
    Window,
)
from sim.work import SHARED_KEY, ApiExtra, Call, Losses, Outcome, PreviousCall, Refusal, Request, Task


def second_call() -> Request:
    """A request whose every number is another one."""
    first = Call(40, 7, segments=((SHARED_KEY, 30), ("t", 10)), extends_prefix=True)
    calls = (Call(1, 1), first, Call(90, 8, segments=((SHARED_KEY, 30), ("t", 50))), Call(1, 1))
    request = Request(Task(21, 1.25, calls, application=22, priority=23), 2, 2.25, PreviousCall(Backend.FLEET, 5, 6))
    request.backend, request.pool, request.replica_id, request.prefill_replica_id = Backend.FLEET, 31, 32, 33
    request.admitted_s, request.first_token_s, request.decode_admitted_s = 3.25, 4.25, 5.25
    request.preempted_s, request.cold_start_wait_s, request.longest_gap_s = 0.5, 0.75, 0.875
    request.cached_input_tokens, request.preemptions = 34, 35
    request.recomputed_tokens, request.cache_write_tokens = 36, 37
    request.losses = Losses()
    request.losses.retries, request.losses.stays = 38, [(41, 42, 3.25, 3.5)]
    request.losses.resumed_s = 3.75
    request.api_extra = ApiExtra()
    for number, name in enumerate(API_EXTRAS, start=51):
        setattr(request.api_extra, name, number)
    request.end(Outcome.FAILED, 9.25)
    return request


def rows(columns):
    return list(zip(*(column.tolist() for column in columns.values()), strict=True))


def test_every_column_holds_what_its_declaration_reads_off_a_request():
    request, recorder = second_call(), Recorder()
    recorder.request(request)
    columns = recorder.requests()
    assert list(columns) == list(REQUEST_COLUMNS)
    read = {name: column.read(request) for name, column in REQUEST_COLUMNS.items()}
    assert {name: column[0] for name, column in columns.items()} == read
    few = ("backend", "call_index", "calls_in_task", "answer_is_repeated")  # their values are small and may repeat
    numbers = [value for name, value in read.items() if name not in few]
    assert len(set(numbers)) == len(numbers), "two columns that change places would be seen"
    assert {name: column.dtype for name, column in columns.items()} == {
        name: np.dtype(column.dtype) for name, column in REQUEST_COLUMNS.items()
    }
    assert rows(recorder.api_extras()) == [(0, *range(51, 59))]


def plain(**stamps) -> Request:
    """A first call that was served at once, but for these stamps."""
    request = Request(Task(21, 1.25, (Call(40, 7),), application=22), 0, 2.25)
    request.backend, request.pool, request.replica_id = Backend.FLEET, 31, 32
    request.admitted_s, request.first_token_s, request.longest_gap_s = 3.25, 4.25, 0.875
    request.end(Outcome.FINISHED, 9.25)
    for name, value in stamps.items():
        setattr(request, name, value)
    return request


def sharing(**stamps) -> Request:
    """A later call, part of whose prompt others begin with, that was served at once, but for these stamps."""
    first = Call(40, 7, segments=((SHARED_KEY, 30), ("t", 10)), extends_prefix=True)
    calls = (first, Call(90, 8, segments=((SHARED_KEY, 30), ("t", 50))), Call(1, 1))
    request = Request(Task(21, 1.25, calls, application=22), 1, 2.25, PreviousCall(Backend.FLEET, 5, 6))
    request.backend, request.pool, request.replica_id, request.cached_input_tokens = Backend.FLEET, 31, 32, 46
    request.admitted_s, request.first_token_s, request.longest_gap_s = 3.25, 4.25, 0.875
    request.end(Outcome.FINISHED, 9.25)
    for name, value in stamps.items():
        setattr(request, name, value)
    return request


STAMPS = {
    "admitted_s": None, "first_token_s": None, "finished_s": None, "decode_admitted_s": 5.25, "prefill_replica_id": 33,
    "refusal": Refusal.RATE_LIMIT, "preemptions": 35, "recomputed_tokens": 36, "preempted_s": 0.5,
    "cold_start_wait_s": 0.75, "cached_input_tokens": 34, "cache_write_tokens": 37,
}  # fmt: skip


def test_a_plain_request_and_one_that_differs_in_one_stamp_read_back_as_declared():
    """Most requests are plain and packed with fewer values: none may be taken for plain that is not."""
    shared = Task(3, 1.0, (Call(40, 7, segments=(("t", 40),), extends_prefix=True),), priority=2)
    others = [Request(shared, 0, 1.0), Request(Task(4, 1.0, (Call(4, 7),), priority=2), 0, 1.0)]
    for request in others:
        request.backend = Backend.API
        request.admitted_s = request.first_token_s = 2.0
        request.end(Outcome.FINISHED, 3.0)
    one_by_one = [{}, *({name: value} for name, value in STAMPS.items())]
    requests, recorder = [kind(**stamps) for kind in (plain, sharing) for stamps in one_by_one], Recorder()
    requests += others
    for request in requests:
        recorder.request(request)
    columns = recorder.requests()
    for row, request in enumerate(requests):
        for name, column in REQUEST_COLUMNS.items():
            assert np.array_equal(columns[name][row], column.read(request), equal_nan=True), (row, name)


def test_rows_that_fill_chunks_come_back_in_order(monkeypatch):
    monkeypatch.setattr(sim.columns, "BLOCK_ROWS", 700)
    recorder = Recorder()
    for number in range(1500):
        recorder.span(0, number, ReplicaState.BUSY, 0.0, 1.0)
    assert recorder.spans()["replica_id"].tolist() == list(range(1500))


def test_what_a_call_waited_for_is_told_of_graphs():
    calls, graph = (Call(1, 1),) * 4, ((), (0,), (0,), (1, 2))
    recorder = Recorder()
    for task in (Task(0, 0.0, calls), Task(1, 0.0, calls, graph=graph)):
        for i in range(4):
            request = Request(task, i, 0.0)
            request.backend = Backend.FLEET
            request.end(Outcome.FINISHED, 1.0)
            recorder.request(request)
    facts = Facts(recorder.requests(), recorder.spans(), Window(0.0, 1.0), awaited=recorder.awaited())
    assert [list(places) for places in facts.requests_in_full["wait_for"]] == [[], [], [], [], [], [0], [0], [1, 2]]


def test_a_stamp_that_never_happened_is_not_a_number():
    request, recorder = Request(Task(0, 0.0, (Call(5, 5),)), 0, 0.0), Recorder()
    request.backend = Backend.FLEET
    request.end(Outcome.UNFINISHED, None)
    recorder.request(request)
    empty = {name for name, column in recorder.requests().items() if math.isnan(column[0])}
    assert empty == {"admitted_s", "first_token_s", "finished_s", "decode_admitted_s"}
    assert all(math.isnan(REQUEST_COLUMNS[name].read(request)) for name in empty)


def test_stays_and_spans_stand_in_the_order_of_their_columns():
    recorder = Recorder()
    recorder.request(second_call())
    recorder.span(1, 2, ReplicaState.BUSY, 3.0, 4.0)
    recorder.span(1, 2, ReplicaState.IDLE, 4.0, 4.0)
    assert rows(recorder.stays()) == [(0, 41, 42, 3.25, 3.5), (0, 31, 32, 3.75, 9.25)]
    assert rows(recorder.spans()) == [(1, 2, ReplicaState.BUSY, 3.0, 4.0)], "an empty stretch is dropped"
    assert list(recorder.stays()) == list(STAY_COLUMNS) == ["request_row", "pool", "replica_id", "start_s", "end_s"]
    assert list(recorder.spans()) == list(SPAN_COLUMNS) == ["pool", "replica_id", "state", "start_s", "end_s"]
