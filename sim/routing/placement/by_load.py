"""Placements that look at the load of the replicas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from sim.clock import Clock
from sim.routing.placement.placement import Placement, PlacementAtWork
from sim.routing.scraping import ScrapedChoice
from sim.views import ReplicaView
from sim.work import Request


class LoadBased(Placement):
    """Looks at the load of the replicas: the present one, or that of the last scrape."""

    refresh_s: float = Field(0.0, ge=0, description="seconds between two reads of the replicas' load; 0: always live")

    def start(self, clock: Clock, rng: np.random.Generator) -> PlacementAtWork:
        return ScrapedChoice(clock, self.refresh_s, self.choose) if self.refresh_s else self


def least_loaded(replicas: Sequence[ReplicaView]) -> ReplicaView:
    """The replica with the fewest requests; ties go to the first, which has the lowest replica_id.

    A fleet's offer knows it without a look at every replica (see `sim.fleet.offer`).
    """
    from_index = getattr(replicas, "least_loaded", None)
    if from_index is not None:
        return from_index()
    least = replicas[0]
    fewest = least.n_outstanding
    for replica in replicas:
        n = replica.n_outstanding
        if n < fewest:
            least, fewest = replica, n
    return least


class LeastLoaded(LoadBased):
    """The replica with the fewest requests, running or waiting; ties go to the lowest replica_id."""

    kind: Literal["least_loaded"] = "least_loaded"

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        return least_loaded(replicas)


class FillFirst(LoadBased):
    """The fullest replica with fewer than `target_requests_per_replica` requests; else the least loaded.

    Ties go to the lowest replica_id. The load gathers on few replicas, so that the others become idle and can be
    released; spreading it evenly would keep every replica of a lightly loaded fleet busy.
    """

    kind: Literal["fill_first"] = "fill_first"
    target_requests_per_replica: int = Field(ge=1, description="requests from which a replica counts as full")

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        target = self.target_requests_per_replica
        below = [replica for replica in replicas if replica.n_outstanding < target]
        if not below:
            return least_loaded(replicas)
        return min(below, key=lambda replica: (-replica.n_outstanding, replica.replica_id))
