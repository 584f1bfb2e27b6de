"""Placements by their published rules, one decision at a time; and what happens when loads are old."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import simpy

from sim.clock import Clock
from sim.engine.replica import Replica
from sim.fleet.dispatch import Dispatch
from sim.hardware.step_time.affine import AffineStepTime
from sim.routing.placement.by_load import LeastLoaded
from sim.routing.placement.scored import CacheAware, PrefixScored
from sim.routing.placement.spreading import LeastKv, PowerOfTwo, Random, SessionAffinity
from sim.routing.scraping import Scrape
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, parse_config
from sim.simulation import simulate
from sim.work import Backend, Call, PreviousCall, Request, Task
from tests.at_work import start

PROMPT = (("text", 100),)


def request(task_id=0, call_index=0, replica_id=-1, application=0, segments=PROMPT):
    previous = PreviousCall(Backend.FLEET, replica_id=replica_id) if call_index else None
    return Request(Task(task_id, 0.0, (Call(100, 10, segments=segments),) * 3, application), call_index, 0.0, previous)


class Shown(SimpleNamespace):
    """A replica as placements see it; idle and empty unless said otherwise."""

    __hash__ = object.__hash__
    replica_id = n_waiting = n_running = n_outstanding = held = 0
    oldest_wait_s = kv_used_fraction = kv_filled_fraction = 0.0

    def cached_tokens(self, segments):
        return self.held


def replicas(*states, first_id=0):
    return [Shown(replica_id=i, **state) for i, state in enumerate(states, first_id)]


def loads(*numbers, first_id=0):
    return replicas(*({"n_outstanding": n} for n in numbers), first_id=first_id)


# --- by chance -------------------------------------------------------------------------------------------


def test_random_spreads_evenly_whatever_the_load_and_every_run_has_its_own_chance():
    offer = loads(0, 50, 9, 0)
    picks = Counter(Random().choose(request(i), offer).replica_id for i in range(4000))
    assert all(900 < picks[i] < 1100 for i in range(4)), "1000 each, give or take 3.6 standard deviations of 27"
    runs = [start(Random(), seed=seed).choose for seed in (1, 1, 2)]
    first, again, other = ([run(request(i), offer).replica_id for i in range(100)] for run in runs)
    assert first == again != other


def test_power_of_two_takes_the_less_loaded_of_a_random_pair():
    picks = Counter(PowerOfTwo().choose(request(i), loads(3, 0, 2, 1)).replica_id for i in range(6000))
    # Of the six pairs replica 1 wins its three, 3 the two without 1, 2 the one with 0, and 0 none.
    assert picks[0] == 0
    assert picks[1] == pytest.approx(3000, abs=150)
    assert picks[3] == pytest.approx(2000, abs=150)
    assert picks[2] == pytest.approx(1000, abs=150)
    assert PowerOfTwo().choose(request(), loads(7)).replica_id == 0
    halves = Counter(PowerOfTwo().choose(request(i), loads(4, 4)).replica_id for i in range(2000))
    assert halves[0] == pytest.approx(1000, abs=90), "of equals the one taken first, and that is chance"


# --- by session ------------------------------------------------------------------------------------------


def homes(offer, n=3000, session="task"):
    placement = SessionAffinity(session=session)
    return [placement.choose(request(i, call_index=i % 3, application=i % 7), offer).replica_id for i in range(n)]


def test_a_session_stays_on_its_replica_and_only_those_of_a_lost_replica_move():
    five, four = loads(0, 90, 0, 0, 0), [r for r in loads(0, 90, 0, 0, 0) if r.replica_id != 2]
    before, after = homes(five), homes(four)
    assert all(old == new for old, new in zip(before, after, strict=True) if old != 2), "tasks of other replicas stay"
    moved = Counter(new for old, new in zip(before, after, strict=True) if old == 2)
    assert min(moved[i] for i in (0, 1, 3, 4)) > 100, "and its own go everywhere: 600, a quarter each"
    assert min(Counter(before).values()) > 500, "3000 sessions on five replicas: 600 each"


def test_an_application_may_be_a_session():
    by_application = homes(loads(0, 0, 0), session="application")
    assert all(len(set(by_application[i::7])) == 1 for i in range(7))


# --- by memory and by weighted scores --------------------------------------------------------------------


def test_least_kv_looks_at_memory_not_at_requests():
    offer = replicas(
        {"kv_used_fraction": 0.5, "n_outstanding": 1}, {"kv_used_fraction": 0.2, "n_outstanding": 9},
        {"kv_used_fraction": 0.2, "n_outstanding": 8},
    )  # fmt: skip
    assert LeastKv().choose(request(), offer).replica_id == 2


LLM_D = dict(prefix_weight=3, queue_weight=2, kv_weight=2, session_weight=0, load_weight=0)


def test_llm_d_scores_worked_by_hand():
    rule = PrefixScored(**LLM_D)
    offer = replicas(
        {"held": 80, "n_waiting": 10, "kv_used_fraction": 0.9},  # 3 * 0.8 + 2 * 0   + 2 * 0.1 = 2.6
        {"held": 0, "n_waiting": 0, "kv_used_fraction": 0.5},  #    3 * 0   + 2 * 1   + 2 * 0.5 = 3.0
        {"held": 48, "n_waiting": 5, "kv_used_fraction": 0.6},  #   3 * .48 + 2 * 0.5 + 2 * 0.4 = 3.24
    )
    assert rule.choose(request(), offer).replica_id == 2
    offer[0].kv_used_fraction = 0.5  #                              3 * 0.8 + 0 + 2 * 0.5 = 3.4
    assert rule.choose(request(), offer).replica_id == 0
    assert rule.choose(request(segments=()), offer).replica_id == 1, "no replica can hold this prompt: 1.0, 3.0, 1.8"


def test_llm_d_equal_queues_score_alike_and_ties_go_to_the_least_loaded():
    offer = replicas({"n_waiting": 4, "n_outstanding": 9}, {"n_waiting": 4, "n_outstanding": 7})
    assert PrefixScored(**LLM_D).choose(request(), offer).replica_id == 1


def test_the_other_scorers_of_llm_d():
    session = PrefixScored(**(LLM_D | {"session_weight": 3.0}))
    offer = replicas({"kv_used_fraction": 0.0}, {"kv_used_fraction": 0.9})
    assert session.choose(request(call_index=1, replica_id=1), offer).replica_id == 1, "2 + 0.2 + 3 against 2 + 2"
    load = PrefixScored(prefix_weight=1, queue_weight=0, kv_weight=0, session_weight=0, load_weight=1)
    # 0.5 * (1 - 64 / 128) = 0.25 and 0.3 of the prompt against 0.5 and 0.1; beyond 128 the queue scores no worse.
    assert load.choose(request(), replicas({"n_waiting": 64, "held": 30}, {"held": 10})).replica_id == 1
    assert load.choose(request(), replicas({"n_waiting": 64, "held": 40}, {"held": 10})).replica_id == 0
    assert (
        load.choose(request(), replicas({"n_waiting": 128, "held": 9}, {"n_waiting": 900, "held": 10})).replica_id == 1
    )
    with pytest.raises(ConfigError, match="at least one weight"):
        parse_config(PrefixScored, dict.fromkeys(LLM_D, 0))


SGLANG = CacheAware(cache_threshold=0.3, balance_abs_threshold=64, balance_rel_threshold=1.5)


def test_sglang_goes_to_the_shortest_queue_only_when_both_thresholds_are_passed():
    def chosen(most, least):
        return SGLANG.choose(
            request(), replicas({"n_outstanding": most, "held": 90}, {"n_outstanding": least})
        ).replica_id

    assert chosen(64, 0) == 0, "64 above is not more than 64"
    assert chosen(65, 0) == 1
    assert chosen(195, 130) == 0, "65 above, but not more than 1.5 times as many"
    assert chosen(196, 130) == 1


def test_sglang_in_balance_follows_a_good_match_and_else_fills_the_emptiest_cache():
    offer = replicas(
        {"held": 30, "kv_filled_fraction": 0.9}, {"held": 10, "kv_filled_fraction": 0.2}, {"kv_filled_fraction": 0.4}
    )
    assert SGLANG.choose(request(), offer).replica_id == 1, "30 % is not more than 30 %"
    offer[0].held = 31
    assert SGLANG.choose(request(), offer).replica_id == 0
    assert SGLANG.choose(request(segments=()), offer).replica_id == 1


# --- metrics that are old --------------------------------------------------------------------------------


def one_a_second(placement, seconds, served_per_replica_s=()):
    """Who gets the request of each half second, of two replicas that finish nothing but what `served` says."""
    env, fleet, picks = simpy.Environment(), loads(0, 0), []
    choose = start(placement, env).choose

    def traffic():
        yield env.timeout(0.5)
        for i in range(seconds):
            picked = choose(request(i), fleet)
            picked.n_outstanding += 1
            picks.append(picked.replica_id)
            yield env.timeout(1.0)

    env.process(traffic())
    env.run(until=seconds)
    assert all(any(picked is replica for replica in fleet) for picked in fleet)
    return picks


def test_live_loads_take_turns_and_old_ones_make_a_herd():
    assert one_a_second(LeastLoaded(), 8) == [0, 1] * 4
    # Seen at 0: 0 and 0. At 10: 10 and 0. At 20: 10 and 10.
    assert one_a_second(LeastLoaded(refresh_s=10), 30) == [0] * 10 + [1] * 10 + [0] * 10


def test_a_scraper_that_had_nothing_to_see_looks_again_when_a_request_comes():
    env, fleet = simpy.Environment(), loads(0, 0)
    choose = start(LeastLoaded(refresh_s=10), env).choose

    def traffic():
        yield env.timeout(3)
        first = choose(request(), fleet)  # seen at 3: 0 and 0
        first.n_outstanding = 1
        yield env.timeout(5)
        assert choose(request(), fleet) is first, "at 8 still"
        yield env.timeout(4)
        assert choose(request(), fleet) is not first, "at 12, as of 10"
        first.n_outstanding = 0
        yield env.timeout(500)
        assert not env._queue, "an idle fleet is not scraped, so no event waits"
        first.n_outstanding = 5
        assert choose(request(), fleet) is not first

    env.run(env.process(traffic()))


def test_a_scraper_reads_once_a_period_however_many_requests_use_what_it_read():
    env, looks = simpy.Environment(), []

    def look():
        looks.append(env.now)
        return True

    scrape = Scrape(Clock(env), 10.0, look)

    def traffic():
        for _ in range(50):
            scrape.keep_up()
            yield env.timeout(0.5)

    env.process(traffic())
    env.run(until=25)
    assert looks == [0.0, 10.0, 20.0]


def test_no_replica_is_sent_more_requests_than_it_may_hold():
    """Two each for two: the fifth waits, until one of them has room again."""
    env, ended = simpy.Environment(), []
    options = dict(kv_blocks=100, max_num_seqs=8, max_num_batched_tokens=1000, on_done=ended.append)
    first, second = (Replica(env, AffineStepTime(base_s=1.0), replica_id=number, **options) for number in (0, 1))
    dispatch = Dispatch(lambda request, offered: min(offered, key=lambda r: (r.n_outstanding, r.replica_id)), 2)
    for one in (second, first):
        dispatch.offer(one)
    assert [dispatch.send(request()) for _ in range(5)] == [True] * 4 + [False]
    assert first.n_outstanding == second.n_outstanding == 2 and not dispatch.open
    env.run()
    dispatch.offer(first)
    assert len(ended) == 4 and dispatch.placed(request()) is first
    assert [dispatch.send(request()) for _ in range(3)] == [True, True, False]
    dispatch.offer(second)
    dispatch.withhold(second)
    dispatch.withhold(first)
    assert not dispatch.send(request())


def test_what_is_cached_is_known_at_once():
    env, fleet = simpy.Environment(), loads(0, 0)
    choose = start(PrefixScored(**LLM_D, refresh_s=100), env).choose
    assert choose(request(), fleet) is fleet[0]
    fleet[1].held = 50
    assert choose(request(), fleet) is fleet[1]


def test_a_whole_run_with_old_metrics_is_lawful_and_worse_balanced():
    words = ["scaling.n_replicas=4", "arrivals.rate_per_s=8", "horizon_s=300", "lengths=chat"]

    def spread(*more):
        requests = simulate(parse(compose_config(*words, *more)), measure_peak=False).facts.requests
        busiest = Counter(requests["replica_id"].tolist())
        ttft_s = requests["first_token_s"] - requests["arrived_s"]
        return sum(busiest.values()), float(np.quantile(ttft_s, 0.99))

    (live, live_s), (old, old_s), (two, two_s) = (
        spread(), spread("placement.refresh_s=10"), spread("placement=power_of_two", "placement.refresh_s=10"),
    )  # fmt: skip
    assert live == old == two, "the same requests"
    assert live_s <= two_s <= old_s
