"""The replicas that are offered to a placement, with an index of their load for fleets of hundreds."""

from __future__ import annotations

from bisect import insort
from heapq import heapify, heappop, heappush

from sim.engine.replica import Replica

_INDEXED_FROM = 32
"""Replicas from which the index costs less than to look at every replica."""


class Offer(list[Replica]):
    """Replicas in ascending `replica_id`. Only `add` and `drop` change which ones.

    The index is a heap of (n_outstanding, replica_id, replica) in which an entry may be out of date: `least_loaded`
    drops such entries when it meets them, so that a change of a replica's load costs one entry and no search. Every
    change must be told to `changed`. There is no index before `least_loaded` is first asked.
    """

    __slots__ = ("_offered", "_heap", "is_indexed")

    def __init__(self) -> None:
        super().__init__()
        self._offered: dict[int, Replica] = {}  # by replica_id
        self._heap: list[tuple[int, int, Replica]] = []
        self.is_indexed = False

    def add(self, replica: Replica) -> None:
        """Offer a replica; nothing happens if it is offered already."""
        if self._offered.get(replica.replica_id) is not replica:
            self._offered[replica.replica_id] = replica
            insort(self, replica, key=_replica_id)

    def drop(self, replica: Replica) -> None:
        """Offer a replica no longer; nothing happens if it is not offered."""
        if self._offered.get(replica.replica_id) is replica:
            del self._offered[replica.replica_id]
            self.remove(replica)

    def changed(self, replica: Replica) -> None:
        """The load of a replica, offered or not, has changed; needed only while `is_indexed`."""
        heappush(self._heap, (replica.n_outstanding, replica.replica_id, replica))
        if len(self._heap) > 4 * len(self) + _INDEXED_FROM:
            self._build()

    def least_loaded(self) -> Replica:
        """The replica with the fewest requests; ties go to the lowest replica_id."""
        if len(self) < _INDEXED_FROM:
            self.is_indexed = False
            return min(self, key=_load)
        if not self.is_indexed:
            self.is_indexed = True
            self._build()
        heap, offered = self._heap, self._offered
        while True:
            n_outstanding, replica_id, replica = heap[0]
            if replica.n_outstanding == n_outstanding and offered.get(replica_id) is replica:
                return replica
            heappop(heap)

    def _build(self) -> None:
        self._heap = [(replica.n_outstanding, replica.replica_id, replica) for replica in self]
        heapify(self._heap)


def _replica_id(replica: Replica) -> int:
    return replica.replica_id


def _load(replica: Replica) -> int:
    return replica.n_outstanding
