"""What a run used, clipped to its window, and kept small."""

import dataclasses
import json

import numpy as np
import pytest

from sim.ledger.usage import Usage
from sim.records import ReplicaState, Window
from tests.facts_builder import Book, day_of_traffic, quiet_book


def test_seconds_by_state():
    usage = Usage.from_facts(quiet_book().facts())
    seconds = {state.name: usage.state_seconds(state) for state in ReplicaState}
    assert seconds == dict(ALLOCATION=5, IMAGE=0, WEIGHTS=10, ENGINE_START=5, IDLE=50, BUSY=20, DRAINING=0)
    assert usage.state_seconds() == 90 and usage.gpu_hours_paid == 90 / 3600


def test_the_window_clips_seconds_but_remembers_whole_lives():
    usage = Usage.from_facts(quiet_book().facts(window=Window(10, 30)))
    assert usage.state_seconds() == 20
    assert usage.state_seconds(ReplicaState.WEIGHTS) == 5 and usage.state_seconds(ReplicaState.BUSY) == 10
    assert usage.replicas["started_s"][0] == 0 and usage.replicas["ended_s"][0] == 90
    assert usage.replicas["cold_start_life_s"][0] == 20
    assert usage.requests_finished == 1 and usage.input_tokens == 200  # the other one arrived before


def test_replicas_outside_the_window_are_not_paid_for():
    book = Book(window=(100, 200)).replica(0, ("idle", 0, 90)).replica(1, ("idle", 250, 300))
    assert len(Usage.from_facts(book.replica(2, ("idle", 90, 110)).facts()).replicas["replica_id"]) == 1


def test_api_tokens_by_hour_of_the_window():
    book = Book(window=(1000, 11_800), gpus_per_replica=0)
    book.api(1000, 1001, 1002, input_tokens=7, output_tokens=1).api(4599, 4600, 4700, input_tokens=8, output_tokens=2)
    book.api(4600, 4601, 4602, input_tokens=9, cached_input_tokens=4, output_tokens=3)
    book.api(999, 1000, 1001).api(11_800, 11_801, 11_802)  # one before the window, one after
    api = Usage.from_facts(book.facts()).api
    assert {name: column.tolist() for name, column in api.items()} == dict(
        hour=[0, 1], requests=[2, 1], input_tokens=[15, 9], cached_input_tokens=[0, 4], output_tokens=[3, 3]
    )


def test_a_task_is_finished_when_its_last_call_is():
    book = Book(window=(0, 50)).replica(0, ("busy", 0, 100))
    book.request(0, 0, 1, 10, task_id=0, call_index=0, calls_in_task=2)
    book.request(60, 60, 61, 100, task_id=0, call_index=1, calls_in_task=2)  # ends after the window: still its task
    book.request(5, 5, 6, 20, task_id=1, call_index=0, calls_in_task=2)  # its second call never came
    book.request(55, 55, 56, 60, task_id=2)  # begins after the window
    usage = Usage.from_facts(book.facts())
    assert (usage.tasks_finished, usage.requests_finished) == (1, 2)


def test_json_gives_back_every_bit_and_stays_small():
    usage = Usage.from_facts(day_of_traffic(requests_n=5000, overflow_wait_s=5.0, service_s=60.0, max_num_seqs=3))
    text = usage.to_json()
    again = Usage.from_json(text)
    assert again.to_json() == text and again.window == usage.window
    assert all(np.array_equal(again.replicas[n], usage.replicas[n]) for n in usage.replicas)
    assert all(np.array_equal(again.api[n], usage.api[n]) for n in usage.api)
    assert len(text) < 5000 and json.loads(text)["api"]["requests"]


def test_nothing_used():
    usage = Usage.from_facts(Book(gpus_per_replica=0).facts())
    assert usage.state_seconds() == 0 and usage.requests_finished == 0
    assert Usage.from_json(usage.to_json()).to_json() == usage.to_json()


@pytest.mark.parametrize("cut_s", [3600.0, 30_000.0])
def test_split_windows_add_up(cut_s):
    facts = day_of_traffic(requests_n=3000)
    whole = Usage.from_facts(facts)
    parts = [Usage.from_facts(dataclasses.replace(facts, window=Window(*w))) for w in ((0, cut_s), (cut_s, 86_400))]
    for state in ReplicaState:
        assert sum(p.state_seconds(state) for p in parts) == pytest.approx(whole.state_seconds(state))
    for total in ("requests_finished", "tasks_finished", "input_tokens", "output_tokens", "cached_input_tokens"):
        assert sum(getattr(p, total) for p in parts) == getattr(whole, total)
