"""KV memory as stories in whole numbers (blocks of 4 tokens), and its law of conservation in random worlds."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from sim.engine.kv_memory import KvMemory, Stream
from tests.reference.worlds import draw_world, play_replica

SYSTEM = ("system prompt", 8)


def serve(memory: KvMemory, segments, tokens: int, open_ended: bool = False):
    """A sequence comes, computes `tokens` tokens in all, and stays; returns (hit blocks, what to do when it leaves)."""
    found, hit, _ = memory.find(segments, tokens)
    holds = memory.hold(found)
    own = -(-tokens // memory.block_tokens) - hit
    memory.available_blocks -= own
    own -= memory.publish(holds, tokens, open_ended) if holds else 0

    def leave():
        memory.release(own)
        memory.let_go(holds)

    return hit, leave


def served(memory: KvMemory, segments, tokens: int, open_ended: bool = False) -> int:
    """The same, gone at once; returns the hit blocks."""
    hit, leave = serve(memory, segments, tokens, open_ended)
    leave()
    return hit


def test_the_next_call_of_a_task_finds_prompt_and_answer():
    memory = KvMemory(100, 4)
    assert served(memory, (SYSTEM, ("task", 6)), 14 + 5, open_ended=True) == 0  # 14 of prompt, 5 of answer in memory
    assert memory.resident((SYSTEM, ("task", 6 + 6 + 3)), 23) == 4  # 19 tokens are 4 whole blocks


def test_the_block_of_the_last_token_is_always_computed():
    memory = KvMemory(100, 4)
    served(memory, (SYSTEM,), 8)
    assert memory.resident((SYSTEM,), 8) == 1
    assert memory.resident((SYSTEM,), 9) == 2


def test_a_text_shorter_than_a_block_hides_nothing():
    memory = KvMemory(100, 4)
    served(memory, (("greeting", 3), ("task", 10)), 13)
    assert memory.resident((("greeting", 3), ("task", 12)), 15) == 3


def test_another_task_shares_the_common_text_only():
    memory = KvMemory(100, 4)
    served(memory, (SYSTEM, ("one", 20)), 28)
    assert served(memory, (SYSTEM, ("two", 20)), 28) == 2
    assert memory.evictable_blocks == 2 + 5 + 5


def test_the_least_recently_used_goes_first_and_its_tail_before_its_head():
    memory = KvMemory(12, 4)
    served(memory, (SYSTEM, ("one", 20)), 28)
    served(memory, (SYSTEM, ("two", 20)), 28)
    memory.available_blocks -= 3  # nothing is free
    assert memory.resident((SYSTEM, ("one", 20)), 29) == 2 + 2
    assert memory.resident((SYSTEM, ("two", 20)), 29) == 2 + 5
    memory.available_blocks -= 2 + 4
    assert memory.resident((SYSTEM, ("one", 20)), 29) == 2
    assert memory.resident((SYSTEM, ("two", 20)), 29) == 2 + 1


def test_what_is_used_again_is_young_again():
    memory = KvMemory(10, 4)
    served(memory, (("one", 20),), 20)
    served(memory, (("two", 20),), 20)
    assert served(memory, (("one", 20),), 21) == 5  # its one new block is taken from the other
    memory.available_blocks -= 4
    assert memory.resident((("two", 20),), 21) == 0
    assert memory.resident((("one", 20),), 21) == 5


def test_blocks_that_no_prompt_can_find_age_like_others():
    memory = KvMemory(10, 4)
    served(memory, (("old", 16),), 16)
    served(memory, (), 12)
    served(memory, (("young", 12),), 12)
    memory.available_blocks -= 4
    assert memory.resident((("old", 16),), 17) == 0
    memory.available_blocks -= 3
    assert memory.resident((("young", 12),), 13) == 3


def test_a_held_text_is_not_evicted():
    memory = KvMemory(10, 4)
    _, leave = serve(memory, (SYSTEM,), 9)
    assert memory.available_blocks == 7
    memory.available_blocks -= 7
    assert memory.resident((SYSTEM,), 9) == 2
    leave()
    assert memory.available_blocks == 3


def test_of_two_copies_computed_at_once_the_one_that_is_gone_gives_way_to_the_longer():
    """Both began before either had computed anything. The shorter is done, and its four blocks are idle, when the other
    has computed the same four and two more: six blocks are held, and the four of the first are free again."""
    memory = KvMemory(20, 4)
    short, long = (memory.hold(memory.find((("text", tokens),), tokens)[0]) for tokens in (16, 24))
    memory.available_blocks -= 4 + 6
    assert memory.publish(short, 16, False) == 4
    memory.let_go(short)
    assert (memory.available_blocks, memory.evictable_blocks) == (20 - 6, 4)
    assert memory.publish(long, 24, False) == 6
    assert (memory.available_blocks, memory.evictable_blocks, memory.resident_blocks) == (20 - 6, 0, 6)
    memory.let_go(long)
    assert (memory.available_blocks, memory.evictable_blocks) == (20, 6)


def test_a_prompt_within_a_longer_text_holds_no_more_than_it_reads():
    memory = KvMemory(10, 4)
    served(memory, (("manual", 32),), 32)
    hit, leave = serve(memory, (("manual", 9),), 10)
    assert hit == 2
    assert memory.available_blocks == 10 - 3
    memory.available_blocks -= 7
    assert memory.resident((("manual", 32),), 33) == 2
    leave()


def test_the_longest_hold_counts_until_it_is_over():
    memory = KvMemory(20, 4)
    served(memory, (("manual", 32),), 33)
    _, long_leaves = serve(memory, (("manual", 32),), 33)
    _, short_leaves = serve(memory, (("manual", 8),), 9)
    assert memory.available_blocks == 20 - 8 - 1 - 1
    long_leaves()
    assert memory.available_blocks == 20 - 2 - 1
    short_leaves()
    assert memory.available_blocks == 20


def idle_runs(memory):
    """The queue of evictions, the next one first."""
    run = memory._idle.oldest
    while run is not memory._idle._ring:
        yield run
        run = run.newer


def runs_from_the_deepest(stream):
    """The runs of a stream, with both ends and both directions of the chain checked."""
    runs, run = [], stream.deepest
    while run is not None:
        assert run.stream is stream and run.deeper is (runs[-1] if runs else None)
        runs.append(run)
        run = run.shallower
    assert stream.shallowest is (runs[-1] if runs else None)
    return runs


@pytest.mark.parametrize("first_seed", range(0, 200, 50))
def test_when_all_is_over_every_block_is_free_or_evictable(first_seed):
    for seed in range(first_seed, first_seed + 50):
        memory = play_replica(draw_world(seed))[1]._batch.memory
        memory.evict_taken()
        assert memory.available_blocks == memory.total_blocks >= memory.evictable_blocks
        assert sum(run.blocks for run in idle_runs(memory)) == memory.evictable_blocks
        for stream in memory._streams.values():
            assert not stream.holders and not stream.shorter and not stream.held_blocks
            runs = runs_from_the_deepest(stream)
            assert stream.resident_blocks == sum(run.blocks for run in runs) > 0
            assert {id(run) for run in runs} <= {id(run) for run in idle_runs(memory)}


def test_a_stream_knows_how_many_sequences_hold_how_many_of_its_blocks():
    """Against a plain list of what each holder holds."""
    rng = random.Random(4)
    n_several = 0
    for _ in range(50):
        stream, held = Stream("s"), []
        for _ in range(100):
            if held and rng.random() < 0.5:
                stream.leave(held.pop(rng.randrange(len(held))))
            else:
                held.append(rng.choice([0, 0, 3, 3, 5, 8]))
                stream.join(held[-1])
            extents = Counter(held)
            most = max(extents, default=0)
            assert (stream.held_blocks, stream.holders) == (most, extents.pop(most, 0)), held
            assert (stream.shorter or {}) == extents
            n_several += len(extents) > 1
    assert n_several > 500  # Several numbers of blocks at a time have been among them.
