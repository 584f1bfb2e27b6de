"""A request remembers where its task was served last, and a router may answer with that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import simpy

from sim.recorder import Recorder
from sim.records import Backend
from sim.routing.gateway import Gateway
from sim.work import Call, Outcome, Request, Task
from tests.small_fleet import SmallFleet


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
    """A backend that finishes a request within `submit`."""

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


class ServedLater:
    """A backend that takes `takes_s`; remembers when requests reached it."""

    def __init__(self, env, done, takes_s):
        self.env, self.done, self.takes_s, self.reached_s = env, done, takes_s, []

    def submit(self, request):
        self.reached_s.append(self.env.now)
        self.env.timeout(self.takes_s).callbacks.append(lambda _: self._finish(request))

    def _finish(self, request):
        request.first_token_s = request.admitted_s = self.env.now
        request.end(Outcome.FINISHED, self.env.now)
        self.done(request)


def to_the_api(is_demand):
    at_work = SimpleNamespace(choose=lambda request, view: Backend.API, settled=lambda request: None)
    return SimpleNamespace(start=lambda clock, rng: at_work, is_demand=lambda request: is_demand, retries=False)


def test_every_call_of_a_task_pays_for_its_way_in():
    """Each call is a request of its own over HTTP: after a tool that takes 3 s the next one travels for 1 s again.

    It arrives when the client sends it, so its way in is part of its latency.
    """
    env, recorder = simpy.Environment(), Recorder()
    gateway = Gateway(env, to_the_api(is_demand=False), None, recorder, ingress_s=1.0)
    gateway.api = ServedLater(env, gateway.api_done, takes_s=5.0)
    env.timeout(1.0).callbacks.append(lambda _: gateway.begin(Task(0, 0.0, (Call(5, 5), Call(5, 5, wait_s=3.0)))))
    env.run()
    assert gateway.api.reached_s == [1.0, 10.0]
    assert recorder.requests()["arrived_s"].tolist() == [0.0, 9.0]


def test_what_the_api_has_served_is_no_longer_wanted_of_the_fleet():
    """A cold fleet hears of the request, so that it starts; once it is served elsewhere, there is nothing to do.

    Otherwise an autoscaler would keep replicas for work that was done long ago.
    """
    cold = SmallFleet(0)
    gateway = Gateway(cold.env, to_the_api(is_demand=True), None, cold.recorder)
    gateway.fleet = cold.fleet
    gateway.api = ServedLater(cold.env, gateway.api_done, takes_s=5.0)
    for task_id in range(2):
        cold.at(2.0 * task_id, gateway.begin, Task(task_id, 2.0 * task_id, (Call(5, 5),)))
    wanted = []
    for when_s in (1, 3, 6, 8):
        cold.at(when_s, lambda: wanted.append(cold.fleet.view.n_outstanding))
    cold.env.run(until=10)
    assert wanted == [1, 2, 1, 0]
    assert cold.fleet.view.outstanding_request_seconds == 10.0, "two requests of 5 s each"


def test_a_refused_request_goes_to_the_api_in_the_same_moment_and_is_on_record_once():
    """Nothing lies between a refusal and the router's second try that could take time."""
    env, recorder, settled = simpy.Environment(), Recorder(), []
    at_work = SimpleNamespace(
        choose=lambda request, view: Backend.FLEET, settled=settled.append, second_try=lambda request, view: True
    )
    router = SimpleNamespace(start=lambda clock, rng: at_work, is_demand=lambda request: False, retries=True)
    gateway = Gateway(env, router, None, recorder)
    gateway.api = ServedLater(env, gateway.api_done, takes_s=5.0)

    def refuse(request):
        request.end(Outcome.REFUSED, env.now)
        gateway.fleet_done(request)

    gateway.fleet = SimpleNamespace(view_for=lambda request: SimpleNamespace(n_ready=1), submit=refuse)
    env.timeout(2.0).callbacks.append(lambda _: gateway.begin(Task(0, 2.0, (Call(5, 5),))))
    env.run()
    assert gateway.api.reached_s == [2.0] and len(settled) == 1
    requests = recorder.requests()
    assert (requests["finished_s"].tolist(), requests["retries"].tolist()) == ([7.0], [1])
    assert requests["outcome"].tolist() == [Outcome.FINISHED]
