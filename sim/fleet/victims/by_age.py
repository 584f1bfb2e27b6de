"""Victims by how long ago they were ordered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sim.fleet.victims.victims import Victim
from sim.views import ReplicaView


class Newest(Victim):
    """The one ordered last, busy or not: of pods equal otherwise, Kubernetes deletes the newest.

    Where some are on demand in place of spot, the newest of these.
    """

    kind: Literal["newest"] = "newest"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return max(ready, key=lambda r: r.replica_id)


class Oldest(Victim):
    """The one ordered first, busy or not."""

    kind: Literal["oldest"] = "oldest"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return min(ready, key=lambda r: r.replica_id)
