"""What policies may see of a fleet at work."""

from __future__ import annotations

from collections.abc import Callable

from sim.fleet.roster import Roster
from sim.fleet.supply.supply import Supply
from sim.views import ReplicaView
from sim.work import Request


class ObservedFleet:
    """The `FleetView` of a fleet, which keeps the counters it is read from. All but `replicas` and `n_waiting` O(1)."""

    _roster: Roster
    _supply: Supply
    _replica_requests_per_s: Callable[[float, float, float], float] | None

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
        first_s = min((member.expected_s for member in self._roster.starting), default=None)
        return None if first_s is None else max(self._env.now, first_s)

    @property
    def predicted_wait_s(self) -> float:
        if self._roster.ready:
            return self.oldest_wait_s
        next_ready_s = self.next_ready_s
        return self._supply.mean_s(self._env.now) if next_ready_s is None else next_ready_s - self._env.now

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
