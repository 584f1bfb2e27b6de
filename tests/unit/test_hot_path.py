"""The compiled hot path is no trap: derive from it and it works, or one sentence says what to do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import simpy

from sim.engine.replica import Replica
from sim.engine.scheduler import Scheduler
from sim.hot_path import is_compiled, numbers_explained
from sim.recorder import Recorder
from sim.records import Backend
from sim.routing.gateway import Gateway
from sim.work import Call, Request, Task

MEMORY = {"kv_blocks": 1000, "max_num_seqs": 8, "max_num_batched_tokens": 512}


class Metronome:
    """Every step takes one second."""

    context_s = 0.0

    def decode_s(self, n_decoding):
        return 1.0

    def step_s(self, n_decoding, context_tokens, chunks):
        return 1.0


class OneAtATime(Scheduler):
    """Admits no request while another one runs."""

    def _admit(self, s, budget, chunks):
        return 0 if self.running else super()._admit(s, budget, chunks)


class Counting(Replica):
    """Counts what it is sent, and stamps it with its own id."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.n_sent = 0

    def submit(self, request):
        self.n_sent += 1
        return super().submit(request)


class Telling(Recorder):
    """Keeps the task of every request that it enters."""

    def __init__(self):
        super().__init__()
        self.task_ids = []

    def request(self, r):
        self.task_ids.append(r.task.task_id)
        super().request(r)


def served(replica_type=Replica, **options):
    """Two requests of 10 input and 5 output tokens that arrive at once, in order of their end, and their replica."""
    env, done = simpy.Environment(), []
    replica = replica_type(env, Metronome(), **MEMORY, **options, on_done=done.append)
    for task_id in range(2):
        request = Request(Task(task_id, 0.0, (Call(10, 5),)), 0, 0.0)
        request.backend = Backend.FLEET
        replica.submit(request)
    env.run()
    return done, replica


def test_a_scheduler_of_ones_own_decides_what_runs():
    assert [r.finished_s for r in served()[0]] == [5.0, 5.0]
    assert [r.finished_s for r in served(new_scheduler=OneAtATime)[0]] == [5.0, 10.0]


def test_a_replica_of_ones_own_is_sent_the_requests():
    done, replica = served(Counting, replica_id=7)
    assert replica.n_sent == 2 and [r.replica_id for r in done] == [7, 7]


def test_a_recorder_of_ones_own_enters_what_the_recorder_enters():
    own, plain = Telling(), Recorder()
    for request in served()[0]:
        own.request(request)
        plain.request(request)
    assert own.task_ids == [0, 1]
    for name, column in plain.requests().items():
        np.testing.assert_array_equal(own.requests()[name], column)


def test_other_classes_work_interpreted_or_say_what_to_do():
    if is_compiled():
        with pytest.raises(TypeError, match=r"class Own cannot .* sim\.routing\.gateway\.Gateway.*SIM_INTERPRETED=1"):
            type("Own", (Gateway,), {})
    else:
        assert issubclass(type("Own", (Gateway,), {}), Gateway)


@pytest.mark.skipif(not is_compiled(), reason="the hot path is interpreted here")
def test_what_to_do_helps():
    program = "from sim.routing.gateway import Gateway; type('Own', (Gateway,), {})"
    words = [sys.executable, "-c", program]
    assert subprocess.run(words, env={"SIM_INTERPRETED": "1"}, capture_output=True).returncode == 0
    assert b"SIM_INTERPRETED=1" in subprocess.run(words, env={}, capture_output=True).stderr


@pytest.mark.skipif(not is_compiled(), reason="the hot path is interpreted here")
def test_a_number_of_numpys_is_refused_in_one_sentence():
    with pytest.raises(TypeError, match=r"takes int, not numpy\.int64: write int\(\.\.\.\)"):
        with numbers_explained():
            Request(Task(np.int64(0), 0.0, (Call(10, 5),)), np.int64(0), 0.0)
