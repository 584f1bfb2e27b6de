"""Several pools of replicas in one deployment, in order of preference: each with its own hardware, scaler and price.

A reserved baseline with spot machines behind it, say, and an API behind both. A pool is a fleet with its own queue. A
request joins the first pool that can take it in time, as the `Spill` of the pool behind says; the last pool takes the
rest, unless the router sends it to an API.

Limits: a request that waits in a pool, or loses its replica there, stays there, whatever becomes free elsewhere; all
pools share one front door (HTTP and tokenising take as long as the first pool's engine says), and have one placement
rule and the limits of `queue`, each for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, model_validator

from sim.fleet.fleet import Fleet
from sim.fleet.supply.cold_starts import ColdStarts
from sim.fleet.supply.reliability import Reliability
from sim.fleet.victims.victims import Victim
from sim.hardware.engine import Engine
from sim.hardware.gpu import Gpu
from sim.scaling.scaler import Scaler
from sim.schema import Config, OneOf
from sim.views import FleetView
from sim.work import Request


class Spill(Config):
    """When requests come here instead of joining the pool before: if any trigger given fires there.

    A pool that would refuse them fires, too. A router's limits before an API must not be tighter than these: it looks
    at the pool that a request would join, and would never let it come here.
    """

    queue_per_replica: float | None = Field(
        None, ge=0, description="waiting requests per ready replica (counted as one at none) tolerated there"
    )
    predicted_wait_s: float | None = Field(None, ge=0, description="predicted seconds before service tolerated there")
    stay_with_task: bool = Field(True, description="later calls of a task that came here do not go back")

    @model_validator(mode="after")
    def _has_a_trigger(self) -> Spill:
        if self.queue_per_replica is None and self.predicted_wait_s is None:
            raise ValueError("needs queue_per_replica or predicted_wait_s, or no request would ever come to this pool")
        return self

    def fires(self, before: FleetView) -> bool:
        """Whether a request sent now had better not join the pool before."""
        queue, wait_s = self.queue_per_replica, self.predicted_wait_s
        if queue is not None and before.n_waiting > queue * max(1, before.n_ready):
            return True
        return wait_s is not None and before.predicted_wait_s > wait_s


class Pool(Config):
    """A further pool. What it does not say (None) is as in the first one."""

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

    A router sees the pool that the request would join. Later calls of a task begin with the pool of the call before, if
    its `stay_with_task` says so, and may go further. `spills` lie between each pool and the next.
    """

    def __init__(self, pools: Sequence[Fleet], spills: Sequence[Spill]):
        self._pools = tuple(pools)
        self._spills = tuple(spills)
        self._at_api: dict[Request, Fleet] = {}
        # A replica on demand has a pool of its own in the facts, but the queue of the spot replicas it stands in for.
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
        return self._in_time(order)

    def unfinished(self) -> list[Request]:
        """Every request that is in here now."""
        return [request for pool in self._pools for request in pool.unfinished()]

    def close(self) -> None:
        """The run ends: enter what the replicas are doing."""
        for pool in self._pools:
            pool.close()

    def _in_time(self, order: int) -> Fleet:
        """The first pool, from this place on, that takes a request in time; else the last."""
        for spill in self._spills[order:]:
            view = self._pools[order].view
            if not (view.would_refuse or spill.fires(view)):
                break
            order += 1
        return self._pools[order]
