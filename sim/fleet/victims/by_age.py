"""Victim rules that look at how long ago a replica was ordered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sim.fleet.victims.victims import Victim
from sim.views import ReplicaView


class Newest(Victim):
    """The replica ordered last, busy or not. Source: of pods that are otherwise equal, Kubernetes deletes the newest.

    Spot replicas and on-demand ones that stand in for them are treated alike.
    """

    kind: Literal["newest"] = "newest"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return max(ready, key=lambda r: r.replica_id)


class Oldest(Victim):
    """The replica ordered first, busy or not."""

    kind: Literal["oldest"] = "oldest"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return min(ready, key=lambda r: r.replica_id)
