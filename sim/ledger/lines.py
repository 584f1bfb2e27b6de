"""The lines of a bill, the names of their items, and the types of prices in a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from sim.ledger.usage import COLD_START_STATES
from sim.records import ReplicaState
from sim.schema import ConfigError

Usd = Annotated[float, Field(ge=0)]
Price = Annotated[float, Field(gt=0)]

GPU_BUSY, GPU_DRAINING, GPU_IDLE = "gpu busy", "gpu draining", "gpu idle"
GPU_COLD_START, GPU_ASLEEP, GPU_ROUNDING = "gpu cold start", "gpu asleep", "gpu rounding and minimum"
GPU_UNUSED, GPU_BEYOND, GPU_POWER = "gpu committed but unused", "gpu surcharge beyond commitment", "gpu power"
API_INPUT, API_CACHED_INPUT, API_CACHE_WRITE = "api input", "api cached input", "api cache write"
API_OUTPUT, API_REQUESTS = "api output", "api requests"
OVERHEAD = "overhead"
STATES_OF_ITEM = {
    GPU_BUSY: (ReplicaState.BUSY,),
    GPU_DRAINING: (ReplicaState.DRAINING,),
    GPU_IDLE: (ReplicaState.IDLE,),
    GPU_COLD_START: COLD_START_STATES,
    GPU_ASLEEP: (ReplicaState.ASLEEP,),
}
"""Replica states by item of a bill. Every state has one item, so under every plan the quantities of these items add up
to the paid GPU-hours."""


class Line(NamedTuple):
    """One line of a bill. `quantity` is in `unit`; `item` is one of the names above, or a text that begins with one."""

    payee: str
    item: str
    quantity: float
    unit: str
    usd: float


def looked_up(table: Mapping[str, Any], name: str | None, key: str) -> Any:
    """The entry `name` of a price table that stands under `key`. ConfigError lists the entries if it has none."""
    if name is None or name not in table:
        words = f"; +{key}.{name}=2.50 adds one, in USD" if name and key.endswith("usd_per_gpu_hour") else ""
        raise ConfigError(f"{key}: no price for {name!r}; this list has {', '.join(sorted(table)) or 'none'}{words}")
    return table[name]
