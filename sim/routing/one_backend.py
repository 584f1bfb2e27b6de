"""Routers that always choose the same backend."""

from __future__ import annotations

from typing import ClassVar, Literal

from sim.records import Backend
from sim.routing.router import Router
from sim.views import SystemView
from sim.work import Request

_FLEET = Backend.FLEET  # looked up once, because looking up a member of an enum costs as much as a function call


class FleetOnly(Router):
    """Every request goes to the fleet, however long it waits."""

    kind: Literal["fleet_only"] = "fleet_only"
    needs_fleet: ClassVar[bool] = True
    needs_api: ClassVar[bool] = False

    def choose(self, request: Request, view: SystemView) -> Backend:
        return _FLEET


class ApiOnly(Router):
    """Every request goes to the API."""

    kind: Literal["api_only"] = "api_only"
    needs_fleet: ClassVar[bool] = False
    needs_api: ClassVar[bool] = True

    def choose(self, request: Request, view: SystemView) -> Backend:
        return Backend.API
