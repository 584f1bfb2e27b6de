"""Routers and placements, one decision at a time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sim.records import Backend
from sim.routing.one_backend import ApiOnly, FleetOnly
from sim.routing.overflow import Overflow
from sim.routing.placement.affinity import PrefixAware, TaskAffinity
from sim.routing.placement.by_load import FillFirst, LeastLoaded
from sim.routing.placement.round_robin import RoundRobin
from sim.schema import ConfigError, parse_config
from sim.work import Call, PreviousCall, Request, Task

FLEET, API = Backend.FLEET, Backend.API


def request(task_id=0, call_index=0, backend=FLEET, replica_id=-1):
    previous = PreviousCall(backend, replica_id=replica_id) if call_index else None
    return Request(Task(task_id, 0.0, (Call(100, 10),) * 3), call_index, 0.0, previous)


def system(n_waiting=0, n_ready=1, predicted_wait_s=0.0):
    fleet = SimpleNamespace(n_waiting=n_waiting, n_ready=n_ready, predicted_wait_s=predicted_wait_s)
    return SimpleNamespace(fleet=fleet, api=SimpleNamespace(), now_s=0.0)


def replicas(*loads, first_id=0):
    return [SimpleNamespace(replica_id=i, n_outstanding=load) for i, load in enumerate(loads, first_id)]


def test_one_way_routers_need_only_their_side():
    assert FleetOnly().choose(request(), SimpleNamespace(fleet=None, api=None)) is FLEET
    assert ApiOnly().choose(request(), SimpleNamespace(fleet=None, api=None)) is API


def test_a_queue_longer_than_tolerated_overflows():
    router = Overflow(queue_per_replica=5)
    assert router.choose(request(), system(n_waiting=5)) is FLEET
    assert router.choose(request(), system(n_waiting=6)) is API
    assert router.choose(request(), system(n_waiting=10, n_ready=2)) is FLEET, "two replicas tolerate twice the queue"
    assert router.choose(request(), system(n_waiting=11, n_ready=2)) is API


def test_a_fleet_at_zero_still_gets_the_request_that_wakes_it():
    impatient = Overflow(queue_per_replica=0)
    assert impatient.choose(request(), system(n_waiting=0, n_ready=0)) is FLEET
    assert impatient.choose(request(), system(n_waiting=1, n_ready=0)) is API
    assert Overflow(queue_per_replica=5).choose(request(), system(n_waiting=5, n_ready=0)) is FLEET


def test_a_predicted_wait_longer_than_tolerated_overflows():
    router = Overflow(predicted_wait_s=2)
    assert router.choose(request(), system(predicted_wait_s=2.0, n_waiting=99)) is FLEET
    assert router.choose(request(), system(predicted_wait_s=2.1)) is API


def test_either_trigger_is_enough():
    router = Overflow(queue_per_replica=5, predicted_wait_s=2)
    assert router.choose(request(), system(n_waiting=6)) is API
    assert router.choose(request(), system(predicted_wait_s=3)) is API


def test_a_task_that_moved_to_the_api_stays_there_if_asked_to():
    staying, returning = Overflow(queue_per_replica=5), Overflow(queue_per_replica=5, stay_with_task=False)
    later = request(call_index=1, backend=API)
    assert staying.choose(later, system()) is API
    assert returning.choose(later, system()) is FLEET
    assert staying.choose(request(call_index=1, backend=FLEET), system(n_waiting=6)) is API, "late calls may move"
    assert staying.choose(request(call_index=0), system()) is FLEET, "a first call has no past"


def test_overflow_without_a_trigger_is_refused():
    with pytest.raises(ConfigError, match="without, nothing would overflow"):
        parse_config(Overflow, {})


TIE_BREAKERS = [LeastLoaded(), TaskAffinity(), FillFirst(target_requests_per_replica=2)]


@pytest.mark.parametrize("placement", TIE_BREAKERS, ids=lambda p: p.kind)
def test_ties_go_to_the_lowest_id(placement):
    assert placement.choose(request(), replicas(3, 1, 1, 2)).replica_id == 1


def test_round_robin_gives_single_calls_their_exact_turn():
    picks = [RoundRobin().choose(request(task_id=i), replicas(9, 0, 5, first_id=4)).replica_id for i in range(6)]
    assert picks == [4, 5, 6, 4, 5, 6]


def test_affinity_follows_the_task_while_its_replica_is_offered():
    placement = TaskAffinity()
    assert placement.choose(request(call_index=1, replica_id=2), replicas(0, 0, 9)).replica_id == 2
    assert placement.choose(request(call_index=1, replica_id=7), replicas(4, 3, 9)).replica_id == 1, "gone or full"
    assert placement.choose(request(), replicas(4, 3, 9)).replica_id == 1


def test_fill_first_gathers_load_until_a_replica_is_full():
    placement = FillFirst(target_requests_per_replica=4)
    assert placement.choose(request(), replicas(0, 3, 1)).replica_id == 1
    assert placement.choose(request(), replicas(0, 4, 1)).replica_id == 2
    assert placement.choose(request(), replicas(0, 0, 0)).replica_id == 0
    assert placement.choose(request(), replicas(9, 7, 8)).replica_id == 1, "all full: the least loaded"


def test_prefix_aware_goes_where_the_prompt_is_unless_that_is_far_busier():
    asked = Request(Task(0, 0.0, (Call(100, 10, segments=(("text", 100),)),)), 0, 0.0)

    def chosen(*replicas, max_extra_requests=4):
        offered = [
            SimpleNamespace(replica_id=i, n_outstanding=load, cached_tokens=lambda segments, held=held: held)
            for i, (load, held) in enumerate(replicas)
        ]
        return PrefixAware(max_extra_requests=max_extra_requests).choose(asked, offered).replica_id

    assert chosen((0, 0), (4, 64), (1, 32)) == 1, "most cached"
    assert chosen((0, 0), (5, 64), (1, 32)) == 2, "the fullest holder is five above the least loaded"
    assert chosen((3, 0), (2, 0), (2, 0)) == 1, "nothing cached anywhere: the least loaded, lowest id"
    assert chosen((1, 0), (0, 0), (0, 16), max_extra_requests=0) == 2
