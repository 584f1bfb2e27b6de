"""Cold starts, told with whole numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.fleet.supply.cold_start import ColdStart
from sim.records import ReplicaState
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, parse_config
from sim.simulation import simulate
from tests.small_fleet import SmallFleet

STEADY = dict(
    allocation_s=5, image_s=60, storage_tier="nvme", bandwidth_gb_per_s=4, engine_start_s=30, spread_sigma=0
)  # fmt: skip


def test_without_spread_every_start_takes_the_medians():
    start = parse_config(ColdStart, STEADY)
    assert start.draw(np.random.default_rng(1), 16e9) == (
        (ReplicaState.ALLOCATION, 5.0),
        (ReplicaState.IMAGE, 60.0),
        (ReplicaState.WEIGHTS, 4.0),  # 16 GB at 4 GB/s
        (ReplicaState.ENGINE_START, 30.0),
    )
    assert start.median_s(16e9) == start.mean_s(16e9) == 99.0


def test_spread_leaves_the_median_and_lifts_the_mean_of_every_stage():
    start = parse_config(ColdStart, STEADY | {"spread_sigma": 0.5})
    rng = np.random.default_rng(3)
    drawn = np.array([[s for _, s in start.draw(rng, 16e9)] for _ in range(20_000)])
    assert np.median(drawn, axis=0) == pytest.approx([5, 60, 4, 30], rel=0.02)
    assert drawn.mean(axis=0) == pytest.approx(np.array([5, 60, 4, 30]) * math.exp(0.125), rel=0.02)
    assert np.log(drawn).std(axis=0) == pytest.approx([0.5] * 4, rel=0.03)
    assert abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.04, "one slow stage says nothing about the next"


def test_a_restored_snapshot_reads_no_weights():
    start = parse_config(ColdStart, STEADY | {"storage_tier": "snapshot", "bandwidth_gb_per_s": None})
    assert start.median_s(140e9) == start.median_s(0.0) == 95.0


def test_two_tiers_share_their_luck():
    """Common random numbers: a faster disk shortens the same cold start, it does not draw another."""
    slow = parse_config(ColdStart, STEADY | {"spread_sigma": 0.4, "bandwidth_gb_per_s": 1})
    fast = parse_config(ColdStart, STEADY | {"spread_sigma": 0.4, "image_s": 0})
    a, b = np.random.default_rng(8), np.random.default_rng(8)
    for _ in range(3):
        (_, alloc), (_, image), (_, weights), (_, engine) = slow.draw(a, 16e9)
        (_, alloc_b), (_, image_b), (_, weights_b), (_, engine_b) = fast.draw(b, 16e9)
        assert (alloc, engine, image_b) == (alloc_b, engine_b, 0.0)
        assert weights == pytest.approx(4 * weights_b)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bandwidth_gb_per_s": 0}, "bandwidth_gb_per_s = 0"),
        ({"bandwidth_gb_per_s": None}, "storage_tier = nvme needs bandwidth_gb_per_s"),
        ({"image_s": -1}, "image_s = -1"),
        ({"spread_sigma": -0.1}, "spread_sigma = -0.1"),
        ({"storage_tier": "floppy"}, "storage_tier = 'floppy'"),
    ],
)
def test_nonsense_is_refused_by_name(wrong, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(ColdStart, STEADY | wrong)


def test_no_request_waits_longer_for_cold_starts_than_it_waits():
    """Two starts that overlap, 0 to 10 and 5 to 15. Four requests of the second 1 fill the first replica at 10; the
    fifth waits for the second one until 15: for 14 s something was starting, not 9 + 10.
    """
    fleet = SmallFleet(0, sizes=[(0, 1), (5, 2)])
    requests = [fleet.request(1, output_tokens=50) for _ in range(5)]
    late = fleet.request(20)
    fleet.play(100)
    assert [request.admitted_s for request in requests] == [10.0] * 4 + [15.0]
    assert [request.cold_start_wait_s for request in requests] == [9.0] * 4 + [14.0]
    assert late.cold_start_wait_s == 0.0


def test_a_replica_that_nothing_waits_for_when_it_is_ready_is_released_after_its_idle_timeout(tmp_path):
    """The only client has left before the cold start is over; else the replica would be paid to the end of the run."""
    log = tmp_path / "one.csv"
    log.write_text("arrived_s,input_tokens,output_tokens\n0,10,10\n")
    words = ("fleet=scale_to_zero", "queue.patience_s=2", "scaling.idle_timeout_s=60", "horizon_s=600", "drain_s=0")
    scenario = parse(compose_config("arrivals=replay", f"arrivals.path={log}", *words))
    spans = simulate(scenario, measure_peak=False).facts.spans
    idle = spans["state"] == ReplicaState.IDLE
    assert spans["end_s"][idle] - spans["start_s"][idle] == pytest.approx([60.0])
