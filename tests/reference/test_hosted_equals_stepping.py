"""A replica with a host gives every request the stamps that the plain engine with a plain host gives it."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from sim.engine.hosted import HostedReplica
from sim.engine.replica import Replica
from sim.hardware.step_time.affine import AffineStepTime
from sim.work import Call, Task
from tests.reference.worlds import Played, World, differences, draw_hosted_world, play_replica, play_stepping

WORLDS = range(300)


@cache
def truth_of(seed: int) -> tuple[Played, Counter, int]:
    played, engine = play_stepping(draw_hosted_world(seed))
    return played, engine.seen, engine.pool.copies


def wrong_worlds(most: int) -> int:
    """How many of the worlds differ, up to `most`; those in which content is held twice are left out."""
    wrong = 0
    for seed in WORLDS:
        truth, _, copies = truth_of(seed)
        wrong += not copies and bool(differences(truth, play_replica(draw_hosted_world(seed))[0]))
        if wrong == most:
            break
    return wrong


def test_every_stamp_agrees_and_nothing_is_left():
    assert wrong_worlds(1) == 0
    for seed in WORLDS[:50]:
        replica = play_replica(draw_hosted_world(seed))[1]
        assert replica.n_outstanding == 0 and not replica.unfinished()


def test_the_worlds_are_not_blind():
    seen = Counter()
    for seed in WORLDS:
        truth, events, _ = truth_of(seed)
        seen.update(events)
        seen.update(request.outcome.name for request in truth.values())
    assert min(seen[event] for event in ("waited for a tokenizer", "gone while tokenized", "REFUSED")) > 50, seen


def a_worker_more(monkeypatch):
    init = HostedReplica.__init__

    def wrong(self, *args, host, **options):
        init(self, *args, host=host.model_copy(update={"tokenizer_workers": host.tokenizer_workers + 1}), **options)

    monkeypatch.setattr(HostedReplica, "__init__", wrong)


def the_engine_learns_at_once(monkeypatch):
    monkeypatch.setattr(HostedReplica, "submit", Replica.submit)


def requests_on_the_host_take_no_place(monkeypatch):
    submit = HostedReplica.submit

    def wrong(self, request):
        submit(self, request)
        self.n_outstanding -= 1

    monkeypatch.setattr(HostedReplica, "submit", wrong)


@pytest.mark.parametrize("mutate", [a_worker_more, the_engine_learns_at_once, requests_on_the_host_take_no_place])
def test_a_wrong_host_is_caught(mutate, monkeypatch):
    mutate(monkeypatch)
    assert wrong_worlds(3) == 3


def test_two_prompts_in_whole_seconds():
    """A tokenizer takes 1 s for 10 tokens, a step 1 s. Two requests that come at 0 s are in the engine at 1 and 2 s."""
    world = World(
        [Task(i, 0.0, (Call(10, 3),)) for i in range(2)],
        AffineStepTime(base_s=1.0, per_sequence_s=0.0, per_context_token_s=0.0, per_prefill_token_s=0.0),
        {"kv_blocks": 100, "max_num_seqs": 8, "max_num_batched_tokens": 100, "host": (0.1, 1)},
    )
    for played in (play_stepping(world)[0], play_replica(world)[0]):
        stamps = [[r.admitted_s, r.first_token_s, r.finished_s] for r in played.values()]
        assert stamps[0] == pytest.approx([1, 2, 4]) and stamps[1] == pytest.approx([2, 3, 5])
