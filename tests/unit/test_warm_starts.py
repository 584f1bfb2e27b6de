"""What shortens a cold start of ten seconds (2 + 3 + 1 for one GB + 4), told in whole seconds."""

from __future__ import annotations

import pytest

from sim.ledger.audit import audit
from sim.ledger.bill import bill, money
from sim.ledger.prices import Prices
from sim.ledger.usage import Usage
from sim.records import Outcome
from sim.report.metrics import summarize
from sim.report.slo import Slo
from sim.schema import ConfigError, parse_config
from tests.facts_builder import Book
from tests.small_fleet import TEN_SECONDS, ColdStart, SmallFleet


def starts(lives):
    """(ordered or woken, ready) of every replica, the first one first."""
    stages = [
        [span for span in life if span[0] not in ("idle", "busy")] or life[:1] for _, life in sorted(lives.items())
    ]
    return [(life[0][1], life[-1][2] if life[-1][0] == "engine_start" else life[0][1]) for life in stages]


def on_and_off(*on_s, for_s=15):
    return [size for at_s in on_s for size in ((at_s, 1), (at_s + for_s, 0))]


def test_a_snapshot_works_after_so_many_full_starts():
    fleet = SmallFleet(0, sizes=on_and_off(0, 20, 40, 60), cold_start={"snapshot": {"after_starts": 2, "restore_s": 1}})
    lives = fleet.play(80)
    assert starts(lives) == [(0, 10), (20, 30), (40, 43), (60, 63)]
    assert lives[2][:2] == [("allocation", 40.0, 42.0), ("engine_start", 42.0, 43.0)]


def test_starts_on_their_way_have_no_snapshot_yet():
    fleet = SmallFleet(0, sizes=[(0, 1), (5, 2), (11, 3)], cold_start={"snapshot": {"after_starts": 1, "restore_s": 1}})
    assert starts(fleet.play(80)) == [(0, 10), (5, 15), (11, 14)]


NODES = dict(
    n_nodes=2, replicas_per_node=1, choice="warmest", up=dict(found_s=1, keep_s=100), image=dict(found_s=0, keep_s=50),
    compile_cache=dict(found_s=2),
    weights=[
        dict(storage_tier="host_ram", bandwidth_gb_per_s=4, keep_s=10), dict(storage_tier="nvme", bandwidth_gb_per_s=2),
    ],
)  # fmt: skip


@pytest.mark.parametrize(
    ("away_s", "takes_s"),
    [
        (5, 1 + 0 + 0.25 + 2),  # all warm, weights in host RAM
        (10, 1 + 0 + 0.25 + 2),
        (11, 1 + 0 + 0.5 + 2),  # weights on NVMe
        (50, 1 + 0 + 0.5 + 2),  # the image is kept for 50 s
        (60, 1 + 3 + 0.5 + 2),  # and gone
        (100, 1 + 3 + 0.5 + 2),
        (101, 2 + 3 + 1 + 4),  # the node is gone, and all that was on it
    ],
)
def test_a_node_remembers_for_a_while(away_s, takes_s):
    fleet = SmallFleet(0, sizes=on_and_off(0, 15 + away_s), cold_start={"nodes": NODES})
    assert starts(fleet.play(200)) == [(0, 10), (15 + away_s, 15 + away_s + takes_s)]


def test_a_second_replica_finds_the_other_node_cold_and_a_third_one_a_further_node():
    fleet = SmallFleet(0, sizes=[(0, 1), (15, 0), (20, 3)], cold_start={"nodes": NODES})
    assert starts(fleet.play(100)) == [(0, 10), (20, 23.25), (20, 30), (20, 30)]


def test_beside_a_replica_that_serves_everything_is_warm():
    fleet = SmallFleet(1, sizes=[(50, 2)], cold_start={"nodes": NODES | {"replicas_per_node": 2}})
    assert starts(fleet.play(100)) == [(0, 0), (50, 53.25)]


def test_nodes_in_turn_or_at_random_may_be_cold_ones():
    sizes = on_and_off(0, 20, 40, for_s=15)
    in_turn = SmallFleet(0, sizes=sizes, cold_start={"nodes": NODES | {"choice": "in_turn"}}).play(60)
    assert starts(in_turn) == [(0, 10), (20, 30), (40, 43.5)], "the third finds what the first left 25 s ago"
    at_random = SmallFleet(0, sizes=on_and_off(*range(0, 2000, 20)), cold_start={"nodes": NODES | {"choice": "random"}})
    took_s = [ready_s - ordered_s for ordered_s, ready_s in starts(at_random.play(2000))]
    assert 30 < took_s.count(3.25) < 70, "the node that was left 5 s ago, every second time"


@pytest.mark.parametrize("choice", ["random", "in_turn", "warmest"])
def test_no_node_is_given_a_replica_that_it_has_no_room_for(choice):
    """Two are ordered at a time, for two nodes with room for one each, which both have been left 5 s ago."""
    pairs = [size for at_s in range(0, 400, 20) for size in ((at_s, 2), (at_s + 15, 0))]
    fleet = SmallFleet(0, sizes=pairs, cold_start={"nodes": NODES | {"choice": choice}})
    took_s = [ready_s - ordered_s for ordered_s, ready_s in starts(fleet.play(400))]
    assert took_s == [10.0] * 2 + [3.25] * 38


def test_what_a_new_start_should_take_follows_the_nodes():
    fleet = SmallFleet(1, sizes=[(10, 0)], cold_start={"nodes": NODES}).fleet
    assert fleet.view.predicted_wait_s == 0.0
    fleet._env.run(until=15)
    assert fleet.view.predicted_wait_s == 3.25
    fleet._env.run(until=150)
    assert fleet.view.predicted_wait_s == 10.0


def asleep(gpu, sizes, **sleep):
    return SmallFleet(
        1, sizes=sizes, cold_start={"sleep": dict(wake_s=2, fall_asleep_s=1, keep_s=100, gpu=gpu) | sleep}
    )


def test_a_replica_on_a_shared_gpu_sleeps_for_nothing():
    lives = asleep("shared", [(5, 0), (20, 1)]).play(30)
    assert lives[0] == [("idle", 0.0, 5.0), ("asleep", 5.0, 6.0)], "until its GPU is free"
    assert lives[1] == [("engine_start", 20.0, 22.0), ("idle", 22.0, 30.0)]


def test_a_replica_that_keeps_its_gpu_is_one_paid_life():
    lives = asleep("kept", [(5, 0), (20, 1)]).play(30)
    story = [("idle", 0.0, 5.0), ("asleep", 5.0, 20.0), ("engine_start", 20.0, 22.0), ("idle", 22.0, 30.0)]
    assert lives == {0: story}


def test_waking_is_no_full_start_and_takes_no_snapshot():
    """Nor is being warm from the beginning: the second replica makes the first full start, the third is restored."""
    sleep = dict(wake_s=2, fall_asleep_s=1, keep_s=100, gpu="kept")
    changes = {"sleep": sleep, "snapshot": {"after_starts": 1, "restore_s": 1}}
    lives = SmallFleet(1, sizes=[(5, 0), (20, 1), (30, 2), (45, 3)], cold_start=changes).play(60)
    assert starts(lives)[1:] == [(30, 40), (45, 48)]


@pytest.mark.parametrize("gpu", ["shared", "kept"])
def test_who_has_slept_enough_is_given_up_and_who_falls_asleep_cannot_be_woken(gpu):
    assert starts(asleep(gpu, [(5, 0), (20, 1)], keep_s=10).play(40))[1:] == [(20, 30)]
    assert starts(asleep(gpu, [(5, 0), (5.5, 1)]).play(40))[1:] == [(5.5, 15.5)]
    twice = asleep(gpu, [(5, 0), (10, 1), (13, 0), (18, 1)], keep_s=7).play(40)
    ready_s = [end_s for life in twice.values() for state, _, end_s in life if state == "engine_start"]
    assert ready_s == [12, 20], "its time begins anew with each sleep"


def test_a_replica_that_kept_its_gpu_is_expected_as_soon_as_it_wakes():
    """Nothing has to be granted to it: half a second after the order, 1.5 of its 2 s are left. A router that is told
    more would send to the API what the fleet could serve in time.
    """
    fleet = asleep("kept", [(5, 0), (20, 1)])
    told = []
    fleet.at(20.5, lambda: told.append(fleet.fleet.view.predicted_wait_s))
    fleet.play(30)
    assert told == [1.5]


def test_a_woken_replica_has_lost_its_cache_and_serves():
    fleet = asleep("kept", [(10, 0), (20, 1)])
    first = fleet.request(0, input_tokens=40, segments=(("a", 40),))
    second = fleet.request(25, input_tokens=40, segments=(("a", 40),))
    fleet.play(40)
    assert (first.finished_s, second.finished_s, second.cached_input_tokens) == (5.0, 30.0, 0)


def test_a_kept_sleeper_may_be_lost_too():
    fleet = asleep("kept", [(5, 0)])
    fleet.loses(8, 0)
    assert fleet.play(40) == {0: [("idle", 0.0, 5.0), ("asleep", 5.0, 8.0)]}


PRICES = parse_config(
    Prices,
    dict(
        gpu=dict(kind="on_demand", provider="p", as_of="never", usd_per_gpu_hour={"g": 36.0}),
        api=dict(kind="model_tariff", provider="a", as_of="never", models={}),
    ),
)


def test_sleep_is_a_line_of_its_own_and_counts_as_idle():
    book = Book().replica(0, ("busy", 0, 10), ("asleep", 10, 60), ("engine_start", 60, 62), ("busy", 62, 70))
    facts = book.request(0, 0, 1, 10).request(62, 62, 63, 70).facts()
    audit(facts)
    usage = Usage.from_facts(facts)
    lines = bill(usage, PRICES, "g", None)
    assert lines.set_index("item").loc["gpu asleep", "usd"] == pytest.approx(0.5)
    assert summarize(facts, usage, {}, Slo(ttft_s=1.0))["cold_starts"] == 1, "it was woken once"
    said = money(lines, usage)
    assert said["usd_total"] == pytest.approx(0.7) and said["usd_idle"] == pytest.approx(0.5)


def test_refused_attempts_are_waited_for_and_not_paid():
    fleet = SmallFleet(0, sizes=[(0, 1)], cold_start={"p_unavailable": 0.9, "retry_s": 7})
    request = fleet.request(0)
    lives = fleet.play(2000)
    ordered_s, ready_s = starts(lives)[0]
    assert ordered_s > 0 and ordered_s % 7 == 0 and ready_s == ordered_s + 10, "from the grant on"
    assert request.outcome is Outcome.FINISHED and request.cold_start_wait_s == request.admitted_s == ready_s


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"p_unavailable": 1}, "p_unavailable = 1"),
        ({"nodes": NODES | {"image": {"found_s": 0, "keep_s": 500}}}, "keep_s = 500.0: nothing outlives its node"),
        ({"sleep": {"wake_s": 1, "gpu": "lent"}}, "sleep.gpu = 'lent'"),
        ({"snapshot": {"after_starts": -1, "restore_s": 1}}, "snapshot.after_starts = -1"),
        ({"bandwidth_gb_per_s": None}, "storage_tier = network needs bandwidth_gb_per_s"),  # or weights load at once
    ],
)
def test_nonsense_is_refused_by_name(wrong, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(ColdStart, TEN_SECONDS | wrong)
