"""A victim rule that uses chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from sim.clock import Clock
from sim.fleet.victims.victims import Victim, VictimAtWork
from sim.views import ReplicaView


class ByLot(Victim):
    """Any of the ready replicas."""

    kind: Literal["by_lot"] = "by_lot"

    def start(self, clock: Clock, rng: np.random.Generator) -> VictimAtWork:
        return _ByLot(rng)


class _ByLot:
    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        by_id = sorted(ready, key=lambda replica: replica.replica_id)
        return by_id[int(self.rng.integers(len(by_id)))]
