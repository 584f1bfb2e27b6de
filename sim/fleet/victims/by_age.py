"""Victim rules that look at how long ago a replica was ordered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sim.fleet.victims.victims import Victim
from sim.views import ReplicaView


class Newest(Victim):
    """The replica ordered last, busy or not. Source: of pods that are otherwise equal, Kubernetes deletes the newest.

    Where on-demand replicas stand in for spot ones, these are the newest.
    """

    kind: Literal["newest"] = "newest"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return max(ready, key=lambda r: r.replica_id)


class Oldest(Victim):
    """The replica ordered first, busy or not."""

    kind: Literal["oldest"] = "oldest"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return min(ready, key=lambda r: r.replica_id)
