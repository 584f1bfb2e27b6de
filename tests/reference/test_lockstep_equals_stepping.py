"""A replica of several attention ranks gives every request the stamps that plain engines in lockstep give it."""

from __future__ import annotations

from collections import Counter

import pytest

from sim.engine.lockstep import LockstepReplica
from tests.reference.lockstep import SteppingRanks
from tests.reference.worlds import (
    differences,
    draw_lockstep_world,
    gap_differences,
    play_replica,
    play_stepping,
)

N_WORLDS = 150


@pytest.fixture(scope="module")
def search():
    seen, wrong = Counter(), {}
    for seed in range(N_WORLDS):
        world = draw_lockstep_world(seed)
        truth, engine = play_stepping(world, SteppingRanks)
        played, _, histogram = play_replica(world, LockstepReplica)
        seen.update(engine.seen)
        seen.update(request.outcome.name for request in truth.values())
        if not any(rank.pool.copies for rank in engine.ranks):
            wrong[seed] = differences(truth, played) or gap_differences(world, engine, histogram)
    return seen, wrong


def test_every_stamp_agrees(search):
    _, wrong = search
    assert len(wrong) > 0.6 * N_WORLDS
    lines = [f"world {seed}: {found[0]}" for seed, found in wrong.items() if found]
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    "event",
    [
        "FINISHED", "REFUSED", "ABANDONED", "ABORTED", "STOPPED", "chunked", "hits", "preemptions", "not ready",
        "idle ranks", "ranks that wait for a slower one", "joined another rank than in turn", "handed over",
        "stood still", "no room for the answers",
    ],
)  # fmt: skip
def test_the_search_is_not_blind(search, event):
    seen, _ = search
    assert seen[event] > 15, f"{event}: too rare in these worlds to be tested"
