"""Scalers with a constant number of replicas."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sim.scaling.scaler import Scaler
from sim.views import FleetView


class NoReplicas(Scaler):
    """No replicas: every request goes to an API."""

    kind: Literal["none"] = "none"
    min_replicas: ClassVar[int] = 0
    max_replicas: ClassVar[int] = 0
    initial_replicas: ClassVar[int] = 0
    tick_s: ClassVar[None] = None
    idle_timeout_s: ClassVar[None] = None

    def target_replicas(self, view: FleetView) -> int:
        return 0


class AlwaysOn(Scaler):
    """A fixed number of replicas, whatever the load."""

    kind: Literal["always_on"] = "always_on"
    n_replicas: int = Field(ge=1, description="replicas during the whole run")
    tick_s: ClassVar[None] = None
    idle_timeout_s: ClassVar[None] = None

    @property
    def min_replicas(self) -> int:
        return self.n_replicas

    @property
    def max_replicas(self) -> int:
        return self.n_replicas

    @property
    def initial_replicas(self) -> int:
        return self.n_replicas

    def target_replicas(self, view: FleetView) -> int:
        return self.n_replicas
