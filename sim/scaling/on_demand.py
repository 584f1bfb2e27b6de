"""Replicas while there are requests for them, and for a while after."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sim.scaling.scaler import Scaler, kept
from sim.views import FleetView


class OnDemand(Scaler):
    """One replica per so many requests in the fleet; a replica leaves after it has been idle long enough, the last too.

    A replica that has been idle for less than `idle_timeout_s` is never given up. Requests spread thinly over many
    replicas keep all of them; a placement that fills one replica before the next lets the others go.
    """

    asks_on_arrival: ClassVar[bool] = True
    asks_on_idle: ClassVar[bool] = True
    min_replicas: ClassVar[int] = 0
    initial_replicas: ClassVar[int] = 0
    tick_s: ClassVar[None] = None

    max_replicas: int = Field(ge=1, description="replicas at most")
    target_requests_per_replica: float = Field(gt=0, description="requests, waiting or running, wanted per replica")
    buffer_replicas: int = Field(0, ge=0, description="more than that, for who comes next, while any request is there")

    if TYPE_CHECKING:  # a field or a property of each kind

        @property
        def idle_timeout_s(self) -> float: ...

    def target_replicas(self, view: FleetView) -> int:
        wanted = ceil(view.n_outstanding / self.target_requests_per_replica)
        if wanted:
            wanted += self.buffer_replicas
        return max(kept(view, self.idle_timeout_s, self.max_replicas), min(wanted, self.max_replicas))


class ScaleToZero(OnDemand):
    """On demand, with a fixed idle timeout."""

    kind: Literal["scale_to_zero"] = "scale_to_zero"
    idle_timeout_s: float = Field(ge=0, description="seconds without any request after which a replica leaves")
