"""The fleet: replicas behind one queue, and a scaler that decides how many there are."""

# Compiled: every request passes through this module (see sim.hot_path).

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mypy_extensions import mypyc_attr

from sim.clock import Clock, Wake
from sim.engine.replica import Replica
from sim.fleet.demand import Demand
from sim.fleet.dispatch import Dispatch
from sim.fleet.losses import LostReplicas
from sim.fleet.queue import RequestQueue
from sim.fleet.roster import Member, Numbering, Roster
from sim.fleet.supply.hazards import Hazards
from sim.fleet.supply.reliability import Reliability
from sim.fleet.supply.supply import Supply
from sim.fleet.victims.victims import Victim
from sim.fleet.view import View
from sim.randomness import Streams
from sim.recorder import Recorder
from sim.routing.placement.placement import Placement
from sim.scaling.scaler import Scaler
from sim.work import Outcome, Refusal, Request


@mypyc_attr(allow_interpreted_subclasses=True)
class Fleet:
    """Replicas behind one queue; implements `Server`, and shows policies its `view`.

    A request goes at once to a ready replica that has room (fewer than `max_requests_per_replica` in it), picked by
    `placement`; otherwise it waits in the fleet's queue, first come first served or `by_priority`, for the replica that
    has room first; one that finds `max_waiting_requests` in that queue is refused. `patience_s`: a client that has
    waited this long for its first step gives up. `numbering`: needed where a run has several fleets.
    """

    def __init__(
        self,
        env: Any,
        *,
        scaler: Scaler,
        placement: Placement,
        new_replica: Callable[..., Replica],
        supply: Supply,
        victim: Victim,
        streams: Streams,
        reliability: Reliability,
        new_hazards: Callable[..., Hazards],
        max_requests_per_replica: float,
        max_waiting_requests: int | None = None,
        by_priority: bool = False,
        replica_requests_per_s: Callable[[float, float, float], float] | None = None,
        patience_s: float | None,
        numbering: Numbering | None = None,
        recorder: Recorder,
        on_done: Callable[[Request], None],
    ):
        self._env = env
        numbering = numbering or Numbering()
        self.pools = numbering.pools
        self._scaler = scaler
        clock = Clock(env)
        self._scaler_at_work = scaler.start(clock, streams.generator("scaling"))
        self._asks_on_arrival = scaler.asks_on_arrival
        self._on_done = on_done
        self._patience_s = patience_s
        self._asking = False
        self._demand = Demand(env, scaler.counts_tokens)
        choose = placement.start(clock, streams.generator("placement")).choose
        self._dispatch = Dispatch(choose, max_requests_per_replica)
        replica_done = self._replica_done  # One bound method for all replicas: less memory to touch.
        self._roster = Roster(
            env,
            new_replica=lambda **hooks: new_replica(on_done=replica_done, **hooks),
            supply=supply,
            victim=victim.start(clock, streams.generator("victim")),
            hazards=self._new_hazards(new_hazards) if reliability.takes_replicas else None,
            recorder=recorder,
            on_ready=self._refill,
            on_idle=self._replica_idle,
            numbering=numbering,
        )
        self._queue = RequestQueue(
            self._roster.cold_clock_s, by_priority=by_priority, max_waiting=max_waiting_requests
        )  # fmt: skip
        self._losses = LostReplicas(
            env, reliability, self._roster, self._queue, self._dispatch, recorder,
            on_failed=self._replica_done, replace=self._replace,
        )  # fmt: skip
        self.view = View(
            env, self._roster, self._queue, self._dispatch, self._demand, supply, replica_requests_per_s
        )  # fmt: skip
        self._begin()

    def _new_hazards(self, new_hazards: Callable[..., Hazards]) -> Hazards:
        return new_hazards(
            fail=lambda members: self._losses.lose(members), warn=lambda members: self._losses.warn(members)
        )

    def _begin(self) -> None:
        # No scaling decision until all initial replicas exist; otherwise the missing ones would start cold.
        self._asking = True
        self._wanted = self._scaler.initial_replicas
        for _ in range(self._wanted):
            self._roster.add_ready()
        self._asking = False
        if self._scaler.tick_s is not None:
            Wake(self._tick).schedule(self._env, self._scaler.tick_s)

    # --- requests ----------------------------------------------------------------------------------------------------

    def view_for(self, request: Request) -> View:
        """What a router may see when it decides on this request."""
        return self.view

    def submit(self, request: Request) -> None:
        self._demand.arrive(request)
        has_room = self._dispatch.send(request)
        if not has_room:
            if self._queue.is_full:
                request.refuse(Refusal.QUEUE_FULL, self._env.now)
                self._replica_done(request)
                return
            self._queue.append(request)
        if self._patience_s is not None and request.admitted_s is None and request.outcome is None:
            Wake(lambda _: self._give_up(request)).schedule(self._env, self._patience_s)
        if self._asks_on_arrival or not has_room and self._scaler.asks_at_zero and self._has_no_replica():
            self._ask()

    def sent_to_api(self, request: Request) -> None:
        """Count a request that the router sent to the API only because no replica was ready, until `back_from_api`.

        The scaler sees it as demand; otherwise a fleet at zero would never start.
        """
        self._demand.elsewhere(+1)
        if self._asks_on_arrival or self._scaler.asks_at_zero and self._has_no_replica():
            self._ask()

    def back_from_api(self, request: Request) -> None:
        """The API has served a request that `sent_to_api` counted."""
        self._demand.elsewhere(-1)

    def unfinished(self) -> list[Request]:
        """Every request that is in the fleet now."""
        engines = (member.engine for member in self._roster.members.values() if member.engine is not None)
        return [*self._queue, *(request for engine in engines for request in engine.unfinished())]

    def has_queued(self, request: Request) -> bool:
        """Whether a request waits in this fleet's queue."""
        return request in self._queue

    def close(self) -> None:
        """The run ends: enter what the replicas are doing."""
        self._roster.close()

    def _has_no_replica(self) -> bool:
        return not self._roster.ready and not self._roster.starting

    def _replica_done(self, request: Request) -> None:
        self._demand.leave(request)
        dispatch = self._dispatch
        if not self._queue and dispatch.left(request.replica_id):
            pass  # The usual case of a large fleet: the replica was offered to newcomers, and still is.
        elif dispatch.by_load.is_on or self._queue or len(dispatch.open) < len(self._roster.ready):
            member = self._roster.members.get(request.replica_id)
            if member is not None:
                self._refill(member)
        on_done = self._on_done
        on_done(request)

    def _refill(self, member: Member) -> None:
        """A replica has room: give it queued requests, or offer it to newcomers."""
        replica = member.engine
        if replica is None or replica not in self._roster.ready:
            return
        while self._queue and self._dispatch.has_room(replica):
            replica.submit(self._queue.pop())
            self._dispatch.by_load.changed(replica)
        self._dispatch.offer(replica)

    def abort(self, request: Request) -> None:
        """The client of a request goes away: it is abandoned if it has not begun, else aborted."""
        if request.admitted_s is None:
            self._give_up(request)
        elif request in self._queue:  # the replica that had begun it was lost
            self._queue.remove(request)
            losses = request.losses
            request.abort(0 if losses is None else losses.generated_tokens, self._env.now)
            self._replica_done(request)
        else:
            engine = self._roster.members[request.replica_id].engine
            assert engine is not None
            engine.abort(request)

    def _give_up(self, request: Request) -> None:
        """The client's patience is over: a request that has not begun is abandoned."""
        if request.admitted_s is not None or request.outcome is not None:
            return
        if request in self._queue:
            self._queue.remove(request)
        else:
            engine = self._roster.members[request.replica_id].engine
            assert engine is not None
            engine.withdraw(request)
        request.end(Outcome.ABANDONED, self._env.now)
        self._replica_done(request)

    # --- replicas ----------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Order or give up replicas until there are as many as the scaler wants."""
        if self._asking:
            return
        self._asking = True
        view, roster = self.view, self._roster
        self._wanted = wanted = self._scaler_at_work.target_replicas(view)
        missing = wanted - view.n_ready - view.n_starting
        for _ in range(missing):
            roster.start()
        if self._scaler.calls_off_starting:
            for _ in range(min(-missing, view.n_starting)):
                roster.call_off()
                missing += 1
        for _ in range(min(-missing, view.n_ready)):
            self._losses.drain(roster.victim())
        self._asking = False

    def _replace(self) -> None:
        """Have as many replicas as before a loss. A scaler with a tick of its own decides at its ticks only."""
        if self._scaler.tick_s is None:
            self._ask()
        for _ in range(self._wanted - self.view.n_ready - self.view.n_starting):
            self._roster.start()

    def _tick(self, wake: Wake) -> None:
        self._ask()
        tick_s = self._scaler.tick_s
        assert tick_s is not None
        wake.schedule(self._env, tick_s)

    def _replica_idle(self, member: Member) -> None:
        if self._scaler.asks_on_idle:
            self._ask()
        timeout_s = self._scaler.idle_timeout_s
        if timeout_s is not None and member.idle_check is None and member in self._roster.idle:
            member.idle_check = Wake(lambda wake: self._check_idle(member, wake))
            member.idle_check.schedule(self._env, timeout_s)

    def _check_idle(self, member: Member, wake: Wake) -> None:
        """Ask the scaler once the timeout is over; check a replica that worked meanwhile again when it is due."""
        member.idle_check = None
        if member not in self._roster.idle:
            return
        timeout_s = self._scaler.idle_timeout_s
        assert timeout_s is not None
        left_s = member.since_s + timeout_s - self._env.now
        if left_s > 1e-9:
            member.idle_check = wake
            wake.schedule(self._env, left_s)
        else:
            self._ask()
