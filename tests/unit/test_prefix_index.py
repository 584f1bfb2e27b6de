"""What a router believes that its replicas have cached: it knows what it sent, and nothing of what became of it."""

from __future__ import annotations

import pytest
import simpy

from sim.routing.placement.affinity import PrefixAware
from sim.routing.placement.prefix_index import Approximate, prompt_blocks
from sim.routing.placement.scored import PrefixScored
from sim.scenarios import scenario
from sim.simulation import simulate
from sim.work import Backend, Call, Request, Task
from tests.at_work import start
from tests.unit.test_placements import loads, replicas


def ask(task_id, *segments, tokens=100):
    return Request(Task(task_id, 0.0, (Call(tokens, 10, segments=segments),)), 0, 0.0)


def follower(**index):
    """A placement that goes where most of the prompt is believed to be, however busy that replica is."""
    return PrefixAware(index=Approximate(**index), max_extra_requests=1000)


def test_two_prompts_share_the_whole_blocks_before_they_part():
    one, other = ask(1, ("system", 60), ("alice", 40)), ask(2, ("system", 60), ("bob", 40))
    blocks = [list(prompt_blocks(request, 16)) for request in (one, other)]
    assert [len(b) for b in blocks] == [6, 6], "100 tokens are 6 whole blocks of 16, and 4 tokens"
    assert sum(a == b for a, b in zip(*blocks, strict=True)) == 3, "60 common tokens are 3 whole blocks"


def test_what_no_segment_covers_is_shared_with_nobody():
    one, other = (list(prompt_blocks(ask(i, ("system", 48)), 16)) for i in (1, 2))
    assert len(one) == len(other) == 6 and sum(a == b for a, b in zip(one, other, strict=True)) == 3


def test_only_the_first_blocks_of_a_prompt_are_looked_at():
    assert len(list(prompt_blocks(ask(1, ("long", 100)), 16, most=2))) == 2


def test_a_prompt_goes_where_it_was_sent_before_though_it_was_evicted_there():
    choose = start(follower()).choose
    offer = replicas({"n_outstanding": 0, "held": 0}, {"n_outstanding": 0, "held": 0})
    assert choose(ask(1, ("a", 100)), offer).replica_id == 0
    busier = loads(5, 0)
    assert choose(ask(2, ("a", 100)), busier).replica_id == 0, "replica 0 holds nothing of it; the router cannot know"
    assert choose(ask(3, ("b", 100)), busier).replica_id == 1


def test_an_exact_index_asks_the_replicas_instead():
    choose = start(PrefixAware(max_extra_requests=1000)).choose
    choose(ask(1, ("a", 100)), loads(0, 0))
    assert choose(ask(2, ("a", 100)), loads(5, 0)).replica_id == 1


def test_the_blocks_that_were_sent_longest_ago_are_forgotten_first():
    choose = start(follower(blocks=12)).choose
    for task_id, text in enumerate("aba"):
        choose(ask(task_id, (text, 96)), loads(0, 50))
    choose(ask(3, ("c", 96)), loads(0, 5000))
    busier = loads(5, 0)
    assert choose(ask(4, ("a", 96)), busier).replica_id == 0, "12 blocks hold a and c, which came after b"
    assert choose(ask(5, ("b", 96)), busier).replica_id == 1


def test_a_block_is_remembered_for_its_time_after_it_was_last_sent():
    env = simpy.Environment()
    choose = start(follower(ttl_s=100), env).choose
    choose(ask(1, ("a", 100)), loads(0, 0))
    for now_s, chosen in ((90.0, 0), (180.0, 0), (281.0, 1)):
        env.run(until=now_s)
        assert choose(ask(2, ("a", 100)), loads(5, 0)).replica_id == chosen


def test_a_request_that_went_to_the_api_instead_teaches_nothing():
    choose = start(follower()).choose
    overflowed = ask(1, ("a", 100))
    choose(overflowed, loads(0, 0))
    overflowed.backend = Backend.API
    assert choose(ask(2, ("a", 100)), loads(5, 0)).replica_id == 1


def test_replicas_that_are_gone_do_not_stay_in_memory():
    at_work = start(follower())
    for first_id in range(500):
        at_work.choose(ask(first_id, (first_id, 100)), loads(0, 0, first_id=first_id))
    assert len(at_work._records) <= 2 * 2 + 17


@pytest.mark.parametrize("index", ["exact", "approximate"])
def test_a_whole_run_reuses_prompts_with_either_index(index):
    one = scenario(
        "placement=llm_d", "tasks=agent", "scaling.n_replicas=2", horizon_s=120, **{"arrivals.rate_per_s": 0.5}
    )
    placement = PrefixScored(**dict(one.placement) | {"index": {"kind": index}})
    calls = simulate(one.replace(placement=placement)).facts.requests
    assert calls["cached_input_tokens"].sum() > 0.5 * calls["input_tokens"].sum()
