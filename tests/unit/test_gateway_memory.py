"""A request remembers where its task was served last, and a router may answer with that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import simpy

from sim.recorder import Recorder
from sim.records import Backend
from sim.routing.gateway import Gateway
from sim.work import Call, Outcome, Request, Task


def test_a_request_ends_once():
    request = Request(Task(3, 0.0, (Call(5, 5),)), 0, 0.0)
    request.end(Outcome.FINISHED, 4.0)
    with pytest.raises(RuntimeError, match="task 3 call 0 cannot end as ABANDONED at 5.0 s: it ended as FINISHED"):
        request.end(Outcome.ABANDONED, 5.0)
    assert (request.outcome, request.finished_s) == (Outcome.FINISHED, 4.0)
    request.start_over()
    request.end(Outcome.REFUSED, 6.0)
    assert (request.outcome, request.losses.retries) == (Outcome.REFUSED, 1), "a second try is another end"


def test_where_the_previous_call_was_served_is_fixed_when_a_request_is_made():
    seen = []

    def choose(request, view):
        seen.append((request.previous and request.previous.backend, request.backend, request.replica_id))
        return Backend(request.call_index % 2)

    at_work = SimpleNamespace(choose=choose, settled=lambda request: None)
    router = SimpleNamespace(start=lambda clock, rng: at_work, is_demand=lambda request: False, retries=False)
    gateway = Gateway(simpy.Environment(), router, None, Recorder())
    gateway.fleet, gateway.api = Served("fleet", [], gateway.fleet_done), Served("api", [], gateway.api_done)
    gateway.begin(Task(0, 0.0, (Call(5, 5), Call(5, 5), Call(5, 5))))
    assert seen == [(None, None, -1), (Backend.FLEET, None, -1), (Backend.API, None, -1)]


class Served:
    """A backend that has finished before anybody looks."""

    def __init__(self, name, seen, done):
        self.name, self.seen, self.done, self.n_ready = name, seen, done, 1

    def view_for(self, request):
        return self

    def submit(self, request):
        self.seen.append(self.name)
        request.first_token_s = request.admitted_s = request.arrived_s
        request.end(Outcome.FINISHED, request.arrived_s)
        self.done(request)


@pytest.mark.parametrize("first", [Backend.FLEET, Backend.API])
def test_calls_stay_where_the_first_one_went(first):
    def choose(request, view):
        return request.previous.backend if request.previous else first

    at_work = SimpleNamespace(choose=choose, settled=lambda request: None)
    router = SimpleNamespace(start=lambda clock, rng: at_work, is_demand=lambda request: False, retries=False)
    gateway, seen = Gateway(simpy.Environment(), router, None, Recorder()), []
    gateway.fleet = Served("fleet", seen, gateway.fleet_done)
    gateway.api = Served("api", seen, gateway.api_done)
    gateway.begin(Task(0, 0.0, (Call(5, 5), Call(5, 5), Call(5, 5))))
    assert seen == [first.name.lower()] * 3
