"""Several pools of replicas in one deployment, in order of preference: each with its own hardware, scaler and price.

An example is a reserved baseline with spot machines behind it and an API behind both. A pool is a fleet with its own
queue. A request joins the first pool whose wait is short enough, by the `Spill` of the next pool; the last pool takes
the rest, unless the router sends it to an API.

Limits: a request that waits in a pool, or loses its replica in it, stays in that pool, even if another becomes free.
HTTP and tokenising take as long in every pool as the first pool's engine states. All pools use the same placement rule,
and each applies the limits of `queue` to its own queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from sim.fleet.fleet import Fleet
from sim.fleet.supply.cold_starts import ColdStarts
from sim.fleet.supply.reliability import Reliability
from sim.fleet.victims.victims import Victim
from sim.hardware.engine import Engine
from sim.hardware.gpu import Gpu
from sim.knob import Knob
from sim.scaling.scaler import Scaler
from sim.schema import Config, OneOf
from sim.views import FleetView
from sim.work import Request


class Spill(Config):
    """When a request passes over the pool before this one: if that pool exceeds any of the limits given.

    A request also passes over a pool that would refuse it. The limits of a router in front of an API must not be
    tighter than these: the router looks at the pool that a request would join, and would send it to the API before it
    could pass to this pool.
    """

    queue_per_replica: Annotated[float | None, Knob(0, 64, 1)] = Field(
        None,
        ge=0,
        description="waiting requests per ready replica (counted as one at none) tolerated in the pool before",
    )
    predicted_wait_s: Annotated[float | None, Knob(0, 60, 0.5)] = Field(
        None, ge=0, description="predicted seconds before service tolerated in the pool before"
    )
    stay_with_task: bool = Field(True, description="later calls of a task that this pool served do not go back")

    @model_validator(mode="after")
    def _has_a_trigger(self) -> Spill:
        if self.queue_per_replica is None and self.predicted_wait_s is None:
            raise ValueError("needs queue_per_replica or predicted_wait_s, or no request would ever come to this pool")
        return self

    def fires(self, before: FleetView) -> bool:
        """Whether the pool `before` exceeds a limit, so that a request sent now passes over it."""
        queue, wait_s = self.queue_per_replica, self.predicted_wait_s
        if queue is not None and before.n_waiting > queue * max(1, before.n_ready):
            return True
        return wait_s is not None and before.predicted_wait_s > wait_s


class Pool(Config):
    """A further pool. Fields that are null are taken from the first pool."""

    gpu: Gpu
    engine: Engine | None = None
    scaling: OneOf[Scaler]
    cold_start: OneOf[ColdStarts] | None = None
    victim: OneOf[Victim] | None = None
    reliability: Reliability | None = None
    spill: Spill

    @model_validator(mode="after")
    def _can_have_replicas(self) -> Pool:
        if not self.scaling.max_replicas:
            raise ValueError("scaling.max_replicas = 0: a pool needs replicas")
        return self


class PooledFleet:
    """Fleets in order of preference; implements `Server`.

    A router sees the pool that the request would join. A later call of a task tries the pool of the call before first,
    if that pool's `stay_with_task` is true, and then those behind it. `spills[i]` lies between pool i and pool i + 1.
    """

    def __init__(self, pools: Sequence[Fleet], spills: Sequence[Spill]):
        self._pools = tuple(pools)
        self._spills = tuple(spills)
        self._at_api: dict[Request, Fleet] = {}
        # Maps the pool number of a request's replica to the place of its fleet. On-demand replicas that stand in for
        # spot ones have a pool number of their own, but share the queue of the spot fleet.
        self._order = {number: order for order, fleet in enumerate(pools) for number in fleet.pools}

    def view_for(self, request: Request) -> FleetView:
        """The pool that this request would join now."""
        return self._pool_for(request).view

    def sent_to_api(self, request: Request) -> None:
        """Count a request that went to the API as demand on the pool that it would have joined."""
        self._at_api[request] = pool = self._pool_for(request)
        pool.sent_to_api(request)

    def back_from_api(self, request: Request) -> None:
        """The API has served a request that `sent_to_api` counted."""
        self._at_api.pop(request).back_from_api(request)

    def submit(self, request: Request) -> None:
        self._pool_for(request).submit(request)

    def _pool_for(self, request: Request) -> Fleet:
        previous = request.previous
        order = 0 if previous is None else self._order.get(previous.pool, 0)
        if order and not self._spills[order - 1].stay_with_task:
            order = 0
        return self._first_tolerable(order)

    def unfinished(self) -> list[Request]:
        """Every request that waits or is served in any pool now."""
        return [request for pool in self._pools for request in pool.unfinished()]

    def abort(self, request: Request) -> None:
        """The client of a request goes away."""
        number = self._order.get(request.pool, 0)
        next((pool for pool in self._pools if pool.has_queued(request)), self._pools[number]).abort(request)

    def close(self) -> None:
        """The run ends: record the replicas' last spans."""
        for pool in self._pools:
            pool.close()

    def _first_tolerable(self, order: int) -> Fleet:
        """The first pool, from place `order` on, that a request does not pass over; if there is none, the last."""
        for spill in self._spills[order:]:
            view = self._pools[order].view
            if not (view.would_refuse or spill.fires(view)):
                break
            order += 1
        return self._pools[order]
