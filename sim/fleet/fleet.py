"""The fleet: replicas behind one queue, and a scaler that decides how many there are."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from math import inf

from sim.clock import Wake
from sim.engine.priority import PriorityQueue
from sim.engine.replica import Replica
from sim.fleet.roster import Member, Roster
from sim.fleet.scaling import Scaler
from sim.records import Recorder, ReplicaState
from sim.views import ReplicaView
from sim.work import Outcome, Request


class Fleet:
    """Replicas behind one queue; implements `FleetView` and `Server`.

    A request goes at once to a ready replica that has room (fewer than `max_requests_per_replica` in it), picked by
    `choose`; otherwise it waits in the fleet's queue, first come first served or `by_priority`, for whichever replica
    has room first; one that finds `max_waiting_requests` in that queue is refused. `patience_s`: a client that has
    waited this long for its first step gives up.
    """

    def __init__(
        self,
        env,
        *,
        scaler: Scaler,
        choose: Callable[[Request, list[ReplicaView]], ReplicaView],
        new_replica: Callable[..., Replica],
        draw_cold_start: Callable[[], tuple[tuple[ReplicaState, float], ...]],
        expected_cold_start_s: float,
        max_requests_per_replica: float,
        max_waiting_requests: int | None = None,
        by_priority: bool = False,
        replica_requests_per_s: Callable[[float, float, float], float] | None = None,
        patience_s: float | None,
        first_replica_id: int = 0,
        recorder: Recorder,
        on_done: Callable[[Request], None],
    ):
        self._env = env
        self._scaler = scaler
        self._controller = scaler.controller()
        self._asks_on_arrival = scaler.asks_on_arrival
        self._counts_tokens = scaler.counts_tokens
        self._choose = choose
        self._expected_cold_start_s = expected_cold_start_s
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
        self._asking = True  # not before the first replicas are all there: the rest of them would be started cold
        self._roster = Roster(
            env,
            new_replica=lambda **hooks: new_replica(on_done=self._replica_done, **hooks),
            draw_cold_start=draw_cold_start,
            recorder=recorder,
            on_ready=self._refill,
            on_idle=self._replica_idle,
            first_replica_id=first_replica_id,
        )
        for _ in range(scaler.initial_replicas):
            self._roster.add_ready()
        self._asking = False
        if scaler.tick_s is not None:
            Wake(self._tick).schedule(env, scaler.tick_s)

    # --- what policies may see ---------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        return self._env.now

    @property
    def n_ready(self) -> int:
        return len(self._roster.ready)

    @property
    def n_starting(self) -> int:
        return len(self._roster.starting)

    @property
    def n_waiting(self) -> int:
        return len(self._queue) + sum(replica.n_waiting for replica in self._roster.ready)

    @property
    def outstanding_request_seconds(self) -> float:
        return self.n_outstanding * self._env.now + self._left_less_arrived_s

    def replica_requests_per_s(self, input_tokens: float, output_tokens: float, itl_s: float) -> float:
        return self._replica_requests_per_s(input_tokens, output_tokens, itl_s)

    @property
    def n_idle(self) -> int:
        return len(self._roster.idle)

    @property
    def replicas(self) -> list[ReplicaView]:
        return list(self._roster.ready)

    @property
    def oldest_wait_s(self) -> float:
        if self._queue:
            return self._env.now - self._queue[0].arrived_s
        return min((replica.oldest_wait_s for replica in self._open), default=0.0)

    @property
    def next_ready_s(self) -> float | None:
        first = next(iter(self._roster.starting), None)
        return None if first is None else max(self._env.now, first.since_s + self._expected_cold_start_s)

    @property
    def predicted_wait_s(self) -> float:
        if self._roster.ready:
            return self.oldest_wait_s
        next_ready_s = self.next_ready_s
        return self._expected_cold_start_s if next_ready_s is None else next_ready_s - self._env.now

    @property
    def would_refuse(self) -> bool:
        """Whether a request sent now would find the queue full."""
        return not self._open and len(self._queue) >= self._max_waiting

    @property
    def queued_prompt_tokens(self) -> int:
        return sum(request.input_tokens for request in self._queue)

    def placed(self, request: Request) -> ReplicaView | None:
        candidates = self._open
        return self._choose(request, candidates) if candidates else None

    def n_idle_longer_than(self, idle_s: float) -> int:
        latest_s = self._env.now - idle_s + 1e-9
        count = 0
        for member in self._roster.idle:
            if member.since_s > latest_s:
                break
            count += 1
        return count

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
            request.finished_s = self._env.now
            request.outcome = Outcome.REFUSED
            request.replica_id = -1
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
        request.cold_start_wait_s = self._roster.cold_clock_s() - since_s

    def _give_up(self, request: Request) -> None:
        if request.admitted_s is not None or request.outcome is not None:
            return
        if request in self._cold_clock_at_queueing_s:
            self._queue.remove(request)
            self._leave_queue(request)
        else:
            self._roster.members[request.replica_id].engine.withdraw(request)
        request.finished_s = self._env.now
        request.outcome = Outcome.ABANDONED
        self._replica_done(request)

    # --- replicas ----------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Compare what the scaler wants with what there is."""
        if self._asking:
            return
        self._asking = True
        missing = self._controller.target_replicas(self) - self.n_ready - self.n_starting
        for _ in range(missing):
            self._roster.start()
        if self._scaler.calls_off_starting:
            for _ in range(min(-missing, self.n_starting)):
                self._roster.call_off()
                missing += 1
        for _ in range(min(-missing, self.n_ready)):
            victim = self._roster.victim()
            if victim.engine in self._open:
                self._open.remove(victim.engine)
            self._roster.drain(victim)
        self._asking = False

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
