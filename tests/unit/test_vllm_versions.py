"""What vLLM starts with by version and card, and the rules that came with a version."""

from __future__ import annotations

import pytest

import sim
from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import gpu_named
from sim.hardware.model import model_named
from sim.hardware.step_time.roofline import Roofline, graph_sizes
from sim.work import Call, Task
from tests.reference.worlds import ProbeStepTime, World, play_replica, play_stepping

VERSIONS = ("vllm_0_15", "vllm_0_19", "vllm_0_24")
LARGE, OTHER = (1024, 8192), (256, 2048)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("gpu", "defaults"), [("h100_sxm", LARGE), ("b200", LARGE), ("a100_80gb_sxm", OTHER), ("l4", OTHER)]
)
def test_a_large_card_that_is_no_a100_runs_four_times_the_sequences(version, gpu, defaults):
    engine = sim.scenario(f"engine={version}", f"gpu={gpu}").engine
    assert (engine.max_num_seqs, engine.max_num_batched_tokens) == defaults


def test_what_is_told_stands():
    engine = sim.scenario("engine=vllm_0_24", "engine.max_num_seqs=64").engine
    assert (engine.max_num_seqs, engine.max_num_batched_tokens) == (64, 8192)


def test_a_pool_starts_with_the_defaults_of_its_own_card():
    scenario = sim.scenario("engine=vllm_0_24", "pools=spot_a100", "+engine@pools.spot.engine=vllm_0_24")
    assert (scenario.engine.max_num_seqs, scenario.pools["spot"].engine.max_num_seqs) == (1024, 256)


def test_the_newest_takes_more_of_the_memory_and_waits_for_whole_prompts():
    engines = [sim.scenario(f"engine={version}").engine for version in VERSIONS]
    assert [engine.gpu_memory_utilization for engine in engines] == [0.9, 0.9, 0.92]
    assert [engine.scheduler_reserve_full_isl for engine in engines] == [False, True, True]
    assert [engine.blank_blocks_first for engine in engines] == [False, False, True]


def test_graphs_are_captured_up_to_twice_the_sequences_and_no_further_than_the_flag():
    sizes = graph_sizes(EngineFlags(max_num_seqs=256, max_cudagraph_capture_size=512))
    assert sizes[:6] == [1, 2, 4, 8, 16, 24] and sizes[-17:-14] == [256, 272, 288] and sizes[-1] == 512
    assert graph_sizes(EngineFlags(max_num_seqs=3, max_cudagraph_capture_size=512)) == [1, 2, 4]
    assert graph_sizes(EngineFlags()) == []


def test_a_batch_between_two_graphs_takes_as_long_as_the_larger_one():
    """Apart from what its own sequences take: nothing is padded at a captured size, nor beyond the last."""

    def roofline(**engine):
        flags = EngineFlags(max_num_seqs=1024, max_num_batched_tokens=8192, **engine)
        return Roofline(gpu_named("l4"), model_named("llama_3_1_8b"), flags)

    plain, graphs = roofline(), roofline(max_cudagraph_capture_size=512)
    padding_s = [graphs.decode_s(n) - plain.decode_s(n) for n in range(600)]
    sizes = [
        0,
        *graph_sizes(EngineFlags(max_num_seqs=1024, max_num_batched_tokens=8192, max_cudagraph_capture_size=512)),
    ]
    for n, more_s in enumerate(padding_s):
        assert (more_s == 0) if n in sizes or n > 512 else (more_s > 0), n
    assert graphs.step_s(100, 0.0, [(90, 0, False)]) - plain.step_s(100, 0.0, [(90, 0, False)]) == pytest.approx(
        padding_s[190]
    )


@pytest.mark.parametrize("prefix_caching", [False, True])
def test_a_prompt_that_has_no_room_as_a_whole_waits_or_is_thrown_out_again(prefix_caching):
    """24 tokens of memory; the first request has 8 and grows to 15 by second 8, the second one has a prompt of 20."""
    tasks = [Task(0, 0.0, (Call(8, 8),)), Task(1, 0.5, (Call(20, 1, segments=(("text", 20),)),))]
    memory = {"kv_blocks": 6, "block_tokens": 4, "max_num_seqs": 4, "max_num_batched_tokens": 8}

    def second(**rule):
        world = World(tasks, ProbeStepTime(1.0, 0, 0, 0, 0, 0), memory | rule | {"prefix_caching": prefix_caching})
        truth, found = play_stepping(world)[0][1, 0], play_replica(world)[0][1, 0]
        assert (found.admitted_s, found.first_token_s, found.preemptions) == (
            truth.admitted_s, truth.first_token_s, truth.preemptions,
        )  # fmt: skip
        return found

    waits, hurries = second(scheduler_reserve_full_isl=True), second()
    assert (waits.admitted_s, waits.first_token_s, waits.preemptions) == (8.0, 11.0, 0)  # 8, 8 and 4 tokens of prompt
    assert hurries.admitted_s == 1.0 and hurries.preemptions > 0


def test_a_half_filled_block_goes_before_a_prompt_that_may_come_back():
    """Three blocks: a text, two that nobody can find. The last of these was used later, and yet is reused first."""
    text = Call(5, 1, segments=(("text", 4),))
    tasks = [Task(0, 0.0, (text,)), Task(1, 10.0, (Call(3, 1),)), Task(2, 20.0, (Call(6, 1),)), Task(3, 30.0, (text,))]
    memory = {"kv_blocks": 3, "block_tokens": 4, "max_num_seqs": 4, "max_num_batched_tokens": 8}
    for blank_first, hit in ((False, 0), (True, 4)):
        world = World(tasks, ProbeStepTime(1.0, 0, 0, 0, 0, 0), memory | {"blank_blocks_first": blank_first})
        assert [play(world)[0][3, 0].cached_input_tokens for play in (play_stepping, play_replica)] == [hit, hit]
