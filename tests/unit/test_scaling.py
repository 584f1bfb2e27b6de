"""Scalers as scripted trajectories: a load in, the replicas wanted out, worked by hand from the rule."""

from __future__ import annotations

import pytest

from sim.records import ReplicaState
from sim.scaling.always_on import AlwaysOn, NoReplicas
from sim.scaling.on_demand import ScaleToZero
from sim.scaling.queue_scale_out import QueueScaleOut
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, parse_config
from sim.simulation import simulate
from tests.contracts.test_scaling import StandInFleet as Fleet

ZERO = ScaleToZero(max_replicas=3, idle_timeout_s=60, target_requests_per_replica=10)
FLOOR = QueueScaleOut(min_replicas=1, max_replicas=4, tick_s=15, idle_timeout_s=300, queue_per_replica=5)


def test_always_on_is_blind():
    assert AlwaysOn(n_replicas=3).target_replicas(Fleet()) == 3
    assert AlwaysOn(n_replicas=3).target_replicas(Fleet(n_ready=3, n_waiting=1000)) == 3


def test_no_replicas_is_always_none():
    assert NoReplicas().target_replicas(Fleet(n_waiting=1000)) == 0


def test_scale_to_zero_wakes_for_the_first_request_and_sleeps_after_the_timeout():
    story = [
        (Fleet(), 0),  # no request
        (Fleet(n_waiting=1), 1),  # the first request orders a replica
        (Fleet(n_starting=1, n_waiting=9), 1),  # more wait while it starts: it will do
        (Fleet(n_starting=1, n_waiting=11), 2),  # the eleventh needs a second
        (Fleet(n_starting=2, n_waiting=20), 2),  # both on their way
        (Fleet(n_ready=2, n_running=20), 2),
        (Fleet(n_ready=2, n_running=500), 3),  # never more than max_replicas
        (Fleet(n_ready=2, n_running=4, idle_s=[59]), 2),  # idle, but not for long enough
        (Fleet(n_ready=2, n_running=4, idle_s=[60]), 1),  # now the second leaves
        (Fleet(n_ready=2, n_running=14, idle_s=[60]), 2),  # unless the load asks for it
        (Fleet(n_ready=2, n_running=0, idle_s=[60, 10]), 1),  # the last stays until its own time is over
        (Fleet(n_ready=1, n_running=0, idle_s=[60]), 0),
    ]
    assert [ZERO.target_replicas(view) for view, _ in story] == [wanted for _, wanted in story]


def test_a_replica_whose_client_gave_up_is_not_called_off_while_it_starts():
    assert ZERO.target_replicas(Fleet(n_starting=1)) == 1


def test_the_warm_floor_grows_with_the_queue_and_returns_to_the_floor():
    story = [
        (Fleet(n_ready=1, n_running=100), 1),  # busy, but no request queues
        (Fleet(n_ready=1, n_running=100, n_waiting=5), 1),  # five waiting per replica are tolerated
        (Fleet(n_ready=1, n_running=100, n_waiting=6), 2),
        (Fleet(n_ready=1, n_starting=1, n_running=100, n_waiting=10), 2),
        (Fleet(n_ready=2, n_running=200, n_waiting=99), 4),  # never more than max_replicas
        (Fleet(n_ready=4, n_running=4, idle_s=[299]), 4),
        (Fleet(n_ready=4, n_running=4, idle_s=[300, 400]), 2),
        (Fleet(n_ready=2, n_running=0, idle_s=[900, 900]), 1),  # the floor never leaves
    ]
    assert [FLOOR.target_replicas(view) for view, _ in story] == [wanted for _, wanted in story]


def test_scale_out_on_concurrency_and_scale_in_by_draining():
    scaler = QueueScaleOut(
        min_replicas=1, max_replicas=4, tick_s=15, idle_timeout_s=300,
        requests_per_replica=10, scale_in_requests_per_replica=5,
    )  # fmt: skip
    story = [
        (Fleet(n_ready=1, n_running=10), 1),
        (Fleet(n_ready=1, n_running=10, n_waiting=1), 2),
        (Fleet(n_ready=1, n_running=10, n_waiting=500), 4),
        (Fleet(n_ready=4, n_running=16), 4),  # three would have more than five each
        (Fleet(n_ready=4, n_running=15), 3),  # evenly spread, no replica idle: one is drained
        (Fleet(n_ready=4, n_running=3), 3),  # one at a time
        (Fleet(n_ready=3, n_starting=1, n_running=3), 4),  # not while another one starts
        (Fleet(n_ready=1, n_running=0), 1),  # the floor never leaves
    ]
    assert [scaler.target_replicas(view) for view, _ in story] == [wanted for _, wanted in story]


def test_a_buffer_is_kept_above_the_load_while_there_is_any():
    on_demand = ZERO.model_copy(update={"buffer_replicas": 1})
    by_load = QueueScaleOut(
        min_replicas=2, max_replicas=4, tick_s=15, idle_timeout_s=300, requests_per_replica=10, buffer_replicas=1
    )
    story = [
        (Fleet(), 0, 2),  # no request: no buffer; the floor never leaves
        (Fleet(n_ready=1, n_running=5), 2, 2),  # one serves, the other is the buffer: it is within the floor
        (Fleet(n_ready=2, n_running=11), 3, 3),
        (Fleet(n_ready=3, n_running=25), 3, 4),  # never more than max_replicas
        (Fleet(n_ready=2, n_running=5, idle_s=[900]), 2, 2),  # idle for long, and still the buffer
        (Fleet(n_ready=2, n_running=0, idle_s=[900, 900]), 0, 2),
    ]
    found = [(on_demand.target_replicas(view), by_load.target_replicas(view)) for view, *_ in story]
    assert found == [tuple(wanted) for _, *wanted in story]


@pytest.mark.parametrize(
    ("kind", "raw", "said"),
    [
        (AlwaysOn, dict(n_replicas=0), "n_replicas = 0"),
        (ScaleToZero, dict(max_replicas=0, idle_timeout_s=60, target_requests_per_replica=1), "max_replicas = 0"),
        (QueueScaleOut, dict(min_replicas=3, max_replicas=2, tick_s=1, idle_timeout_s=1, queue_per_replica=1),
         "max_replicas = 2 must be >= min_replicas = 3"),
        (QueueScaleOut, dict(min_replicas=0, max_replicas=2, tick_s=1, idle_timeout_s=1, queue_per_replica=1),
         "min_replicas = 0"),
        (QueueScaleOut, dict(min_replicas=1, max_replicas=2, tick_s=1, idle_timeout_s=1), "never scale out"),
        (QueueScaleOut, dict(min_replicas=1, max_replicas=2, tick_s=1, idle_timeout_s=1, requests_per_replica=4,
                             scale_in_requests_per_replica=4), "4.0 must be < requests_per_replica = 4.0"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_name(kind, raw, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(kind, raw)


@pytest.mark.parametrize("scaling", ["warm_floor", "modal"])
def test_a_floor_of_three_is_warm_when_the_run_begins(scaling):
    floor = ("scaling.min_replicas=3", "scaling.max_replicas=3")
    scenario = parse(compose_config(f"scaling={scaling}", *floor, "arrivals.rate_per_s=0.1", "horizon_s=600"))
    spans = simulate(scenario, measure_peak=False).facts.spans
    assert set(spans["replica_id"]) == {0, 1, 2}
    assert not any(ReplicaState(state).is_cold_start for state in spans["state"])
