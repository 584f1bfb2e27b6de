"""Scalers with replicas while there are requests for them, and until an idle timeout."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from sim.knob import Knob
from sim.scaling.scaler import Scaler, kept
from sim.views import FleetView


class OnDemand(Scaler):
    """One replica per `target_requests_per_replica` requests; each is released after an idle timeout.

    A replica that has been idle for less than `idle_timeout_s` is never released. Requests spread over many replicas
    keep all of them; a placement that fills one replica before the next (fill_first) lets the others become idle.
    """

    asks_on_arrival: ClassVar[bool] = True
    asks_on_idle: ClassVar[bool] = True
    min_replicas: ClassVar[int] = 0
    initial_replicas: ClassVar[int] = 0
    tick_s: ClassVar[None] = None

    max_replicas: int = Field(ge=1, description="largest number of replicas")
    target_requests_per_replica: Annotated[float, Knob(1, 1024, 1)] = Field(
        gt=0, description="requests, waiting or running, wanted per replica"
    )
    buffer_replicas: int = Field(0, ge=0, description="spare replicas while the fleet has requests")

    if TYPE_CHECKING:  # each kind has it as a field or a property

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
    idle_timeout_s: Annotated[float, Knob(0, 3600, 10)] = Field(
        ge=0, description="seconds without a request after which a replica is released"
    )
