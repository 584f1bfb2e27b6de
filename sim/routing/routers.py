"""Which backend a request goes to: the fleet or the API."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from sim.records import Backend
from sim.schema import Kinded
from sim.views import SystemView
from sim.work import Request

_FLEET = Backend.FLEET  # looking a member up on its enum costs as much as a call


class Router(Kinded):
    """Chooses a backend for every request, as a pure function of the request and what it may see of the system.

    Before it asks, the gateway sets `request.backend` to the backend of the task's previous call (meaningless for the
    first call, `request.call_index == 0`): the only memory a router has. It must not read `output_tokens`.
    """

    needs_fleet: ClassVar[bool]  # may choose FLEET: `view.fleet` must be there
    needs_api: ClassVar[bool]  # may choose API: `view.api` must be there

    def choose(self, request: Request, view: SystemView) -> Backend:
        """The backend to serve this request."""
        raise NotImplementedError


class FleetOnly(Router):
    """Everything is served by the fleet, however long it takes."""

    kind: Literal["fleet_only"] = "fleet_only"
    needs_fleet: ClassVar[bool] = True
    needs_api: ClassVar[bool] = False

    def choose(self, request: Request, view: SystemView) -> Backend:
        return _FLEET


class ApiOnly(Router):
    """Everything is served by the API."""

    kind: Literal["api_only"] = "api_only"
    needs_fleet: ClassVar[bool] = False
    needs_api: ClassVar[bool] = True

    def choose(self, request: Request, view: SystemView) -> Backend:
        return Backend.API


class Overflow(Router):
    """The fleet serves what it can in time; the rest overflows to the API.

    A request overflows when any trigger given fires, both read before it joins:
    - `queue_per_replica`: more than this many requests per ready replica (counted as one when none is ready) have not
      begun. A fleet at zero thus keeps the first requests, which wake it;
    - `predicted_wait_s`: the fleet's own estimate of the wait before service is longer than this.
    With `stay_with_task`, later calls of a task that overflowed go to the API as well: moving back would cost the fleet
    a full prefill and the API its prompt cache.
    """

    kind: Literal["overflow"] = "overflow"
    needs_fleet: ClassVar[bool] = True
    needs_api: ClassVar[bool] = True

    queue_per_replica: float | None = Field(None, ge=0, description="waiting requests per ready replica tolerated")
    predicted_wait_s: float | None = Field(None, ge=0, description="predicted seconds before service still tolerated")
    stay_with_task: bool = Field(True, description="later calls of a task that overflowed follow it to the API")

    @model_validator(mode="after")
    def _has_a_trigger(self) -> Overflow:
        if self.queue_per_replica is None and self.predicted_wait_s is None:
            raise ValueError("needs queue_per_replica or predicted_wait_s, or nothing would ever overflow")
        return self

    def choose(self, request: Request, view: SystemView) -> Backend:
        if self.stay_with_task and request.call_index > 0 and request.backend == Backend.API:
            return Backend.API
        fleet = view.fleet
        queue = self.queue_per_replica
        if queue is not None and fleet.n_waiting > queue * max(1, fleet.n_ready):
            return Backend.API
        if self.predicted_wait_s is not None and fleet.predicted_wait_s > self.predicted_wait_s:
            return Backend.API
        return Backend.FLEET
