"""A replica that computes prompts before answers gives the stamps of the plain engine that does (`prefill_first`).

Some hundreds of small random worlds, each played by both. As in `test_replica_equals_stepping`, what makes the replica
wrong on purpose needs it interpreted: `SIM_INTERPRETED=1 pytest`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest

from sim.engine.kv_memory import KvMemory
from sim.engine.schedulers.prefill_first import PrefillFirstScheduler
from sim.engine.token_gaps import TokenGaps
from sim.hot_path import is_compiled
from tests.reference.worlds import (
    Played,
    differences,
    draw_hosted_world,
    draw_prefill_first_world,
    gap_differences,
    play_replica,
    play_stepping,
)

WORLDS = (*range(200), 958)  # in the last, a sequence that was retracted ends at the step at which it would have


@dataclass
class Search:
    """Worlds, played once by both."""

    seen: Counter = field(default_factory=Counter)
    truth: dict[int, Played] = field(default_factory=dict)
    engines: dict = field(default_factory=dict)
    differences: dict[int, list[str]] = field(default_factory=dict)


def searched(seeds: Iterable[int]) -> Search:
    """These worlds, played by both."""
    found = Search()
    for seed in seeds:
        world = draw_prefill_first_world(seed)
        found.truth[seed], found.engines[seed] = truth, engine = play_stepping(world)
        played, _, histogram = play_replica(world)
        found.differences[seed] = differences(truth, played) or gap_differences(world, engine, histogram)
        found.seen.update(engine.seen)
        found.seen.update(request.outcome.name for request in truth.values())
        found.seen["evictions"] += engine.pool.evictions
        found.seen["gaps over a retraction"] += sum(r.preemptions > 0 for r in truth.values() if r.longest_gap_s)
        assert not engine.pool.copies, "of equal blocks one is kept"
    return found


@pytest.fixture(scope="module")
def search() -> Search:
    return searched(WORLDS)


def assert_agrees(found: Search) -> None:
    wrong = {seed: lines for seed, lines in found.differences.items() if lines}
    assert not wrong, "\n".join(f"world {seed}: {lines[0]}" for seed, lines in wrong.items())


def test_every_stamp_and_gap_agrees_in_some_worlds():
    assert_agrees(searched((*WORLDS[:40], WORLDS[-1])))


@pytest.mark.slow
def test_every_stamp_and_gap_agrees(search):
    assert_agrees(search)


@pytest.mark.slow
@pytest.mark.parametrize(
    "event",
    [
        "FINISHED", "REFUSED", "ABANDONED", "ABORTED", "STOPPED", "chunked", "hits", "evictions", "preemptions",
        "hits after preemption", "not ready", "stood still", "prompts together", "prompts enough", "noticed late",
        "no room for the answers", "retracted, not the latest", "copies given back", "gaps over a retraction",
        "queue reordered", "goes last for a prefix",
    ],
)  # fmt: skip
def test_the_search_is_not_blind(search, event):
    assert search.seen[event] > 15, f"{event}: too rare in these worlds to be tested"


def test_prompts_that_are_tokenized_first_agree():
    for seed in range(60):
        world = draw_prefill_first_world(seed)
        world = replace(world, engine=world.engine | {"host": draw_hosted_world(seed).engine["host"]})
        truth, stepping = play_stepping(world)
        played, _, histogram = play_replica(world)
        assert not (differences(truth, played) or gap_differences(world, stepping, histogram)), seed


def the_latest_is_retracted(monkeypatch):
    monkeypatch.setattr(PrefillFirstScheduler, "_victim", lambda self: next(reversed(self.running)))


def the_ratio_never_falls(monkeypatch):
    monkeypatch.setattr(PrefillFirstScheduler, "_ratio", lambda self: self._ratio_set)


def a_retraction_teaches_nothing(monkeypatch):
    retract = PrefillFirstScheduler._retract

    def wrong(self, now):
        before = self._ratio_set, self._decode_steps
        retract(self, now)
        self._ratio_set, self._decode_steps = before

    monkeypatch.setattr(PrefillFirstScheduler, "_retract", wrong)


def whoever_leaves_is_noticed_at_once(monkeypatch):
    schedule = PrefillFirstScheduler.schedule

    def wrong(self, now):
        if self._n_gone:
            self._is_full, self._n_gone = False, 0
        return schedule(self, now)

    monkeypatch.setattr(PrefillFirstScheduler, "schedule", wrong)


def a_retracted_sequence_goes_first(monkeypatch):
    preempt = PrefillFirstScheduler._preempt

    def wrong(self, sequence, now):
        preempt(self, sequence, now)
        self.waiting.appendleft(self.waiting.pop())

    monkeypatch.setattr(PrefillFirstScheduler, "_preempt", wrong)


def answers_to_come_do_not_count(monkeypatch):
    monkeypatch.setattr(PrefillFirstScheduler, "_left_tokens", lambda self, sequence: 0)


def the_queue_is_never_sorted(monkeypatch):
    monkeypatch.setattr(PrefillFirstScheduler, "_sort_by_prefix", lambda self, was_empty: None)


def equal_blocks_are_kept(monkeypatch):
    monkeypatch.setattr(KvMemory, "share", KvMemory.publish)


def prompts_are_found_while_they_are_computed(monkeypatch):
    take = PrefillFirstScheduler._take

    def wrong(self, sequence, new, chunks):
        take(self, sequence, new, chunks)
        if sequence.holds is not None:
            sequence.shared_blocks += self.memory.share(sequence.holds, sequence.computed_tokens, False)

    monkeypatch.setattr(PrefillFirstScheduler, "_take", wrong)


def a_step_of_prompts_is_no_gap(monkeypatch):
    monkeypatch.setattr(TokenGaps, "_end_standstill", lambda self, *_: setattr(self, "standstill", None))


def who_joins_has_stood_as_long_as_all(monkeypatch):
    end = TokenGaps._end_standstill

    def wrong(self, n, step_before, now):
        for sequence in self.standstill.joined:
            sequence.last_token_s = self.standstill.since_s
        end(self, n, step_before, now)

    monkeypatch.setattr(TokenGaps, "_end_standstill", wrong)


def an_arrival_waits_for_a_decode_step(monkeypatch):
    advance = PrefillFirstScheduler.advance

    def wrong(self, steps, now):
        ready = {sequence: sequence.ready_step for sequence in self.waiting}
        finished = advance(self, steps, now)
        for sequence in self.waiting:
            sequence.ready_step = ready.get(sequence, sequence.ready_step)
        return finished

    monkeypatch.setattr(PrefillFirstScheduler, "advance", wrong)


@pytest.mark.slow
@pytest.mark.skipif(is_compiled(), reason="compiled replicas hide their state: SIM_INTERPRETED=1")
@pytest.mark.parametrize(
    "mutate",
    [
        the_latest_is_retracted, the_ratio_never_falls, a_retraction_teaches_nothing,
        whoever_leaves_is_noticed_at_once, a_retracted_sequence_goes_first, answers_to_come_do_not_count,
        the_queue_is_never_sorted, equal_blocks_are_kept, prompts_are_found_while_they_are_computed,
        a_step_of_prompts_is_no_gap, who_joins_has_stood_as_long_as_all, an_arrival_waits_for_a_decode_step,
    ],
)  # fmt: skip
def test_a_wrong_replica_is_caught(search, mutate, monkeypatch):
    mutate(monkeypatch)
    caught = 0
    for seed in WORLDS:
        world = draw_prefill_first_world(seed)
        try:
            played, _, histogram = play_replica(world)
        except AssertionError:
            caught += 1
        else:
            truth, engine = search.truth[seed], search.engines[seed]
            caught += bool(differences(truth, played) or gap_differences(world, engine, histogram))
        if caught == 2:
            return
    pytest.fail(f"caught in {caught} worlds only")
