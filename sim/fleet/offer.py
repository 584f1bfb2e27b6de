"""The replicas that are offered to a placement, with an index of their load for fleets of hundreds."""

from __future__ import annotations

from bisect import insort

from sim.engine.replica import Replica
from sim.fleet.load_index import LoadIndex

_INDEXED_FROM = 32
"""Replicas from which the index costs less than to look at every replica."""


class Offer(list[Replica]):
    """Replicas in ascending `replica_id`. Only `add` and `drop` change which ones.

    The index is on once `least_loaded` has been asked of many, until there are few; while it is, every change of a
    replica's load must be told to `by_load.changed`.
    """

    __slots__ = ("by_load",)

    def __init__(self) -> None:
        super().__init__()
        self.by_load = LoadIndex()

    def add(self, replica: Replica) -> None:
        """Offer a replica; nothing happens if it is offered already."""
        if not self.by_load.has(replica):
            self.by_load.add(replica)
            insort(self, replica, key=_replica_id)

    def drop(self, replica: Replica) -> None:
        """Offer a replica no longer; nothing happens if it is not offered."""
        if self.by_load.has(replica):
            self.by_load.drop(replica)
            self.remove(replica)
            if len(self) < _INDEXED_FROM // 2:  # Not as soon as there are too few to begin, lest it begin every moment.
                self.by_load.is_on = False

    def least_loaded(self) -> Replica:
        """The replica with the fewest requests; ties go to the lowest replica_id."""
        index = self.by_load
        if not index.is_on:
            if len(self) < _INDEXED_FROM:
                return min(self, key=_load)
            index.build()
        return index.least_loaded()


def _replica_id(replica: Replica) -> int:
    return replica.replica_id


def _load(replica: Replica) -> int:
    return replica.n_outstanding
