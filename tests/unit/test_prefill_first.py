"""SGLang's order of steps, as stories in whole seconds; what its preset says by card; what it is refused with."""

from __future__ import annotations

import numpy as np
import pytest
import simpy

import sim
from sim.clock import call_later
from sim.engine.replica import Replica
from sim.hardware.prefill_first import PrefillFirst
from sim.schema import ConfigError
from sim.work import Call, Request, Task
from tests.reference.worlds import ProbeStepTime, World, play_replica, play_stepping

ENGINE = {
    "kv_blocks": 100, "max_num_seqs": 8, "max_num_batched_tokens": 100, "block_tokens": 1, "blank_blocks_first": True,
    "prefill_first": PrefillFirst(),
}  # fmt: skip
A_SECOND_A_TOKEN = ProbeStepTime(1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
"""A step takes 1 s, and 1 s more for each token of a prompt."""
A_SECOND = ProbeStepTime(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def told(tasks: list[Task], step_time: ProbeStepTime, **engine) -> list[Request]:
    """The first request of each task, as the replica plays it and the plain engine too."""
    world = World(tasks, step_time, ENGINE | engine)
    (truth, _), (played, *_) = play_stepping(world), play_replica(world)
    for key, request in truth.items():
        found = played[key]
        assert (found.admitted_s, found.first_token_s, found.finished_s, found.longest_gap_s) == (
            request.admitted_s, request.first_token_s, request.finished_s, request.longest_gap_s,
        )  # fmt: skip
    return [played[key] for key in sorted(played)]


def stamps(request: Request) -> tuple:
    return request.admitted_s, request.first_token_s, request.finished_s


def test_an_answer_stands_still_while_a_prompt_is_computed():
    """The first answer has tokens at 2, 3, 4 and 5 s; the prompt that came at 4.5 s takes until 9; then both go on."""
    first, second = told([Task(0, 0.0, (Call(1, 6),)), Task(1, 4.5, (Call(3, 3),))], A_SECOND_A_TOKEN)
    assert (stamps(first), first.longest_gap_s) == ((0.0, 2.0, 11.0), 5.0)
    assert (stamps(second), second.longest_gap_s) == ((5.0, 9.0, 11.0), 1.0)


def test_prompts_that_come_one_after_another_are_one_long_gap():
    """Each comes while the one before is computed. The first answer waits for all, the second one for the third."""
    tasks = [Task(0, 0.0, (Call(1, 3),)), Task(1, 2.5, (Call(3, 2),)), Task(2, 5.0, (Call(4, 2),))]
    first, second, third = told(tasks, A_SECOND_A_TOKEN)
    assert [stamps(r) for r in (first, second, third)] == [(0.0, 2.0, 13.0), (3.0, 7.0, 13.0), (7.0, 12.0, 13.0)]
    assert [r.longest_gap_s for r in (first, second, third)] == [10.0, 6.0, 1.0]


def test_a_prompt_that_is_cut_goes_first_and_others_fill_up_its_last_step():
    tasks = [Task(0, 0.0, (Call(12, 2),)), Task(1, 0.0, (Call(5, 2),)), Task(2, 0.0, (Call(9, 2),))]
    requests = told(tasks, A_SECOND, max_num_batched_tokens=10)
    assert [r.first_token_s for r in requests] == [2.0, 2.0, 3.0]  # 10; 2, 5 and 3 of 9; 6
    assert [r.finished_s for r in requests] == [4.0, 4.0, 4.0]


def test_a_request_waits_for_room_beside_the_answers_to_come():
    """Of the first answer 18 tokens are to come at 2 s, of which 0.7 count: 12.6 of the 22 that are left."""
    second = Task(1, 1.5, (Call(5, 4),))

    def admitted_s(**rules):
        tasks = [Task(0, 0.0, (Call(10, 20),)), second]
        return told(tasks, A_SECOND, kv_blocks=33, prefill_first=PrefillFirst(**rules))[1].admitted_s

    assert admitted_s() == 2.0  # the prompt and the token after it are in memory: 22 are free, 9 < 22 - 12.6
    assert admitted_s(new_token_ratio=0.75) == 20.0  # 9 > 22 - 13.5: until the first is done


def test_the_ratio_falls_from_step_to_step():
    """By 0.1 a step: at 4 s, 3 steps after the first token, 0.7 of the 16 tokens to come count, or nearly all 16."""
    tasks = [Task(0, 0.0, (Call(10, 20),)), Task(1, 3.5, (Call(5, 4),))]
    for decay_steps, admitted_s in ((10, 4.0), (1000, 20.0)):
        rules = PrefillFirst(new_token_ratio=1.0, least_new_token_ratio=0.0, ratio_decay_steps=decay_steps)
        assert told(tasks, A_SECOND, kv_blocks=34, prefill_first=rules)[1].admitted_s == admitted_s


def test_a_place_is_taken_a_step_after_it_is_free():
    """Two run at a time. The first is done at 2 s; the decode step from then to 3 s finds out."""
    tasks = [Task(0, 0.0, (Call(1, 2),)), Task(1, 0.0, (Call(1, 9),)), Task(2, 0.0, (Call(1, 2),))]
    assert [r.admitted_s for r in told(tasks, A_SECOND, max_num_seqs=2)] == [0.0, 0.0, 3.0]


def test_the_shortest_answer_with_the_longest_prompt_is_retracted_and_goes_to_the_end():
    """Three answers of 5 tokens each fill the memory at 7 s; the second has the longest prompt. A fourth is waiting: it
    is admitted first, when another has left, as the ratio is 1 after the retraction."""
    tasks = [Task(0, 0.0, (Call(2, 10),)), Task(1, 0.5, (Call(4, 9),)), Task(2, 1.5, (Call(2, 9),))]
    tasks.append(Task(3, 5.5, (Call(2, 2),)))
    rules = PrefillFirst(new_token_ratio=0.0, least_new_token_ratio=0.0)
    requests = told(tasks, A_SECOND, kv_blocks=20, prefill_first=rules, prefix_caching=False)
    assert [r.preemptions for r in requests] == [0, 1, 0, 0]
    assert requests[1].recomputed_tokens == 8 and requests[3].finished_s < requests[1].finished_s


def test_of_two_equal_prompts_in_one_step_both_are_computed():
    """A third one, a step later, finds all of the text but its last token."""
    text = Call(8, 3, segments=(("text", 8),))
    tasks = [Task(0, 0.0, (text,)), Task(1, 0.0, (text,)), Task(2, 0.5, (text,))]
    assert [r.cached_input_tokens for r in told(tasks, A_SECOND)] == [0, 0, 7]


def test_longest_prefix_first_lets_who_is_cached_overtake():
    """At 2 s two wait: one whose text nobody has had, and one behind it whose text of 8 tokens is in memory."""
    text, other = Call(9, 2, segments=(("text", 8),)), Call(9, 2, segments=(("other", 8),))
    tasks = [Task(0, 0.0, (text,)), Task(1, 0.5, (other,)), Task(2, 0.6, (text,))]

    def admitted_s(policy: str) -> list[float | None]:
        rules = PrefillFirst(schedule_policy=policy)
        return [r.admitted_s for r in told(tasks, A_SECOND, max_num_seqs=1, prefill_first=rules)]

    assert admitted_s("fcfs") == [0.0, 2.0, 4.0]
    assert admitted_s("lpm") == [0.0, 4.0, 2.0]


def test_longest_prefix_first_puts_back_who_would_compute_the_same_text_again():
    """A step holds two of three prompts. The second shares 40 tokens with the first: it goes last, and finds them."""
    text, other = (Call(41, 2, segments=((key, 40),)) for key in ("text", "other"))
    tasks = [Task(i, 0.0, (call,)) for i, call in enumerate((text, text, other))]
    for policy, cached in (("fcfs", [0, 0, 0]), ("lpm", [0, 40, 0])):
        rules = PrefillFirst(schedule_policy=policy)
        requests = told(tasks, A_SECOND, max_num_batched_tokens=82, prefill_first=rules, kv_blocks=500)
        assert [r.cached_input_tokens for r in requests] == cached


def test_a_replica_that_is_lost_in_a_standstill_knows_when_each_client_had_a_token():
    """As above, three prompts one after another, and the end at 10 s, while the third is computed."""
    env = simpy.Environment()
    replica = Replica(env, A_SECOND_A_TOKEN, on_done=lambda request: None, **ENGINE)
    calls = [(0.0, Call(1, 3)), (2.5, Call(3, 2)), (5.0, Call(4, 2))]
    for i, (at_s, call) in enumerate(calls):
        call_later(env, at_s, replica.submit, Request(Task(i, at_s, (call,)), 0, at_s))
    env.run(until=10.0)
    left = replica.stop()
    assert [item.last_token_s for item in left] == [3.0, 7.0, None]
    assert [item.generated_tokens for item in left] == [2, 1, 0]
    assert [item.computed_tokens for item in left] == [2, 3, 4]


def both_orders(tasks: list[Task], step_time: ProbeStepTime, step_tokens: int) -> list[list[Request]]:
    """The requests where prompts have steps of their own, and where they share steps with answers."""
    memory = {"kv_blocks": 10_000, "max_num_seqs": 64, "max_num_batched_tokens": step_tokens, "block_tokens": 1}
    rules = {"prefill_first": PrefillFirst(new_token_ratio=0, least_new_token_ratio=0)}
    orders = [play_replica(World(tasks, step_time, memory | order))[0] for order in (rules, {})]
    return [[played[key] for key in sorted(played)] for played in orders]


def test_both_orders_of_work_are_done_at_the_same_moment():
    """Law: where no step has a cost of its own, neither idles nor does anything twice. Prompts first means sooner first
    tokens, on average, and longer longest gaps."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        arrived_s = np.cumsum(rng.exponential(0.5, 30)).tolist()
        tasks = [Task(i, at_s, (Call(*rng.integers(1, 30, 2).tolist()),)) for i, at_s in enumerate(arrived_s)]
        alone, mixed = both_orders(tasks, ProbeStepTime(0.0, 0.01, 0.0, 0.02, 0.0, 0.0), 64)
        assert max(r.finished_s for r in alone) == pytest.approx(max(r.finished_s for r in mixed), abs=1e-9)
        assert np.mean([r.first_token_s for r in alone]) < np.mean([r.first_token_s for r in mixed])
        assert np.mean([r.longest_gap_s for r in alone]) > np.mean([r.longest_gap_s for r in mixed])


def test_of_two_bursts_no_first_token_comes_later_than_in_shared_steps():
    """Law: prompts arrive while 5 answers stream; more of them while those are computed. A step holds them all."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        bursts = [(1.0, Call(*rng.integers(1, 60, 2).tolist())) for _ in range(20)]
        bursts += [(1.3, Call(*rng.integers(1, 60, 2).tolist())) for _ in range(10)]
        tasks = [Task(i, 0.0, (Call(1, 100),)) for i in range(5)]
        tasks += [Task(5 + i, at_s, (call,)) for i, (at_s, call) in enumerate(bursts)]
        alone, mixed = both_orders(tasks, ProbeStepTime(0.25, 0.01, 1e-4, 0.01, 0.0, 0.0), 2000)
        pairs = list(zip(alone[5:], mixed[5:], strict=True))
        assert all(a.first_token_s < b.first_token_s for a, b in pairs)
        assert all(a.longest_gap_s > b.longest_gap_s for a, b in zip(alone[:5], mixed[:5], strict=True))


@pytest.mark.parametrize(
    ("gpu", "chunk", "graph"),
    [("l4", 2048, 24), ("l40s", 4096, 32), ("a100_80gb_sxm", 8192, 256), ("h200_sxm", 8192, 256), ("b200", 16384, 512)],
)
def test_the_preset_starts_with_the_defaults_of_the_card(gpu, chunk, graph):
    engine = sim.scenario("engine=sglang", f"gpu={gpu}").engine
    assert (engine.max_num_batched_tokens, engine.max_cudagraph_capture_size) == (chunk, graph)
    assert engine.block_tokens == 1 and engine.prefill_first == PrefillFirst()


@pytest.mark.parametrize(
    ("word", "law"),
    [
        ("engine.scheduling_policy=priority", "prefill_first: needs scheduling_policy = fcfs, not priority"),
        ("engine.capacity_policy=guaranteed_no_evict", "prefill_first: needs capacity_policy = max_utilization"),
        ("engine.chunked_prefill=false", "prefill_first: needs chunked_prefill = true, not false"),
        ("engine.scheduler_reserve_full_isl=true", "prefill_first: needs scheduler_reserve_full_isl = false, not true"),
        ("engine.block_tokens=4096", "max_num_batched_tokens = 2048: must be >= block_tokens = 4096"),
        ("engine.prefill_first.new_token_ratio=0.05", "least_new_token_ratio = 0.098: must be <= new_token_ratio"),
        ("kv_tiers=host_memory", "kv_tiers: need engine.prefill_first = null"),
        ("disaggregation={prefill_replicas:1,link_gb_per_s:50}", "disaggregation: needs engine.prefill_first = null"),
    ],
)
def test_what_it_cannot_be_had_with_is_said_in_one_line(word, law):
    with pytest.raises(ConfigError, match=law) as refusal:
        sim.scenario("engine=sglang", "gpu=l4", word)
    assert "\n" not in str(refusal.value)
