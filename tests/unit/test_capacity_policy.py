"""Who has room in a replica, and whether a prompt may be cut, told in whole seconds."""

from __future__ import annotations

import pytest
import simpy

from sim.clock import call_later
from sim.engine.replica import Replica
from sim.hardware.step_time.affine import AffineStepTime
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError
from sim.work import Call, Outcome, Request, Task


def played(*calls: Call, **options) -> list[Request]:
    """All calls at once on a replica with 10 blocks of 4 tokens, every step of which takes a second."""
    env = simpy.Environment()
    done: list[Request] = []
    limits = {"kv_blocks": 10, "max_num_seqs": 8, "max_num_batched_tokens": 100, "block_tokens": 4} | options
    replica = Replica(env, AffineStepTime(base_s=1.0), on_done=done.append, **limits)
    for i, call in enumerate(calls):
        call_later(env, 0.0, replica.submit, Request(Task(i, 0.0, (call,)), 0, 0.0))
    env.run()
    return sorted(done, key=lambda request: request.task.task_id)


def test_greed_admits_all_and_preempts():
    """Three prompts take 2 blocks each, but with their answers 4 each: 12, and there are 10."""
    requests = played(*[Call(8, 9)] * 3)
    assert [r.admitted_s for r in requests] == [0.0, 0.0, 0.0]
    assert sum(r.preemptions for r in requests) == 1


def test_room_for_whole_answers_lets_the_third_wait_and_none_is_preempted():
    requests = played(*[Call(8, 9)] * 3, capacity_policy="guaranteed_no_evict")
    assert [r.admitted_s for r in requests] == [0.0, 0.0, 9.0]
    assert [r.finished_s for r in requests] == [9.0, 9.0, 18.0]
    assert not any(r.preemptions for r in requests)


def test_who_waits_for_room_for_its_whole_answer_shows_as_blocked():
    env = simpy.Environment()
    limits = {"kv_blocks": 10, "max_num_seqs": 8, "max_num_batched_tokens": 100, "block_tokens": 4}
    step_time = AffineStepTime(base_s=1.0)
    replica = Replica(env, step_time, on_done=lambda _: None, capacity_policy="guaranteed_no_evict", **limits)
    for i in range(3):
        call_later(env, 0.0, replica.submit, Request(Task(i, 0.0, (Call(8, 9),)), 0, 0.0))
    env.run(until=1.5)
    assert (replica.n_running, replica.n_waiting, replica.is_blocked) == (2, 1, True)
    env.run(until=9.5)
    assert (replica.n_running, replica.n_waiting, replica.is_blocked) == (1, 0, False)


def test_a_long_prompt_is_cut_or_waits_until_a_step_has_room_for_it():
    """While the first decodes, it takes one token of a step's ten."""
    calls = (Call(2, 5), Call(10, 1))
    first, second = played(*calls, max_num_batched_tokens=10)
    assert (second.admitted_s, second.first_token_s) == (0.0, 2.0)  # eight tokens beside the first prompt, then two
    first, second = played(*calls, max_num_batched_tokens=10, chunked_prefill=False)
    assert (first.finished_s, second.admitted_s, second.first_token_s) == (5.0, 5.0, 6.0)


def test_a_prompt_no_step_can_hold_is_refused_where_prompts_are_not_cut():
    assert [r.outcome for r in played(Call(11, 1), max_num_batched_tokens=10)] == [Outcome.FINISHED]
    (refused,) = played(Call(11, 1), max_num_batched_tokens=10, chunked_prefill=False)
    assert refused.outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["engine.scheduling_policy=priority"], "guaranteed_no_evict: needs scheduling_policy = fcfs"),
        (["disaggregation={prefill_replicas:1,link_gb_per_s:50}"], "needs engine.capacity_policy = max_utilization"),
    ],
)
def test_what_does_not_go_together_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        parse(compose_config("engine.capacity_policy=guaranteed_no_evict", *options))
