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
            raise ValueError("needs queue_per_replica or predicted_wait_s, or nobody would ever come to this pool")
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
    """Fleets in order of preference; implements `FleetView` and `Server`.

    A router sees the pool that a new task would join. Later calls of a task begin with the pool of the call before, if
    its `stay_with_task` says so, and may go further. `spills` lie between each pool and the next.
    """

    def __init__(self, pools: Sequence[Fleet], spills: Sequence[Spill]):
        self._pools = tuple(pools)
        self._spills = tuple(spills)
        # A replica on demand has a pool of its own in the facts, but the queue of the spot replicas it stands in for.
        self._order = {number: order for order, fleet in enumerate(pools) for number in fleet.pools}

    def __getattr__(self, name: str):
        return getattr(self._pools[self._in_time(0)], name)

    def submit(self, request: Request) -> None:
        previous = request.previous
        at = self._order.get(previous.pool, 0) if previous is not None else 0
        if at <= 0 or not self._spills[at - 1].stay_with_task:
            at = 0
        self._pools[self._in_time(at)].submit(request)

    def unfinished(self) -> list[Request]:
        """Every request that is in here now."""
        return [request for pool in self._pools for request in pool.unfinished()]

    def close(self) -> None:
        """The run ends: enter what the replicas are doing."""
        for pool in self._pools:
            pool.close()

    def _in_time(self, at: int) -> int:
        """The first pool, from this one on, that takes a request in time; else the last."""
        for spill in self._spills[at:]:
            if not (self._pools[at].would_refuse or spill.fires(self._pools[at])):
                break
            at += 1
        return at
