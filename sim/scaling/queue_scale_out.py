"""A scaler with a smallest number of warm replicas that grows with the queue or the load."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sim.knob import Knob
from sim.scaling.scaler import FromFloor, kept
from sim.views import FleetView


class QueueScaleOut(FromFloor):
    """At least `min_replicas` warm replicas, and more for the queue or the requests in the fleet, every `tick_s`.

    Scale-out: ceil(waiting / queue_per_replica) or ceil(outstanding / requests_per_replica), the larger of those given.
    This is the rule of the Kubernetes HPA for a total shared by the replicas, ceil(replicas * ratio to target), with
    starting replicas counted. Scale-in: a replica is released after `idle_timeout_s` without a request. Where load is
    spread evenly, no replica becomes idle; with `scale_in_requests_per_replica` one replica per decision is drained,
    too, and none while others start, if the remaining ones would have at most that many requests each.
    """

    kind: Literal["queue_scale_out"] = "queue_scale_out"
    min_replicas: int = Field(ge=1, description="smallest number of replicas, which stay warm")
    tick_s: float = Field(gt=0, description="seconds between two decisions")
    idle_timeout_s: Annotated[float, Knob(0, 3600, 10)] = Field(
        ge=0, description="idle seconds after which a replica above min_replicas is released"
    )
    queue_per_replica: Annotated[float | None, Knob(0.1, 64, 1)] = Field(
        None, gt=0, description="waiting requests wanted per replica"
    )
    requests_per_replica: Annotated[float | None, Knob(1, 1024, 1)] = Field(
        None, gt=0, description="requests, waiting or running, wanted per replica"
    )
    buffer_replicas: int = Field(0, ge=0, description="spare replicas while the fleet has requests")
    scale_in_requests_per_replica: Annotated[float | None, Knob(0, 1024, 1)] = Field(
        None, ge=0, description="drain a replica when the others would then have at most this many requests each"
    )

    @model_validator(mode="after")
    def _consistent(self) -> QueueScaleOut:
        if self.queue_per_replica is None and self.requests_per_replica is None:
            raise ValueError("needs queue_per_replica or requests_per_replica; without, it would never scale out")
        inward, outward = self.scale_in_requests_per_replica, self.requests_per_replica
        if inward is not None and outward is not None and inward >= outward:
            raise ValueError(
                f"scale_in_requests_per_replica = {inward} must be < requests_per_replica = {outward}, "
                "or a drained replica is started again at once"
            )
        return self

    def target_replicas(self, view: FleetView) -> int:
        wanted = 0
        if self.queue_per_replica is not None:
            wanted = ceil(view.n_waiting / self.queue_per_replica)
        if self.requests_per_replica is not None:
            wanted = max(wanted, ceil(view.n_outstanding / self.requests_per_replica))
        if view.n_outstanding:
            wanted += self.buffer_replicas
        wanted = max(wanted, self.min_replicas)
        keeps = kept(view, self.idle_timeout_s, self.max_replicas)
        others = view.n_ready + view.n_starting - 1
        spare = self.scale_in_requests_per_replica
        settled = not view.n_starting and keeps > others >= wanted
        if settled and spare is not None and view.n_outstanding <= spare * others:
            keeps = others
        return max(keeps, min(wanted, self.max_replicas))
