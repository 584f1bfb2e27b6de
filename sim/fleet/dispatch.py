"""Which replica takes a request: the ready ones with room, and the placement that picks among them."""

# Compiled: every request passes through this module (see sim.hot_path).

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sim.engine.replica import Replica
from sim.fleet.load_index import LoadIndex
from sim.fleet.offer import Offer
from sim.routing.placement.by_load import LeastLoaded
from sim.views import ReplicaView
from sim.work import Request


class Dispatch:
    """The ready replicas with fewer than `max_per_replica` requests in them; `choose` picks one of several."""

    def __init__(self, choose: Callable[[Request, Sequence[ReplicaView]], ReplicaView], max_per_replica: float):
        self._choose: Callable[..., Any] = choose
        # What the default placement chooses of many replicas is found here without a call of Python.
        self._takes_least_loaded = getattr(choose, "__func__", None) is LeastLoaded.choose
        self._max_per_replica = max_per_replica
        self.open = Offer()
        self.by_load: LoadIndex = self.open.by_load

    def has_room(self, replica: Replica) -> bool:
        return replica.n_outstanding < self._max_per_replica

    def offer(self, replica: Replica) -> None:
        """Let newcomers go to a ready replica, as long as it has room; called again whenever its load has changed."""
        if self.has_room(replica):
            if not self.by_load.has(replica):
                self.open.add(replica)
            if self.by_load.is_on:
                self.by_load.changed(replica)

    def left(self, replica_id: int) -> bool:
        """Tell the index that a request has left a replica; False if the replica is in none, or there is none."""
        replica = self.by_load.at(replica_id)
        if replica is None:
            return False
        self.by_load.changed(replica)
        return True

    def withhold(self, replica: Replica | None) -> None:
        """Send nothing more to a replica."""
        if replica is not None:
            self.open.drop(replica)

    def send(self, request: Request) -> bool:
        """Hand a request to a replica with room; False if there is none."""
        candidates = self.open
        if not candidates:
            return False
        by_load = self.by_load
        replica: Replica
        if self._takes_least_loaded and by_load.is_on:
            replica = by_load.least_loaded()
        else:
            replica = candidates[0] if len(candidates) == 1 else self._choose(request, candidates)
        replica.submit(request)
        if replica.n_outstanding >= self._max_per_replica:
            candidates.drop(replica)
        elif by_load.is_on:
            by_load.changed(replica)
        return True

    def placed(self, request: Request) -> ReplicaView | None:
        """The replica that a request sent now would go to; None if none has room."""
        return self._choose(request, self.open) if self.open else None
