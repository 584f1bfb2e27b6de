"""An index of the load of replicas, for fleets of hundreds: which has the fewest requests, without a look at each."""

# Compiled: every request of a large fleet passes through this module (see sim.hot_path).

from __future__ import annotations

from heapq import heapify, heappop, heappush

from sim.engine.replica import Replica

_SLACK = 32


class LoadIndex:
    """Ids of replicas by their number of requests: a heap for each number, in which an id may be out of date.

    `least_loaded` drops such ids when it meets them, so that a change of a replica's load costs one entry and no
    search. While `is_on`, every change must be told to `changed`.
    """

    __slots__ = ("offered", "is_on", "_ids_by_load", "_least", "_n_entries")

    def __init__(self) -> None:
        self.offered: dict[int, Replica] = {}  # by replica_id
        self.is_on = False
        self._ids_by_load: list[list[int]] = []
        self._least = 0  # No replica has fewer requests.
        self._n_entries = 0

    def has(self, replica: Replica) -> bool:
        """Whether a replica is offered."""
        return self.offered.get(replica.replica_id) is replica

    def changed(self, replica: Replica) -> None:
        """The load of a replica, offered or not, has changed."""
        load, heaps = replica.n_outstanding, self._ids_by_load
        while len(heaps) <= load:
            heaps.append([])
        heappush(heaps[load], replica.replica_id)
        if load < self._least:
            self._least = load
        self._n_entries += 1
        if self._n_entries > 4 * len(self.offered) + _SLACK:
            self.build()

    def least_loaded(self) -> Replica:
        """The offered replica with the fewest requests; ties go to the lowest replica_id. There must be one."""
        heaps, offered, load = self._ids_by_load, self.offered, self._least
        while True:
            heap = heaps[load]
            while heap:
                replica = offered.get(heap[0])
                if replica is not None and replica.n_outstanding == load:
                    self._least = load
                    return replica
                heappop(heap)
                self._n_entries -= 1
            load += 1

    def build(self) -> None:
        """Begin to index, or anew where too many entries are out of date."""
        self.is_on = True
        self._ids_by_load, self._least, self._n_entries = [], 0, len(self.offered)
        for replica_id, replica in self.offered.items():
            while len(self._ids_by_load) <= replica.n_outstanding:
                self._ids_by_load.append([])
            self._ids_by_load[replica.n_outstanding].append(replica_id)
        for heap in self._ids_by_load:
            heapify(heap)
