"""A placement with a memory of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from sim.clock import Clock
from sim.routing.placement.placement import Placement, PlacementAtWork
from sim.views import ReplicaView
from sim.work import Request


class InTurn(Placement):
    """The replica after the one that was chosen last."""

    kind: Literal["in_turn"] = "in_turn"

    def start(self, clock: Clock, rng: np.random.Generator) -> PlacementAtWork:
        return _InTurn()


class _InTurn:
    def __init__(self) -> None:
        self.n_chosen = 0

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        self.n_chosen += 1
        return replicas[self.n_chosen % len(replicas)]
