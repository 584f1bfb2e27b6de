"""The base of victim rules: which replica is released when there are too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sim.clock import Clock
from sim.policy import Policy
from sim.views import ReplicaView


class VictimAtWork(Protocol):
    """A victim rule in one run, with whatever it remembers during the run."""

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        """One of `ready`. `idle`: the replicas in `ready` without any request, the longest idle first."""


class Victim(Policy):
    """Chooses the ready replica to drain when there are too many.

    The contract of every kind (tests/contracts/test_reliability.py):

    1. `choose` answers one of `ready`, which holds at least one replica, in any order.
    2. Replicas are only read. Answers depend on what was shown since `start`, on the run's `rng`, and on nothing else.
    3. If `idle` is empty, the order of `ready` does not matter to the first answer of a run.

    >>> from typing import Literal
    >>> import sim
    >>> class HighestId(sim.Victim):
    ...     kind: Literal["highest_id"] = "highest_id"
    ...     def choose(self, ready, idle):
    ...         return max(ready, key=lambda replica: replica.replica_id)
    >>> sim.scenario("fleet=scale_to_zero", victim=HighestId()).victim
    HighestId(kind='highest_id')
    """

    def choose(self, ready: Sequence[ReplicaView], idle: Sequence[ReplicaView]) -> ReplicaView:
        """One of `ready`. `idle`: the replicas in `ready` without any request, the longest idle first."""
        raise NotImplementedError

    def start(self, clock: Clock, rng: np.random.Generator) -> VictimAtWork:
        """See `Policy.start`."""
        return self
