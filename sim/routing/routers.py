"""Every router there is, under one roof: importing this module makes all of them choosable by kind."""

from sim.routing.by_task import ByTask
from sim.routing.overflow import Overflow
from sim.routing.router import ApiOnly, FleetOnly, Router, RouterAtWork

__all__ = ["ApiOnly", "ByTask", "FleetOnly", "Overflow", "Router", "RouterAtWork"]
