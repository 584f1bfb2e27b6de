"""Victims by what they are doing, and by what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sim.fleet.victims.victims import Victim
from sim.views import ReplicaView


class LongestIdle(Victim):
    """The one that has been idle longest; if none is, the one with the least to finish.

    What idle timeouts assume: a rule that counts replicas idle for too long means these to go.
    """

    kind: Literal["longest_idle"] = "longest_idle"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return idle[0] if idle else _least_to_finish(ready)


class FewestOutstanding(Victim):
    """The one with the fewest requests, the newest of several."""

    kind: Literal["fewest_outstanding"] = "fewest_outstanding"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return _least_to_finish(ready)


class LeastCached(Victim):
    """The one whose prefix cache holds the fewest tokens; of several, the one with the least to finish."""

    kind: Literal["least_cached"] = "least_cached"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return min(ready, key=lambda r: (r.prefix_cache_tokens, r.n_outstanding, -r.replica_id))


def _least_to_finish(ready: Sequence[ReplicaView]) -> ReplicaView:
    return min(ready, key=lambda r: (r.n_outstanding, -r.replica_id))
