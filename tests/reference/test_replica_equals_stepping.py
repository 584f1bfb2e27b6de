"""The leaping replica gives every request the stamps that the plain step-by-step engine gives it.

Hundreds of small random worlds (`worlds.py`), each played by both. Where the plain engine holds two blocks of equal
content (`BlockPool.copies`) the replica is allowed its known limit, see `sim.engine.kv_memory`.

What looks inside the replica, or makes it wrong on purpose, needs it interpreted: `SIM_INTERPRETED=1 pytest`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest

from sim.engine.kv_memory import KvMemory
from sim.engine.kv_tiers import Tier
from sim.engine.priority_queue import PriorityQueue
from sim.engine.replica import Replica
from sim.engine.scheduler import Scheduler
from sim.engine.schedulers.priority import PriorityScheduler
from sim.engine.schedulers.reserving import ReservingScheduler
from sim.engine.schedulers.tiered import TieredScheduler
from sim.engine.token_gaps import TokenGaps
from sim.hot_path import is_compiled
from sim.work import Call, Outcome, Task
from tests.reference.worlds import (
    Played,
    ProbeStepTime,
    World,
    differences,
    draw_tiered_world,
    draw_world,
    gap_differences,
    play_replica,
    play_stepping,
)

N_WORLDS, N_TIERED = (1000, 300) if is_compiled() else (400, 120)  # interpreted, a world takes five times as long
ORDINARY, TIERED = range(N_WORLDS), range(N_WORLDS, N_WORLDS + N_TIERED)
FEW = (*ORDINARY[::10], *TIERED[::10])


def world_of(seed: int) -> World:
    """The world with this number; the last ones have KV tiers."""
    return draw_tiered_world(seed) if seed in TIERED else draw_world(seed)


interpreted_only = pytest.mark.skipif(is_compiled(), reason="compiled replicas hide their state: SIM_INTERPRETED=1")


def watched_replica(seen: Counter) -> type[Replica]:
    """A replica that counts what the plain engine has no word for."""

    class WatchedReplica(Replica):
        def _boundary(self, wake):
            called_off = wake is not self._wake
            super()._boundary(wake)
            seen["leaps"] += self._steps > 1 and not called_off

        def _cut_leap(self, steps, now):
            before = self._steps
            super()._cut_leap(steps, now)
            seen["cut leaps"] += self._steps < before

    return WatchedReplica


@dataclass
class Search:
    """Worlds, played once by both."""

    seen: Counter = field(default_factory=Counter)
    truth: dict[int, Played] = field(default_factory=dict)
    copies: dict[int, int] = field(default_factory=dict)
    differences: dict[int, list[str]] = field(default_factory=dict)


def searched(seeds: Iterable[int]) -> Search:
    """These worlds, played by both."""
    found = Search()
    replica_class = Replica if is_compiled() else watched_replica(found.seen)
    for seed in seeds:
        world = world_of(seed)
        truth, engine = play_stepping(world)
        played, _, histogram = play_replica(world, replica_class)
        found.truth[seed] = truth
        found.copies[seed] = engine.pool.copies
        found.differences[seed] = differences(truth, played) or gap_differences(world, engine, histogram)
        found.seen.update(engine.seen)
        found.seen.update(request.outcome.name for request in truth.values())
        found.seen["gaps"] += sum(histogram.counts)
        found.seen["gaps over a preemption"] += sum(r.preemptions > 0 for r in truth.values() if r.longest_gap_s)
        found.seen["evictions"] += engine.pool.evictions
        found.seen["blank blocks before others"] += engine.pool.reordered
        found.seen["requests preempted twice"] += sum(request.preemptions > 1 for request in truth.values())
    return found


@pytest.fixture(scope="module")
def search() -> Search:
    return searched((*ORDINARY, *TIERED))


def assert_agrees(found: Search) -> None:
    wrong = {seed: lines for seed, lines in found.differences.items() if lines and not found.copies[seed]}
    assert not wrong, "\n".join(f"world {seed}: {lines[0]}" for seed, lines in wrong.items())


def test_every_stamp_agrees_in_every_tenth_world():
    assert_agrees(searched(FEW))


@pytest.mark.slow
def test_every_stamp_agrees(search):
    assert_agrees(search)


@pytest.mark.slow
def test_where_content_is_held_twice_hardly_anything_differs(search):
    with_copies = [seed for seed, copies in search.copies.items() if copies]
    differing = [seed for seed in with_copies if search.differences[seed]]
    assert 0.04 * N_WORLDS < len(with_copies) < N_WORLDS / 4
    assert len(differing) < 0.1 * len(with_copies)
    for seed in differing:
        assert not any("outcome" in line for line in search.differences[seed])


@pytest.mark.slow
@pytest.mark.parametrize(
    "event",
    [
        "FINISHED", "REFUSED", "ABANDONED", "chunked", "hits", "evictions", "preemptions", "hits after preemption",
        "requests preempted twice", "not ready", "overtaken", "preempted within the batch",
        "preempted though scheduled", "refused for the queue", "handed over", "does not fit the step",
        "would not fit in the end", "ABORTED", "STOPPED", "loads", "no room to load", "gaps", "gaps over a preemption",
        "only its first chunk has room", "blank blocks before others",
        *(pytest.param(event, marks=interpreted_only) for event in ("leaps", "cut leaps")),
    ],
)  # fmt: skip
def test_the_search_is_not_blind(search, event):
    assert search.seen[event] > 0.06 * N_WORLDS, f"{event}: too rare in these worlds to be tested"


@pytest.mark.slow
def test_no_sequence_is_preempted_that_has_room_for_its_whole_answer(search):
    never = [seed for seed in search.truth if world_of(seed).engine.get("capacity_policy") == "guaranteed_no_evict"]
    assert len(never) > 0.05 * N_WORLDS
    assert not any(request.preemptions for seed in never for request in search.truth[seed].values())


def test_whole_prompts_are_admitted_by_priority_too():
    """Apart from the search: with so few preemptions it would be blind to what they do within a batch."""
    n_waited = 0
    for world in map(draw_world, range(100)):
        if "scheduling_policy" in world.engine:
            rules = {"scheduler_reserve_full_isl": True, "blank_blocks_first": True}
            world = replace(world, engine=world.engine | rules)
            truth, engine = play_stepping(world)
            played, *_ = play_replica(world)
            n_waited += engine.seen["only its first chunk has room"] > 0
            assert engine.pool.copies or not differences(truth, played)
    assert n_waited > 5


def slow_by_a_millionth(monkeypatch):
    step_s = ProbeStepTime.step_s
    monkeypatch.setattr(ProbeStepTime, "step_s", lambda self, *batch: step_s(self, *batch) * (1 + 1e-6))


def one_hit_less(monkeypatch):
    find = KvMemory.find

    def wrong(self, segments, prompt_tokens):
        hit = max(1, find(self, segments, prompt_tokens)[1])
        return find(self, segments, (hit - 1) * self.block_tokens + 1)

    monkeypatch.setattr(KvMemory, "find", wrong)


def oldest_evicted_last(monkeypatch):
    allocate = Scheduler._compute

    def wrong(self, s, budget, chunks):
        idle = self.memory._idle
        if idle and idle.oldest is not idle.newest:
            oldest = idle.oldest
            idle.remove(oldest)
            idle.append(oldest)
        return allocate(self, s, budget, chunks)

    monkeypatch.setattr(Scheduler, "_compute", wrong)


def oldest_preempted_first(monkeypatch):
    preempt = Scheduler._preempt

    def wrong(self, s, now):
        preempt(self, s if s is self.partial else next(s for s in self.running if s is not self.partial), now)

    monkeypatch.setattr(Scheduler, "_preempt", wrong)


def budget_larger_by_one(monkeypatch):
    init = Scheduler.__init__
    monkeypatch.setattr(Scheduler, "__init__", lambda self, k, n, budget, *rest: init(self, k, n, budget + 1, *rest))


def memory_larger_by_one_block(monkeypatch):
    init = Scheduler.__init__
    monkeypatch.setattr(Scheduler, "__init__", lambda self, kv_blocks, *rest: init(self, kv_blocks + 1, *rest))


def arrivals_never_cut_a_leap(monkeypatch):
    monkeypatch.setattr(Replica, "_cut_leap", lambda self, steps, now: None)


def last_chunk_is_not_told(monkeypatch):
    schedule = Scheduler.schedule

    def wrong(self, now):
        return [(new, past, False) for new, past, _ in schedule(self, now) or ()]

    monkeypatch.setattr(Scheduler, "schedule", wrong)


def no_request_overtakes(monkeypatch):
    monkeypatch.setattr(PriorityQueue, "append", list.append)


def youngest_preempted_whatever_its_priority(monkeypatch):
    monkeypatch.setattr(PriorityScheduler, "_victim", Scheduler._victim)


def blocks_of_an_unfinished_step_are_lost(monkeypatch):
    monkeypatch.setattr(PriorityScheduler, "_go_on", Scheduler._go_on)


def more_urgent_arrivals_wait_for_the_leap(monkeypatch):
    monkeypatch.setattr(PriorityScheduler, "fcfs", True)


def only_the_prompt_is_reserved(monkeypatch):
    monkeypatch.setattr(ReservingScheduler, "_whole_blocks", lambda self, s: -(-s.prompt_tokens // self._block_tokens))


def an_aborted_sequence_stays_for_the_leap(monkeypatch):
    monkeypatch.setattr(Replica, "_cut_after_this_step", lambda self, now: None)


def what_an_aborted_sequence_generated_is_lost(monkeypatch):
    drop = Scheduler.drop
    monkeypatch.setattr(Scheduler, "drop", lambda self, sequence: drop(self, sequence) - 1)


def a_stopped_answer_is_all_that_is_reserved(monkeypatch):
    monkeypatch.setattr(
        ReservingScheduler,
        "_whole_blocks",
        lambda self, s: -(-(s.prompt_tokens + s.left_tokens - 1) // self._block_tokens),
    )


def loads_take_no_time(monkeypatch):
    load = Tier.load
    monkeypatch.setattr(Tier, "load", lambda self, *prompt: min(load(self, *prompt), prompt[-1]))


def loads_do_not_share_the_link(monkeypatch):
    def wrong(self, *prompt):
        self._free_s = 0.0
        return load(self, *prompt)

    load = Tier.load
    monkeypatch.setattr(Tier, "load", wrong)


def a_tier_larger_by_one_block(monkeypatch):
    init = Tier.__init__
    monkeypatch.setattr(Tier, "__init__", lambda self, i, blocks, *rest: init(self, i, blocks + 1, *rest))


def loading_takes_blocks_of_what_it_loads_only(monkeypatch):
    end_load = TieredScheduler.end_load

    def wrong(self, sequence):
        end_load(self, sequence)
        self.memory.available_blocks += sequence.reserved_blocks
        sequence.reserved_blocks = 0

    monkeypatch.setattr(TieredScheduler, "end_load", wrong)


def a_gap_is_the_first_of_its_leap(monkeypatch):
    add_steps = TokenGaps.add_steps
    monkeypatch.setattr(TokenGaps, "add_steps", lambda self, *leap: add_steps(self, *leap[:-1], 0.0))


def a_long_gap_is_forgotten_by_those_who_decode(monkeypatch):
    monkeypatch.setattr(TokenGaps, "longest_since", lambda self, step: self._stack[-1].gap_s if self._stack else 0.0)


def time_out_of_the_batch_is_no_gap(monkeypatch):
    monkeypatch.setattr(Scheduler, "_end_gap", lambda self, sequence, now: None)


def a_first_chunk_is_enough_to_be_admitted(monkeypatch):
    init = Replica.__init__

    def wrong(self, *args, scheduler_reserve_full_isl=False, **options):
        init(self, *args, **options)

    monkeypatch.setattr(Replica, "__init__", wrong)


def blank_blocks_queue_like_others(monkeypatch):
    init = Replica.__init__

    def wrong(self, *args, blank_blocks_first=False, **options):
        init(self, *args, **options)

    monkeypatch.setattr(Replica, "__init__", wrong)


def prompts_are_cut_all_the_same(monkeypatch):
    init = Scheduler.__init__
    monkeypatch.setattr(Scheduler, "__init__", lambda self, *args: init(self, *args[:6], True))


def queue_longer_by_one(monkeypatch):
    init = Replica.__init__

    def wrong(self, *args, max_queue=None, **options):
        init(self, *args, max_queue=None if max_queue is None else max_queue + 1, **options)

    monkeypatch.setattr(Replica, "__init__", wrong)


@pytest.mark.slow
@interpreted_only
@pytest.mark.parametrize(
    "mutate",
    [
        slow_by_a_millionth, one_hit_less, oldest_evicted_last, oldest_preempted_first, budget_larger_by_one,
        memory_larger_by_one_block, arrivals_never_cut_a_leap, last_chunk_is_not_told, no_request_overtakes,
        youngest_preempted_whatever_its_priority, blocks_of_an_unfinished_step_are_lost,
        more_urgent_arrivals_wait_for_the_leap, queue_longer_by_one, only_the_prompt_is_reserved,
        prompts_are_cut_all_the_same, a_gap_is_the_first_of_its_leap, a_long_gap_is_forgotten_by_those_who_decode,
        time_out_of_the_batch_is_no_gap, an_aborted_sequence_stays_for_the_leap,
        what_an_aborted_sequence_generated_is_lost, a_stopped_answer_is_all_that_is_reserved, loads_take_no_time,
        loads_do_not_share_the_link, a_tier_larger_by_one_block, loading_takes_blocks_of_what_it_loads_only,
        a_first_chunk_is_enough_to_be_admitted, blank_blocks_queue_like_others,
    ],
)  # fmt: skip
def test_a_wrong_replica_is_caught(search, mutate, monkeypatch):
    """Each twin differs from the replica in one small way, and some hundreds of worlds must tell."""
    mutate(monkeypatch)
    caught = 0
    for seed in (*(seed for pair in zip(ORDINARY, TIERED, strict=False) for seed in pair), *ORDINARY[N_TIERED:]):
        if not search.copies[seed]:
            played, *_ = play_replica(world_of(seed))
            caught += bool(differences(search.truth[seed], played))
        if caught == 3:
            return
    pytest.fail(f"caught in {caught} worlds only")


CLOCK = ProbeStepTime(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_everyone_who_arrives_at_one_moment_is_in_the_same_step():
    """Also when the first of them wakes an idle replica."""
    world = World(
        [Task(i, 5.0, (Call(10, 3),)) for i in range(3)],
        CLOCK,
        {"kv_blocks": 100, "max_num_seqs": 8, "max_num_batched_tokens": 100},
    )
    for played in (play_stepping(world)[0], play_replica(world)[0]):
        assert [(r.admitted_s, r.first_token_s, r.finished_s) for r in played.values()] == [(5.0, 6.0, 8.0)] * 3


def test_a_prompt_that_fills_the_memory_alone_is_served_again():
    """Twice the same prompt as large as the memory: all but its last block is found, and its last block has room."""
    world = World(
        [Task(i, 10.0 * i, (Call(40, 1, 0.0, (("text", 40),)),)) for i in range(2)],
        CLOCK,
        {"kv_blocks": 10, "max_num_seqs": 8, "max_num_batched_tokens": 100, "block_tokens": 4},
    )
    for played in (play_stepping(world)[0], play_replica(world)[0]):
        assert [r.outcome for r in played.values()] == [Outcome.FINISHED] * 2
        assert [r.cached_input_tokens for r in played.values()] == [0, 36]
