"""What a run used, clipped to its window, and kept small."""

import json

import numpy as np
import pytest

from sim.ledger.usage import Usage
from sim.records import ReplicaState, Window
from sim.schema import ConfigError
from tests.facts_builder import Book, day_of_traffic, part_of, quiet_book, quiet_moment


def as_lists(table):
    return {name: column.tolist() for name, column in table.items()}


def test_seconds_by_state():
    usage = Usage.from_facts(quiet_book().facts())
    seconds = {state.name: usage.state_seconds(state) for state in ReplicaState}
    assert seconds == dict(ALLOCATION=5, IMAGE=0, WEIGHTS=10, ENGINE_START=5, IDLE=50, BUSY=20, DRAINING=0, ASLEEP=0)
    assert usage.state_seconds() == 90 and usage.gpu_hours_paid == 90 / 3600


def test_the_window_clips_seconds_but_remembers_whole_lives():
    usage = Usage.from_facts(quiet_book().facts(window=Window(10, 30)))
    assert usage.state_seconds() == 20 + 10 and usage.after_window_s == 10  # busy for those who came before its end
    assert usage.state_seconds(ReplicaState.WEIGHTS) == 5 and usage.state_seconds(ReplicaState.BUSY) == 20
    assert usage.replicas["started_s"][0] == 0 and usage.replicas["ended_s"][0] == 90
    assert usage.replicas["cold_start_life_s"][0] == 20
    assert usage.requests_finished == 1 and usage.input_tokens == 200  # the other one arrived before


def test_replicas_outside_the_window_are_not_paid_for():
    book = Book(window=(100, 200)).replica(0, ("idle", 0, 90)).replica(1, ("idle", 250, 300))
    assert len(Usage.from_facts(book.replica(2, ("idle", 90, 110)).facts()).replicas["replica_id"]) == 1


def test_api_tokens_by_hour_of_the_clock():
    book = Book(window=(1000, 11_800), gpus_per_replica=0)
    book.api(1000, 1001, 1002, input_tokens=7, output_tokens=1).api(3599, 3600, 3700, input_tokens=8, output_tokens=2)
    book.api(3600, 3601, 3602, input_tokens=9, cached_input_tokens=4, output_tokens=3)
    book.api(999, 1000, 1001).api(11_800, 11_801, 11_802)  # one before the window, one after
    assert as_lists(Usage.from_facts(book.facts()).api) == dict(
        hour=[0, 1], application=[0, 0], context_over_tokens=[0, 0], service=[0, 0], requests=[2, 1],
        input_tokens=[15, 9],
        cached_input_tokens=[0, 4], cache_write_tokens=[15, 5], output_tokens=[3, 3],
    )  # fmt: skip


def test_api_tokens_by_application_and_context():
    """A prompt of exactly 200,000 tokens is not over 200,000."""
    book = Book(gpus_per_replica=0)
    for application, tokens in ((0, 10), (1, 200_000), (1, 200_001), (1, 300_000), (0, 20)):
        book.api(1, 2, 3, application=application, input_tokens=tokens)
    api = Usage.from_facts(book.facts()).api
    rows = zip(*(api[n].tolist() for n in ("application", "context_over_tokens", "input_tokens")), strict=True)
    assert sorted(rows) == [(0, 0, 30), (1, 131_072, 200_000), (1, 200_000, 200_001), (1, 272_000, 300_000)]


def test_gpu_seconds_by_hour_of_the_clock():
    """Idle from 1,000 to 8,000, and another that is busy across one full hour and two halves."""
    book = Book(window=(2000, 12_000)).replica(0, ("idle", 1000, 8000)).replica(1, ("busy", 1800, 9000))
    gpu = Usage.from_facts(book.facts()).gpu
    assert not gpu["after_window"].any()
    rows = zip(*(gpu[n].tolist() for n in ("hour", "state", "replica_s")), strict=True)
    idle, busy = int(ReplicaState.IDLE), int(ReplicaState.BUSY)
    assert sorted(rows) == [(0, idle, 1600), (0, busy, 1600), (1, idle, 3600), (1, busy, 3600), (2, idle, 800),
                            (2, busy, 1800)]  # fmt: skip


def test_what_began_in_the_window_is_paid_for_to_its_end():
    """Work, a cold start and draining go on after the window's 100 s, and are paid for; idle seconds are not."""
    book = Book().replica(0, ("busy", 50, 130), ("idle", 130, 150), ("draining", 150, 155))
    book.replica(1, ("weights", 105, 125), ("idle", 125, 200), ("busy", 200, 201), ("idle", 201, 300))
    usage = Usage.from_facts(book.facts())
    assert usage.after_window_s == 30 + 5 + 20 + 1 and usage.state_seconds() == 50 + 56
    assert usage.state_seconds(ReplicaState.IDLE) == 0


def test_a_replica_started_after_the_window_that_serves_no_request_is_not_owed():
    book = Book().replica(0, ("busy", 50, 130)).replica(1, ("weights", 105, 125), ("idle", 125, 300))
    assert Usage.from_facts(book.facts()).after_window_s == 30


def test_calls_after_the_window_belong_to_the_task_that_began_in_it():
    book = Book(window=(0, 50)).replica(0, ("busy", 0, 100))
    book.request(40, 40, 41, 60, task_id=0, call_index=0, calls_in_task=2)
    book.request(70, 70, 71, 90, task_arrived_s=40, task_id=0, call_index=1, calls_in_task=2)
    book.request(55, 55, 56, 60, task_id=1, call_index=0)
    usage = Usage.from_facts(book.facts())
    assert (usage.requests_finished, usage.input_tokens) == (2, 20)


def test_gpus_over_time():
    book = Book(window=(0, 100), gpus_per_replica=2).replica(0, ("idle", 10, 130)).replica(1, ("idle", 30, 60))
    length_s, gpus = Usage.from_facts(book.replica(2, ("idle", 60, 80)).facts()).gpus_over_time()
    assert length_s.tolist() == [20, 30, 20, 20] and gpus.tolist() == [2, 4, 4, 2]
    assert (length_s * gpus).sum() == 2 * (90 + 30 + 20)


def test_hours_hold_all_there_is():
    day = day_of_traffic(requests_n=2000)
    end_s = quiet_moment(day, 80_000.25)
    usage = Usage.from_facts(part_of(day, 1234.5, end_s))
    hours = [part for _, part in usage.by_hour()]
    assert len(hours) == 23 and hours[0].window.start_s == 1234.5 and hours[-1].window.end_s == end_s
    assert sum(part.window.length_s for part in hours) == pytest.approx(usage.window.length_s)
    for state in ReplicaState:
        assert sum(part.state_seconds(state) for part in hours) == pytest.approx(usage.state_seconds(state))
    for part in hours:  # no hour holds more than its length times the replicas that lived in it
        length_s, gpus = part.gpus_over_time()
        assert part.state_seconds() - part.after_window_s == pytest.approx((length_s * gpus).sum())


def test_resident_seconds_by_application():
    book = Book().replica(0, ("busy", 0, 100))
    book.request(0, 1, 2, 11, application=3).request(5, 10, 12, 20, application=3).request(6, 7, 8, 9, application=0)
    fleet = Usage.from_facts(book.facts()).fleet
    assert fleet["application"].tolist() == [0, 3] and fleet["resident_s"].tolist() == [2, 20]
    assert fleet["requests"].tolist() == [1, 2] and fleet["input_tokens"].tolist() == [10, 20]


def test_a_task_is_finished_when_its_last_call_is():
    book = Book(window=(0, 50)).replica(0, ("busy", 0, 100))
    book.request(0, 0, 1, 10, task_id=0, call_index=0, calls_in_task=2)
    book.request(60, 60, 61, 100, task_arrived_s=0, task_id=0, call_index=1, calls_in_task=2)  # after the window
    book.request(5, 5, 6, 20, task_id=1, call_index=0, calls_in_task=2)  # its second call never came
    book.request(55, 55, 56, 60, task_id=2)  # begins after the window
    usage = Usage.from_facts(book.facts())
    assert (usage.tasks_finished, usage.requests_finished) == (1, 3)


def test_json_gives_back_every_bit_and_stays_small():
    usage = Usage.from_facts(day_of_traffic(requests_n=5000, overflow_wait_s=5.0, service_s=60.0, max_num_seqs=3))
    text = usage.to_json()
    again = Usage.from_json(text)
    assert again.to_json() == text and again.window == usage.window
    for table in ("replicas", "gpu", "api", "fleet"):
        mine, its = getattr(usage, table), getattr(again, table)
        assert all(np.array_equal(its[n], mine[n]) and its[n].dtype == mine[n].dtype for n in mine)
    assert len(text) < 6000 and json.loads(text)["api"]["requests"]


OLD = {
    "window": [1800, 9000], "gpus_per_replica": 2, "requests_finished": 3, "tasks_finished": 3, "input_tokens": 300,
    "cached_input_tokens": 20, "output_tokens": 30,
    "replicas": {
        "replica_id": [0, 1], "started_s": [0.0, 2000.0], "ended_s": [9000.0, 3000.0], "cold_start_life_s": [10.0, 5.0],
        "allocation_s": [0.0, 5.0], "image_s": [0, 0], "weights_s": [0, 0], "engine_start_s": [0, 0],
        "idle_s": [7000.0, 495.0], "busy_s": [200.0, 500.0], "draining_s": [0, 0],
    },
    "api": {"hour": [0, 1], "requests": [1, 1], "input_tokens": [70, 30], "cached_input_tokens": [20, 0],
            "output_tokens": [7, 3]},
}  # fmt: skip


def test_what_was_written_before_there_were_hours_is_still_read():
    usage = Usage.from_json(json.dumps(OLD))
    assert usage.state_seconds(ReplicaState.IDLE) == 7495 and usage.gpu_hours_paid == pytest.approx(2 * 8200 / 3600)
    assert usage.api["input_tokens"].sum() == 100 and usage.api["cache_write_tokens"].sum() == 80
    assert not usage.is_detailed and Usage.from_json(usage.to_json()).to_json() == usage.to_json()
    with pytest.raises(ConfigError, match="by the hour: needs hours.*run it again"):
        list(usage.by_hour())


def test_a_version_of_the_future_is_refused():
    with pytest.raises(ConfigError, match="version 7: this program reads 1 to 6"):
        Usage.from_json(json.dumps(OLD | {"version": 7}))


def test_nothing_used():
    usage = Usage.from_facts(Book(gpus_per_replica=0).facts())
    assert usage.state_seconds() == 0 and usage.requests_finished == 0
    assert Usage.from_json(usage.to_json()).to_json() == usage.to_json()


@pytest.mark.parametrize("after_s", [3600.0, 30_000.0])
def test_windows_that_part_where_no_replica_works_add_up(after_s):
    facts = day_of_traffic(requests_n=3000)
    whole, cut_s = Usage.from_facts(facts), quiet_moment(facts, after_s)
    parts = [Usage.from_facts(part_of(facts, *w)) for w in ((0, cut_s), (cut_s, 86_400))]
    for state in ReplicaState:
        assert sum(p.state_seconds(state) for p in parts) == pytest.approx(whole.state_seconds(state))
    for total in ("requests_finished", "tasks_finished", "input_tokens", "output_tokens", "cached_input_tokens"):
        assert sum(getattr(p, total) for p in parts) == getattr(whole, total)
