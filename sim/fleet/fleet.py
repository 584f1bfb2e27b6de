"""The fleet: replicas behind one queue, and a scaler that decides how many there are."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from math import inf

from sim.clock import Clock, Wake, call_later
from sim.engine.priority_queue import PriorityQueue
from sim.engine.replica import Replica
from sim.fleet.losses import MortalFleet
from sim.fleet.roster import Member, Numbering, Roster
from sim.fleet.supply.hazards import Hazards
from sim.fleet.supply.reliability import Reliability
from sim.fleet.supply.supply import Supply
from sim.fleet.victims.victims import Victim
from sim.randomness import Streams
from sim.recorder import Recorder
from sim.records import ReplicaState
from sim.routing.placement.placement import Placement
from sim.scaling.scaler import Scaler
from sim.work import Outcome, Request


class Fleet(MortalFleet):
    """Replicas behind one queue; implements `FleetView` and `Server`.

    A request goes at once to a ready replica that has room (fewer than `max_requests_per_replica` in it), picked by
    `placement`; otherwise it waits in the fleet's queue, first come first served or `by_priority`, for the replica that
    has room first; one that finds `max_waiting_requests` in that queue is refused. `patience_s`: a client that has
    waited this long for its first step gives up. `numbering` is needed where a run has
    several fleets.
    """

    def __init__(
        self,
        env,
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
        self._counts_tokens = scaler.counts_tokens
        self._choose = placement.start(clock, streams.generator("placement")).choose
        self._supply = supply
        self._reliability = reliability
        self._recorder = recorder
        self._max_per_replica = max_requests_per_replica
        self._max_waiting = inf if max_waiting_requests is None else max_waiting_requests
        self._patience_s = patience_s
        self._on_done = on_done
        self._replica_requests_per_s = replica_requests_per_s

        self.n_outstanding = 0
        self.arrived_requests = self.finished_requests = 0
        self.arrived_input_tokens = self.finished_output_tokens = 0
        self._left_less_arrived_s = 0.0  # sum of the times at which requests left, less that of arrivals
        self._queue: deque[Request] | PriorityQueue = PriorityQueue() if by_priority else deque()
        self._cold_clock_at_queueing_s: dict[Request, float] = {}
        self._open: list[Replica] = []  # ready replicas with room, by replica_id
        self._asking = False
        self._roster = Roster(
            env,
            new_replica=lambda **hooks: new_replica(on_done=self._replica_done, **hooks),
            supply=supply,
            victim=victim.start(clock, streams.generator("victim")),
            hazards=new_hazards(fail=self._lose, warn=self._warn) if reliability.takes_replicas else None,
            recorder=recorder,
            on_ready=self._refill,
            on_idle=self._replica_idle,
            numbering=numbering,
        )
        self._begin()

    def _begin(self) -> None:
        self._asking = True  # not before the first replicas are all there: the rest of them would be started cold
        self._wanted = self._scaler.initial_replicas
        for _ in range(self._wanted):
            self._roster.add_ready()
        self._asking = False
        if self._scaler.tick_s is not None:
            Wake(self._tick).schedule(self._env, self._scaler.tick_s)

    # --- requests ----------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        self.n_outstanding += 1
        self.arrived_requests += 1
        self._left_less_arrived_s -= self._env.now
        if self._counts_tokens:
            self.arrived_input_tokens += request.input_tokens
        candidates = self._open
        if candidates:
            replica = candidates[0] if len(candidates) == 1 else self._choose(request, candidates)
            replica.submit(request)
            if replica.n_outstanding >= self._max_per_replica and replica in candidates:
                candidates.remove(replica)
        elif len(self._queue) >= self._max_waiting:
            request.end(Outcome.REFUSED, self._env.now)
            self._replica_done(request)
            return
        else:
            self._queue.append(request)
            self._cold_clock_at_queueing_s[request] = self._roster.cold_clock_s()
        if self._patience_s is not None and request.admitted_s is None and request.outcome is None:
            Wake(lambda _: self._give_up(request)).schedule(self._env, self._patience_s)
        if self._asks_on_arrival:
            self._ask()
        elif not candidates and self._scaler.asks_at_zero and not self._roster.ready and not self._roster.starting:
            self._ask()

    def missed(self, n_requests: int) -> None:
        """So many requests are served elsewhere because no replica was ready (or, below 0, no longer are).

        They count among those the scaler sees: or else a fleet at zero would never wake for a router that spares
        requests the cold start.
        """
        self.n_outstanding += n_requests
        self._left_less_arrived_s -= n_requests * self._env.now
        nothing = not self._roster.ready and not self._roster.starting
        if n_requests > 0 and (self._asks_on_arrival or self._scaler.asks_at_zero and nothing):
            self._ask()

    def unfinished(self) -> list[Request]:
        """Every request that is in here now."""
        engines = (member.engine for member in self._roster.members.values() if member.engine is not None)
        return [*self._queue, *(request for engine in engines for request in engine.unfinished())]

    def close(self) -> None:
        """The run ends: enter what the replicas are doing."""
        self._roster.close()

    def _replica_done(self, request: Request) -> None:
        self.n_outstanding -= 1
        self._left_less_arrived_s += request.finished_s
        if self._counts_tokens and request.outcome is Outcome.FINISHED:
            self.finished_requests += 1
            self.finished_output_tokens += request.output_tokens
        if self._queue or len(self._open) < len(self._roster.ready):
            member = self._roster.members.get(request.replica_id)
            if member is not None:
                self._refill(member)
        on_done = self._on_done
        on_done(request)

    def _refill(self, member: Member) -> None:
        """A replica has room: give it queued requests, or offer it to newcomers."""
        replica = member.engine
        if replica not in self._roster.ready:
            return
        while self._queue and replica.n_outstanding < self._max_per_replica:
            request = self._queue.popleft()
            self._leave_queue(request)
            replica.submit(request)
        if replica.n_outstanding < self._max_per_replica and replica not in self._open:
            insort(self._open, replica, key=lambda r: r.replica_id)

    def _leave_queue(self, request: Request) -> None:
        since_s = self._cold_clock_at_queueing_s.pop(request)
        request.cold_start_wait_s += self._roster.cold_clock_s() - since_s

    def _give_up(self, request: Request) -> None:
        if request.admitted_s is not None or request.outcome is not None:
            return
        if request in self._cold_clock_at_queueing_s:
            self._queue.remove(request)
            self._leave_queue(request)
        else:
            self._roster.members[request.replica_id].engine.withdraw(request)
        request.end(Outcome.ABANDONED, self._env.now)
        self._replica_done(request)

    # --- replicas ----------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Compare what the scaler wants with what there is."""
        if self._asking:
            return
        self._asking = True
        self._wanted = wanted = self._scaler_at_work.target_replicas(self)
        missing = wanted - self.n_ready - self.n_starting
        for _ in range(missing):
            self._roster.start()
        if self._scaler.calls_off_starting:
            for _ in range(min(-missing, self.n_starting)):
                self._roster.call_off()
                missing += 1
        for _ in range(min(-missing, self.n_ready)):
            self._drain(self._roster.victim())
        self._asking = False

    def _drain(self, member: Member) -> None:
        """Send nothing more to a ready replica; after a while it goes, empty or not."""
        if member.engine in self._open:
            self._open.remove(member.engine)
        self._roster.drain(member)
        if self._reliability.drain_limit_s is not None and member.state is ReplicaState.DRAINING:
            call_later(self._env, self._reliability.drain_limit_s, self._end_drain, member, member.since_s)

    def _end_drain(self, member: Member, since_s: float) -> None:
        if member.state is ReplicaState.DRAINING and member.since_s == since_s:
            self._cut_off([member])

    def _tick(self, wake: Wake) -> None:
        self._ask()
        wake.schedule(self._env, self._scaler.tick_s)

    def _replica_idle(self, member: Member) -> None:
        if self._scaler.asks_on_idle:
            self._ask()
        timeout_s = self._scaler.idle_timeout_s
        if timeout_s is not None and member.idle_check is None and member in self._roster.idle:
            member.idle_check = Wake(lambda _: self._check_idle(member))
            member.idle_check.schedule(self._env, timeout_s)

    def _check_idle(self, member: Member) -> None:
        """Ask when the timeout is over; a replica that worked meanwhile is looked at again in time."""
        wake, member.idle_check = member.idle_check, None
        if member not in self._roster.idle:
            return
        left_s = member.since_s + self._scaler.idle_timeout_s - self._env.now
        if left_s > 1e-9:
            member.idle_check = wake
            wake.schedule(self._env, left_s)
        else:
            self._ask()
