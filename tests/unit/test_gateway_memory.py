"""A request remembers where its task was served last, and a router may answer with that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import simpy

from sim.recorder import Recorder
from sim.records import Backend
from sim.routing.gateway import Gateway
from sim.work import Call, Outcome, Task


class Served:
    """A backend that has finished before anybody looks."""

    def __init__(self, name, seen, done):
        self.name, self.seen, self.done, self.n_ready = name, seen, done, 1

    def submit(self, request):
        self.seen.append(self.name)
        request.first_token_s = request.admitted_s = request.finished_s = request.arrived_s
        request.outcome = Outcome.FINISHED
        self.done(request)


@pytest.mark.parametrize("first", [Backend.FLEET, Backend.API])
def test_calls_stay_where_the_first_one_went(first):
    def choose(request, view):
        return request.backend if request.call_index else first

    at_work = SimpleNamespace(choose=choose, settled=lambda request: None)
    router = SimpleNamespace(start=lambda clock, rng: at_work, is_demand=lambda request: False, retries=False)
    gateway, seen = Gateway(simpy.Environment(), router, None, Recorder()), []
    gateway.fleet = Served("fleet", seen, gateway.fleet_done)
    gateway.api = Served("api", seen, gateway.api_done)
    gateway.begin(Task(0, 0.0, (Call(5, 5), Call(5, 5), Call(5, 5))))
    assert seen == [first.name.lower()] * 3
