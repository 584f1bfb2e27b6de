"""Victim rules that look at the requests of a replica and at its prefix cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sim.fleet.victims.victims import Victim
from sim.views import ReplicaView


class LongestIdle(Victim):
    """The replica that has been idle longest; if none is idle, the one with the fewest requests.

    It suits idle timeouts: a scaler that asks for fewer replicas because some have been idle too long means these.
    """

    kind: Literal["longest_idle"] = "longest_idle"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return idle[0] if idle else _least_to_finish(ready)


class FewestOutstanding(Victim):
    """The replica with the fewest requests; of several, the newest."""

    kind: Literal["fewest_outstanding"] = "fewest_outstanding"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return _least_to_finish(ready)


class LeastCached(Victim):
    """The replica whose prefix cache holds the fewest tokens; of several, the one with the fewest requests."""

    kind: Literal["least_cached"] = "least_cached"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return min(ready, key=lambda r: (r.prefix_cache_tokens, r.n_outstanding, -r.replica_id))


def _least_to_finish(ready: Sequence[ReplicaView]) -> ReplicaView:
    return min(ready, key=lambda r: (r.n_outstanding, -r.replica_id))
