"""What policies may see of a fleet at work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.fleet.demand import Demand
from sim.fleet.dispatch import Dispatch
from sim.fleet.queue import RequestQueue
from sim.fleet.roster import Roster
from sim.fleet.supply.supply import Supply
from sim.views import ReplicaView
from sim.work import Request


class View:
    """The `FleetView` of a fleet, read off its parts. O(1) but for `replicas`, `n_waiting` and sums over the queue."""

    def __init__(
        self,
        env: Any,
        roster: Roster,
        queue: RequestQueue,
        dispatch: Dispatch,
        demand: Demand,
        supply: Supply,
        replica_requests_per_s: Callable[[float, float, float], float] | None,
    ):
        self._env = env
        self._roster, self._queue, self._dispatch = roster, queue, dispatch
        self._demand, self._supply = demand, supply
        self._replica_requests_per_s = replica_requests_per_s

    def with_demand(self, demand: Demand) -> View:
        """The same view with the demand on a greater whole that this fleet is a part of."""
        return View(
            self._env, self._roster, self._queue, self._dispatch, demand, self._supply, self._replica_requests_per_s
        )

    # --- demand ------------------------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        return self._env.now

    @property
    def n_outstanding(self) -> int:
        return self._demand.n_outstanding

    @property
    def outstanding_request_seconds(self) -> float:
        return self._demand.outstanding_request_seconds

    @property
    def arrived_requests(self) -> int:
        return self._demand.arrived_requests

    @property
    def arrived_input_tokens(self) -> int:
        return self._demand.arrived_input_tokens

    @property
    def finished_requests(self) -> int:
        return self._demand.finished_requests

    @property
    def finished_output_tokens(self) -> int:
        return self._demand.finished_output_tokens

    # --- replicas ----------------------------------------------------------------------------------------------------

    @property
    def n_ready(self) -> int:
        return len(self._roster.ready)

    @property
    def n_starting(self) -> int:
        return len(self._roster.starting)

    @property
    def n_idle(self) -> int:
        return len(self._roster.idle)

    def n_idle_longer_than(self, idle_s: float) -> int:
        latest_s = self._env.now - idle_s + 1e-9
        count = 0
        for member in self._roster.idle:
            if member.since_s > latest_s:
                break
            count += 1
        return count

    @property
    def replicas(self) -> list[ReplicaView]:
        return list(self._roster.ready)

    def replica_requests_per_s(self, input_tokens: float, output_tokens: float, itl_s: float) -> float:
        assert self._replica_requests_per_s is not None
        return self._replica_requests_per_s(input_tokens, output_tokens, itl_s)

    @property
    def next_ready_s(self) -> float | None:
        first_s = min((member.expected_s for member in self._roster.starting), default=None)
        return None if first_s is None else max(self._env.now, first_s)

    # --- waiting -----------------------------------------------------------------------------------------------------

    @property
    def n_waiting(self) -> int:
        return len(self._queue) + sum(replica.n_waiting for replica in self._roster.ready)

    @property
    def oldest_wait_s(self) -> float:
        if len(self._queue):
            return self._env.now - self._queue.head.arrived_s
        return min((replica.oldest_wait_s for replica in self._dispatch.open), default=0.0)

    @property
    def predicted_wait_s(self) -> float:
        if self._roster.ready:
            return self.oldest_wait_s
        next_ready_s = self.next_ready_s
        return self._supply.mean_s(self._env.now) if next_ready_s is None else next_ready_s - self._env.now

    @property
    def would_refuse(self) -> bool:
        """Whether a request sent now would find the queue full."""
        return not self._dispatch.open and self._queue.is_full

    @property
    def queued_prompt_tokens(self) -> int:
        return sum(request.input_tokens for request in self._queue)

    def placed(self, request: Request) -> ReplicaView | None:
        return self._dispatch.placed(request)
