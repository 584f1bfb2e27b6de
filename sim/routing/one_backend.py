"""Routers that know one backend."""

from __future__ import annotations

from typing import ClassVar, Literal

from sim.records import Backend
from sim.routing.router import Router
from sim.views import SystemView
from sim.work import Request

_FLEET = Backend.FLEET  # looking a member up on its enum costs as much as a call


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
