"""Replicas that are lost, told in whole seconds: a step takes one, a cold start ten (2 + 3 + 1 + 4)."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import simpy

from sim.engine.replica import Replica
from sim.fleet.supply.hazards import Hazards
from sim.fleet.supply.reliability import Reliability
from sim.fleet.victims.by_age import Newest, Oldest
from sim.fleet.victims.by_load import FewestOutstanding, LeastCached, LongestIdle
from sim.hardware.step_time.affine import AffineStepTime
from sim.ledger.audit import audit
from sim.ledger.bill import bill
from sim.ledger.usage import Usage
from sim.randomness import Streams
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, parse_config
from sim.simulation import simulate
from sim.work import Call, Outcome, Request, Task
from tests.at_work import start
from tests.small_fleet import SmallFleet


def stamps(request):
    return request.admitted_s, request.first_token_s, request.finished_s


def stays(fleet):
    columns = fleet.recorder.stays()
    return list(zip(*(columns[name].tolist() for name in ("replica_id", "start_s", "end_s")), strict=True))


def test_a_request_restarts_on_the_replica_that_is_left():
    """After 2.5 s it has two tokens, and 10 + 1 in KV memory; all that is computed again."""
    fleet = SmallFleet(2)
    request = fleet.request(0)
    fleet.loses(2.5, 0)
    lives = fleet.play(20)
    assert stamps(request) == (0.0, 3.5, 7.5) and request.replica_id == 1
    assert (request.recomputed_tokens, request.preempted_s, request.losses.retries) == (11, 0.0, 1)
    assert stays(fleet) == [(0, 0.0, 2.5), (1, 2.5, 7.5)]
    assert lives[0] == [("busy", 0.0, 2.5)]
    assert lives[1] == [("idle", 0.0, 2.5), ("busy", 2.5, 7.5), ("idle", 7.5, 20.0)]
    stages = [("allocation", 2.5, 4.5), ("image", 4.5, 7.5), ("weights", 7.5, 8.5), ("engine_start", 8.5, 12.5)]
    assert lives[2] == [*stages, ("idle", 12.5, 20.0)], "and another one is started"
    assert len(fleet.recorder.replica_lost_s) == 1


def test_a_request_that_failed_has_no_second_try_on_the_api():
    """It had begun on a replica, whose busy time is on record: only what the fleet refuses goes to the API instead."""
    losses = ["reliability=gpu_failures", "reliability.gpu_mtbf_hours=0.05", "reliability.lost_requests=fail"]
    words = ["api=ideal", "routing=overflow_on_queue", "routing.on_refusal=true", *losses, "horizon_s=3600"]
    facts = simulate(parse(compose_config(*words)), measure_peak=False).facts
    audit(facts)
    failed = facts.requests["outcome"] == Outcome.FAILED
    assert failed.sum() > 5 and np.isfinite(facts.requests["admitted_s"][failed]).all()


def test_a_request_resumes_where_it_was():
    """Its two tokens go along as prompt: three are left to generate, the first of them by the prefill."""
    fleet = SmallFleet(2, lost_requests="resume")
    request = fleet.request(0)
    fleet.loses(2.5, 0)
    fleet.play(20)
    assert stamps(request) == (0.0, 1.0, 5.5)
    assert request.recomputed_tokens == 11


@pytest.mark.parametrize(("how", "first_token_s", "finished_s"), [("restart", 13.5, 17.5), ("resume", 1.0, 15.5)])
def test_with_nowhere_to_go_it_waits_for_the_cold_start(how, first_token_s, finished_s):
    fleet = SmallFleet(1, lost_requests=how)
    request, late = fleet.request(0), fleet.request(3)
    fleet.loses(2.5, 0)
    fleet.play(30)
    assert stamps(request) == (0.0, first_token_s, finished_s)
    assert (request.preempted_s, request.cold_start_wait_s, late.cold_start_wait_s) == (10.0, 10.0, 9.5)
    assert stamps(late) == (12.5, 13.5, 17.5), "the lost one is first in the queue, and there is room for both"


def test_a_step_that_ends_at_the_very_moment_is_lost():
    fleet = SmallFleet(2, lost_requests="resume")
    request = fleet.request(0)
    fleet.loses(3, 0)
    fleet.play(20)
    assert request.losses.generated_tokens == 2 and request.finished_s == 6.0


def test_a_request_lost_in_its_prefill_has_generated_nothing():
    fleet = SmallFleet(2, lost_requests="resume")
    request = fleet.request(0)
    fleet.loses(0.5, 0)
    fleet.play(20)
    assert stamps(request) == (0.0, 1.5, 5.5) and request.recomputed_tokens == 10


def test_a_request_is_tried_so_often_and_then_fails():
    fleet = SmallFleet(3, max_retries=1)
    request = fleet.request(0)
    fleet.loses(2.5, 0)
    fleet.loses(4.0, 1)
    lives = fleet.play(20)
    assert request.outcome is Outcome.FAILED and request.finished_s == 4.0
    assert stays(fleet) == [(0, 0.0, 2.5), (1, 2.5, 4.0)]
    assert lives[2] == [("idle", 0.0, 20.0)] and fleet.fleet.view.n_outstanding == 0


@pytest.mark.parametrize("how", [dict(lost_requests="fail"), dict(max_retries=0)])
def test_or_it_fails_at_once(how):
    fleet = SmallFleet(2, **how)
    request = fleet.request(0)
    fleet.loses(2.5, 0)
    fleet.play(20)
    assert request.outcome is Outcome.FAILED and stays(fleet) == [] and request.losses is None


def test_two_at_once_do_not_hand_their_requests_to_each_other():
    fleet = SmallFleet(3)
    requests = [fleet.request(0) for _ in range(2)]
    fleet.loses(2.5, 0, 1)
    fleet.play(30)
    assert [r.losses.retries for r in requests] == [1, 1] and {r.replica_id for r in requests} == {2}


def test_a_batch_of_the_lost_goes_where_there_is_room_and_the_rest_waits_in_order():
    """Eight requests in turn on two replicas that take four each; those of the second leave at 4 and 5 s."""
    fleet = SmallFleet(2)
    eight = [fleet.request(0, output_tokens=n) for n in (9, 4, 9, 4, 9, 4, 9, 5)]
    fleet.loses(2.5, 0)
    fleet.play(20)
    assert [r.losses.stays[0] for r in eight[::2]] == [(0, 0, 0.0, 2.5)] * 4
    assert [r.losses.resumed_s for r in eight[::2]] == [4.0, 4.0, 4.0, 5.0]


SPOT = dict(mean_lifetime_s=1, n_zones=1, zone_event_fraction=0, zone_hit_fraction=1)


def test_a_warned_replica_ends_its_work_if_it_can():
    fleet = SmallFleet(1, gpu_mtbf_hours=None, spot=SPOT | {"notice_s": 3})
    request, late = fleet.request(0), fleet.request(3)
    fleet.loses(2.5, 0, warned=True)
    lives = fleet.play(30)
    assert stamps(request) == (0.0, 1.0, 5.0) and request.losses is None
    assert lives[0] == [("busy", 0.0, 2.5), ("draining", 2.5, 5.0)]
    assert late.replica_id == 1 and late.admitted_s == 12.5 and len(fleet.recorder.replica_lost_s) == 1


@pytest.mark.parametrize("gpu", ["kept", "shared"])
def test_a_warned_replica_does_not_fall_asleep(gpu):
    """Its GPU is taken back in a moment: weights put to sleep in its host's RAM would be lost with it."""
    sleep = {"sleep": dict(wake_s=2, gpu=gpu)}
    fleet = SmallFleet(1, cold_start=sleep, gpu_mtbf_hours=None, spot=SPOT | {"notice_s": 30})
    fleet.request(0)
    fleet.loses(2.5, 0, warned=True)
    lives = fleet.play(60)
    assert lives[0] == [("busy", 0.0, 2.5), ("draining", 2.5, 5.0)]
    assert lives[1][0] == ("allocation", 2.5, 4.5), "its successor starts from nothing"


def test_and_is_cut_off_when_the_notice_is_over():
    fleet = SmallFleet(2, gpu_mtbf_hours=None, spot=SPOT | {"notice_s": 2})
    request = fleet.request(0)
    fleet.loses(2.5, 0, warned=True)
    lives = fleet.play(30)
    assert stamps(request) == (0.0, 5.5, 9.5)
    assert lives[0] == [("busy", 0.0, 2.5), ("draining", 2.5, 4.5)]
    assert lives[2][0] == ("allocation", 2.5, 4.5), "its successor is ordered with the warning"
    assert len(fleet.recorder.replica_lost_s) == 1 and len(lives) == 3


def test_a_replica_may_be_lost_while_it_starts():
    fleet = SmallFleet(0, sizes=[(1, 1)])
    fleet.loses(5, 0)
    lives = fleet.play(30)
    assert lives[0] == [("allocation", 1.0, 3.0), ("image", 3.0, 5.0)]
    assert lives[1][-1] == ("idle", 15.0, 30.0)


def test_draining_has_a_limit():
    """Told to be one replica at 2.5 s, the fleet gives up the newer of two equally busy ones."""
    fleet = SmallFleet(2, sizes=[(2.5, 1)], drain_limit_s=1.0)
    stays_there, moves = fleet.request(0), fleet.request(0)
    lives = fleet.play(20)
    assert stamps(stays_there) == (0.0, 1.0, 5.0)
    assert lives[1] == [("busy", 0.0, 2.5), ("draining", 2.5, 3.5)]
    assert moves.replica_id == 0 and moves.finished_s > 8 and moves.losses.retries == 1
    assert len(fleet.recorder.replica_lost_s) == 0, "it was given up, not lost"


def test_what_ends_within_the_limit_is_left_alone():
    fleet = SmallFleet(2, sizes=[(2.5, 1)], drain_limit_s=3.0)
    requests = [fleet.request(0), fleet.request(0)]
    fleet.play(20)
    assert [r.finished_s for r in requests] == [5.0, 5.0]


def test_a_prefix_is_found_again_by_who_resumes():
    """Twice the same stream of 64 tokens, both on replica 1; then the one from replica 0 joins: its 64 are there."""
    fleet = SmallFleet(2, lost_requests="resume")
    segments = (("system", 64),)
    first = fleet.request(0, input_tokens=70, output_tokens=20, segments=segments)
    fleet.request(0.0, input_tokens=70, output_tokens=20, segments=segments)
    fleet.loses(4.5, 0)
    fleet.play(40)
    assert first.recomputed_tokens == 70 + 3 - 64
    assert first.finished_s == 20.0 + 1.0, "it lost the step under way and waited for the next boundary of its host"


def on_spot(*words):
    return compose_config(
        "reliability=spot", "reliability.spot.on_demand_fallback=true", "reliability.spot.n_zones=1",
        "reliability.spot.zone_event_fraction=1", "reliability.spot.zone_hit_fraction=1",
        "reliability.spot.mean_lifetime_s=2000", "reliability.spot.zone_outage_s=1000", "horizon_s=20000", *words,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("has_fallback", "refused", "on_demand"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_who_is_refused_a_spot_machine_takes_one_on_demand_though_a_zone_is_open(has_fallback, refused, on_demand):
    """A zone that is open may still have no machine of the kind: a refusal is no outage."""
    spot = dict(mean_lifetime_s=2000, notice_s=30, n_zones=2, zone_event_fraction=0.5, zone_hit_fraction=0.5)
    rules = parse_config(Reliability, {"spot": spot | {"on_demand_fallback": has_fallback}})
    hazards = Hazards(simpy.Environment(), rules, 1, Streams(0), fail=lambda lost: None, warn=lambda lost: None)
    assert hazards.assign_zone("a replica", refused=refused) is on_demand


def test_where_spot_is_out_machines_on_demand_stand_in_at_their_own_price():
    """One zone, whose events take all; for 1000 s each, replacements are on demand, and stay until given up."""
    scenario = parse(on_spot("scaling.n_replicas=2", "prices=nebius_spot_or_on_demand"))
    facts = simulate(scenario).facts
    audit(facts)
    usage = Usage.from_facts(facts)
    assert [pool.name for pool in usage.pools] == ["baseline", "on_demand"]
    lines = bill(usage, scenario.prices, "h100_sxm", "llama_3_1_8b")
    for pool, usd_per_hour in (("baseline", 1.25), ("on_demand", 2.95)):
        mine = lines[lines["pool"] == pool]
        assert mine["quantity"].sum() > 0.5 and mine["usd"].sum() == pytest.approx(
            usd_per_hour * mine["quantity"].sum()
        )
    spans = facts.spans
    stands_in = spans["pool"] == 1
    assert len(np.unique(spans["replica_id"][stands_in])) == 2 and facts.replicas_lost == 2
    assert spans["end_s"][stands_in].max() == facts.ended_s, "on-demand replicas are never taken back"


def test_machines_on_demand_are_not_had_at_the_price_of_spot():
    with pytest.raises(ConfigError, match="prices.pools.on_demand: is required"):
        parse(on_spot("prices=nebius_spot"))


@pytest.mark.parametrize("victim", [LongestIdle(), FewestOutstanding(), LeastCached()], ids=lambda v: v.kind)
def test_of_equally_busy_replicas_the_newest_goes(victim):
    """As Kubernetes does: who was added last is taken back first, whatever the order of the offer."""
    ready = [SimpleNamespace(replica_id=i, n_outstanding=1, prefix_cache_tokens=16) for i in (2, 5, 3)]
    assert start(victim).choose(ready, []).replica_id == 5


def test_what_a_replica_has_cached_is_told_in_tokens():
    env = simpy.Environment()
    replica = Replica(
        env, AffineStepTime(base_s=1.0), kv_blocks=100, max_num_seqs=4, max_num_batched_tokens=1000, block_tokens=16,
        on_done=lambda request: None,
    )  # fmt: skip
    replica.submit(Request(Task(0, 0.0, (Call(64, 5, segments=(("text", 64),)),)), 0, 0.0))
    env.run()
    assert replica.prefix_cache_tokens == 64 == replica.cached_tokens((("text", 64),))


@pytest.mark.parametrize(
    ("victim", "gone"),
    [(LongestIdle(), 2), (Newest(), 3), (Oldest(), 0), (FewestOutstanding(), 3), (LeastCached(), 3)],
    ids=lambda v: getattr(v, "kind", v),
)
def test_the_victim_is_whom_the_policy_names(victim, gone):
    """Replica 0 works; 1, 2 and 3 have worked until 8, 5 and 6 s, on prompts of 64, 48 and 16 tokens."""
    fleet = SmallFleet(4, sizes=[(10, 3)], victim=victim)
    for tokens, output in ((64, 50), (64, 8), (48, 5), (16, 6)):
        fleet.request(0, input_tokens=tokens, output_tokens=output, segments=((tokens + output, tokens),))
    lives = fleet.play(20)
    ended = [i for i, life in lives.items() if life[-1][0] == "draining" or life[-1][2] == 10.0]
    assert ended == [gone]


def test_losses_before_the_window_are_not_counted():
    words = ["reliability=gpu_failures", "reliability.gpu_mtbf_hours=0.1", "horizon_s=3600", "scaling.n_replicas=4"]
    whole, half = (
        simulate(parse(compose_config(*words, f"warmup_s={warmup_s}")), measure_peak=False).facts
        for warmup_s in (0, 1800)
    )
    assert 0 < half.replicas_lost < 0.7 * whole.replicas_lost
