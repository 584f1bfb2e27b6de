"""The gateway: it sends every request to a backend, and records the request once it has its outcome."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sim.clock import FIRE, NORMAL, Clock, Wake, call_later
from sim.event_loop import Agenda, EventLoop
from sim.recorder import Recorder
from sim.routing.clients import Clients
from sim.routing.one_backend import FleetOnly
from sim.routing.router import Router
from sim.work import Backend, Graph, Outcome, PreviousCall, Request, Task, wait_after

# Looking up a member of an enum costs as much as a function call, so these are looked up once.
_FLEET: Final = Backend.FLEET
_API: Final = Backend.API
_FINISHED: Final = Outcome.FINISHED
_STOPPED: Final = Outcome.STOPPED


class RunView:
    """The `SystemView` of a run, which a router reads. `fleet` is what the present request may join."""

    def __init__(self, env: Any):
        self._env = env
        self.fleet: Any = None
        self.api: Any = None

    @property
    def now_s(self) -> float:
        return float(self._env.now)


def _place_of(request: Request) -> PreviousCall:
    """Where a finished request was served."""
    assert request.backend is not None
    replica_id, prefill_replica_id = request.replica_id, request.prefill_replica_id
    return PreviousCall(request.backend, request.pool, replica_id, prefill_replica_id, request.unsent_tokens)


class _Progress:
    """How far a task whose calls form a graph has come."""

    def __init__(self, task: Task, graph: Graph):
        self.task = task
        self.n_awaited = [len(earlier) for earlier in graph]  # by call: calls that must finish before it
        self.followers: list[list[int]] = [[] for _ in graph]  # by call: calls that wait for it
        for index, earlier in enumerate(graph):
            for before in earlier:
                self.followers[before].append(index)
        self.served: dict[int, PreviousCall] = {}  # where each finished call was served
        self.n_under_way = 1  # calls sent, or to be sent after their wait, that have not ended
        self.is_cut = False  # whether a call has not finished, so that no further one is sent
        self.last: Request | None = None  # the request that ended last


class Gateway:
    """Plays tasks: sends each call to the backend that the router chooses, and the next one once it has finished.

    A call that its client stopped has served its purpose, so the task goes on with the next one, whose prompt is as
    long as it was drawn. A chain ends with a call that is refused, abandoned, failed or aborted, unless the router
    sends a call that the fleet refused to the API. In a task with a graph, a call is sent once all that it waits for
    have finished; after one that does not finish, no further call is sent, and the task ends with the last one under
    way. Backends are built with `fleet_done` and `api_done` as their callbacks, so the attributes `fleet` and `api` are
    set afterwards, before the first task. `ingress_s`: seconds of HTTP and tokenization between a request's arrival and
    the gateway. `rng`: numpy's generator for the router.
    """

    def __init__(self, env: Any, router: Router, rng: Any, recorder: Recorder, ingress_s: float = 0.0):
        self._env = env
        self._agenda: Agenda | None = env.agenda if isinstance(env, EventLoop) else None
        self._is_demand = router.is_demand
        self._router: Any = router.start(Clock(env), rng)
        self._choose: Callable[[Request, Any], Backend] = self._router.choose
        self._is_fleet_only = type(router) is FleetOnly  # Such a router need not be asked. A class of it may differ.
        self._counted_at_fleet: dict[Request, None] = {}  # requests at the API only because no replica was ready
        self._view = RunView(env)
        self.fleet_done = self._refused_or_done if router.retries else self.done
        self._recorder = recorder
        self.ingress_s = ingress_s
        self.fleet: Any = None
        self.api: Any = None
        self.clients: Clients | None = None  # None: clients wait for the whole answer, however long
        self.on_task_end: Callable[[Request], None] | None = None  # called with the last request of a task
        self._graphs: dict[int, _Progress] = {}  # by task_id: tasks under way whose calls form a graph
        self.tasks_started = 0
        self.tasks_ended = 0
        self.requests_started = 0

    @property
    def tasks_running(self) -> int:
        """Tasks that have begun and still have a call in service or to come."""
        return self.tasks_started - self.tasks_ended

    def begin(self, task: Task) -> None:
        """Send the first call of a task that arrived `ingress_s` ago."""
        self.tasks_started += 1
        if task.graph is not None:
            self._graphs[task.task_id] = _Progress(task, task.graph)
        self._send(Request(task, 0, task.arrived_s))

    def done(self, request: Request) -> None:
        """A backend reports the final outcome of a request."""
        self._recorder.request(request)
        task = request.task
        if task.graph is not None:
            self._done_in_graph(request)
            return
        following = request.call_index + 1
        if following == len(task.calls) or request.outcome is not _FINISHED and request.outcome is not _STOPPED:
            self.tasks_ended += 1
            if self.on_task_end is not None:
                self.on_task_end(request)
            return
        delay_s = wait_after(request, task.calls[following]) + self.ingress_s
        if delay_s > 0:
            following_call, agenda = _FollowingCall(self, request), self._agenda
            if agenda is None:
                following_call.schedule(self._env, delay_s)
            else:
                agenda.schedule(following_call, NORMAL, delay_s)
        else:
            self.follow(request)

    def follow(self, previous: Request) -> None:
        """Send the call after one that has finished, which has waited until now."""
        index = previous.call_index + 1
        assert previous.finished_s is not None
        served = _place_of(previous)
        arrived_s = previous.finished_s + wait_after(previous, previous.task.calls[index])
        self._send(Request(previous.task, index, arrived_s, served))

    def _done_in_graph(self, request: Request) -> None:
        progress = self._graphs[request.task.task_id]
        progress.n_under_way -= 1
        progress.last = request
        if request.outcome is not _FINISHED and request.outcome is not _STOPPED:
            progress.is_cut = True
        elif not progress.is_cut:
            progress.served[request.call_index] = _place_of(request)
            for index in progress.followers[request.call_index]:
                progress.n_awaited[index] -= 1
                if progress.n_awaited[index] == 0:
                    progress.n_under_way += 1
                    delay_s = wait_after(request, request.task.calls[index]) + self.ingress_s
                    call_later(self._env, delay_s, self._follow_in_graph, progress, index, request)
        self._end_if_idle(progress)

    def _follow_in_graph(self, progress: _Progress, index: int, latest: Request) -> None:
        """Send a call after its wait, which began with the end of `latest`, the last one that it waited for."""
        if progress.is_cut:
            progress.n_under_way -= 1
            self._end_if_idle(progress)
            return
        task = progress.task
        assert task.graph is not None and latest.finished_s is not None
        arrived_s = latest.finished_s + wait_after(latest, task.calls[index])
        self._send(Request(task, index, arrived_s, progress.served[task.graph[index][0]]))

    def _end_if_idle(self, progress: _Progress) -> None:
        if progress.n_under_way == 0:
            del self._graphs[progress.task.task_id]
            self.tasks_ended += 1
            if self.on_task_end is not None:
                assert progress.last is not None
                self.on_task_end(progress.last)

    def _send(self, request: Request) -> None:
        self.requests_started += 1
        if self.clients is not None:
            self.clients.send(request)
        fleet = self.fleet
        if self._is_fleet_only:
            request.backend = _FLEET
            fleet.submit(request)
            return
        choose = self._choose
        view = self._view_for(request)
        backend = choose(request, view)
        if backend == _FLEET:
            request.backend = _FLEET
            fleet.submit(request)
            return
        if fleet is not None and not view.fleet.n_ready and self._is_demand(request):
            self._counted_at_fleet[request] = None
            fleet.sent_to_api(request)
        request.backend = _API
        self.api.submit(request)

    def _view_for(self, request: Request) -> RunView:
        view, fleet = self._view, self.fleet
        view.api = self.api
        if fleet is not None:
            view.fleet = fleet.view_for(request)
        return view

    def hang_up(self, request: Request) -> None:
        """The client of a request goes away."""
        server = self.fleet if request.backend == _FLEET else self.api
        server.abort(request)

    def api_done(self, request: Request) -> None:
        """The API reports the outcome of a request."""
        self._router.settled(request)
        if request in self._counted_at_fleet:
            del self._counted_at_fleet[request]
            self.fleet.back_from_api(request)
        self.done(request)

    def _refused_or_done(self, request: Request) -> None:
        # Only REFUSED requests are sent again: a FAILED one began on a replica, and its stay there is recorded.
        if request.outcome is Outcome.REFUSED and self._router.second_try(request, self._view_for(request)):
            # The next event sends it, because the fleet is still handling the request during this one.
            call_later(self._env, 0.0, self._send_refused_to_api, request)
        else:
            self.done(request)

    def _send_refused_to_api(self, request: Request) -> None:
        request.start_over()
        if self.clients is not None:
            self.clients.wait(request)
        request.backend = _API
        self.api.submit(request)


class _FollowingCall(Wake):
    """The moment at which the next call of a chain is sent."""

    __slots__ = ("_gateway", "_previous")

    def __init__(self, gateway: Gateway, previous: Request):
        self.callbacks = FIRE
        self._gateway = gateway
        self._previous = previous

    def fire(self) -> None:
        self._gateway.follow(self._previous)
