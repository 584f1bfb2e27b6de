"""Which replica goes when there are too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from sim.clock import Clock
from sim.policy import Policy
from sim.views import ReplicaView


class VictimAtWork(Protocol):
    """A victim rule in one run, with whatever it remembers of it."""

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        """One of `ready`. `idle`: those of them without any request, the longest idle first."""


class Victim(Policy):
    """Picks the ready replica to drain when there are too many.

    The contract of every kind (tests/contracts/test_reliability.py):

    1. `choose` answers one of `ready`, which holds at least one replica, in any order.
    2. Replicas are only read. Answers depend on what was shown since `start`, on the run's `rng`, and on nothing else.
    3. If `idle` is empty, the order of `ready` does not matter to the first answer of a run.
    """

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        """One of `ready`. `idle`: those of them without any request, the longest idle first."""
        raise NotImplementedError

    def start(self, clock: Clock, rng: np.random.Generator) -> VictimAtWork:
        """See `Policy.start`."""
        return self


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


class LeastCached(Victim):
    """The one whose prefix cache holds the fewest tokens; of several, the one with the least to finish."""

    kind: Literal["least_cached"] = "least_cached"

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        return min(ready, key=lambda r: (r.prefix_cache_tokens, r.n_outstanding, -r.replica_id))


def _least_to_finish(ready: Sequence[ReplicaView]) -> ReplicaView:
    return min(ready, key=lambda r: (r.n_outstanding, -r.replica_id))
