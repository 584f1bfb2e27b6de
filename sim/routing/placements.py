"""Every placement there is, under one roof: importing this module makes all of them choosable by kind."""

from sim.routing.cache_routing import CacheAware, PrefixScored
from sim.routing.placement import FillFirst, LeastLoaded, Placement, PrefixAware, RoundRobin, TaskAffinity
from sim.routing.spreading import LeastKv, PowerOfTwo, Random, SessionAffinity

__all__ = [
    "CacheAware", "FillFirst", "LeastKv", "LeastLoaded", "Placement", "PowerOfTwo", "PrefixAware", "PrefixScored",
    "Random", "RoundRobin", "SessionAffinity", "TaskAffinity",
]  # fmt: skip
