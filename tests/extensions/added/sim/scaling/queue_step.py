"""A scaler that takes one step at a time."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sim.scaling.scaler import FromFloor
from sim.views import FleetView


class QueueStep(FromFloor):
    """One replica more while too many requests wait and none is starting, one fewer while the fleet is empty."""

    kind: Literal["queue_step"] = "queue_step"
    idle_timeout_s: ClassVar[None] = None
    tick_s: float = Field(gt=0)
    max_waiting: int = Field(ge=0)

    def target_replicas(self, view: FleetView) -> int:
        there = view.n_ready + view.n_starting
        if view.n_waiting > self.max_waiting and not view.n_starting:
            return self.clamp(there + 1)
        return self.clamp(there if view.n_outstanding else there - 1)
