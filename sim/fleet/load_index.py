"""An index of the load of replicas, for fleets of hundreds: which has the fewest requests, without a look at each."""

# Compiled: every request of a large fleet passes through this module (see sim.hot_path).

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from sim.engine.replica import Replica

_NOT_OFFERED: Final = 1 << 60
"""The load of a leaf without a replica: more than any replica has."""


class LoadIndex:
    """The replicas that are offered, as leaves of a binary tree in which each node has the least load of those below.

    A change of a load goes up the tree only as far as the least load changes, so most changes end after a few nodes.
    While `is_on`, every change of the load of a replica that is offered must be told to `changed`.
    """

    __slots__ = ("is_on", "offered", "_first_id", "_n_leaves", "_loads", "_leaves")

    def __init__(self) -> None:
        self.is_on = False
        self.offered: dict[int, Replica] = {}  # by replica_id
        self._first_id = 0  # the replica_id of the first leaf; the next leaf has the next id
        self._n_leaves = 0
        self._loads: list[int] = []  # Item 1 is the root, those below item i are 2 i and 2 i + 1; leaves come last.
        self._leaves: list[Replica | None] = []

    def has(self, replica: Replica) -> bool:
        """Whether a replica is offered."""
        return self.offered.get(replica.replica_id) is replica

    def add(self, replica: Replica) -> None:
        """Offer a replica."""
        replica_id = replica.replica_id
        self.offered[replica_id] = replica
        if self.is_on:
            place = replica_id - self._first_id
            if 0 <= place < self._n_leaves:
                self._leaves[place] = replica
                self._set(place, replica.n_outstanding)
            else:
                self.build()

    def drop(self, replica: Replica) -> None:
        """Offer a replica no longer that was offered until now."""
        del self.offered[replica.replica_id]
        if self.is_on:
            place = replica.replica_id - self._first_id
            self._leaves[place] = None
            self._set(place, _NOT_OFFERED)

    def at(self, replica_id: int) -> Replica | None:
        """The replica of this id, if the index is on and it is offered."""
        place = replica_id - self._first_id
        return self._leaves[place] if self.is_on and 0 <= place < self._n_leaves else None

    def changed(self, replica: Replica) -> None:
        """The load of a replica has changed; nothing happens if it is not offered."""
        if self.at(replica.replica_id) is replica:
            self._set(replica.replica_id - self._first_id, replica.n_outstanding)

    def _set(self, leaf: i64, load: i64) -> None:
        """Set the load of a leaf, and the least load of each node above it that this changes."""
        loads = self._loads
        place: i64 = self._n_leaves + leaf
        loads[place] = load
        while place > 1:
            beside: i64 = loads[place ^ 1]
            if beside < load:
                load = beside
            place >>= 1
            before: i64 = loads[place]
            if before == load:
                return
            loads[place] = load

    def least_loaded(self) -> Replica:
        """The offered replica with the fewest requests; ties go to the lowest replica_id. There must be one."""
        loads = self._loads
        n: i64 = self._n_leaves
        least: i64 = loads[1]
        place: i64 = 1
        while place < n:
            place *= 2
            load: i64 = loads[place]
            if load != least:
                place += 1
        replica = self._leaves[place - n]
        assert replica is not None
        return replica

    def build(self) -> None:
        """Begin to index, or anew where an id has no leaf; then at least half of the leaves are left for later ids."""
        self.is_on, ids, n = True, sorted(self.offered), 1
        self._first_id = first = ids[0]
        while n < 2 * (ids[-1] - first + 1):
            n *= 2
        self._n_leaves, self._leaves = n, [None] * n
        self._loads = loads = [_NOT_OFFERED] * (2 * n)
        for replica_id, replica in self.offered.items():
            self._leaves[replica_id - first] = replica
            loads[n + replica_id - first] = replica.n_outstanding
        for place in range(n - 1, 0, -1):
            loads[place] = min(loads[2 * place], loads[2 * place + 1])
