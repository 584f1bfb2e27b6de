"""What vLLM starts with by version and card, and the rules that came with a version."""

from __future__ import annotations

import pytest

from sim.work import Call, Task
from tests.reference.worlds import ProbeStepTime, World, play_replica, play_stepping


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
