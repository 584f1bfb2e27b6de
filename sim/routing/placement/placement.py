"""The base of placements: which replica a request goes to, among those with room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sim.clock import Clock
from sim.policy import Policy
from sim.views import ReplicaView
from sim.work import Request


class PlacementAtWork(Protocol):
    """A placement in one run, with whatever it remembers during the run."""

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        """One of `replicas`."""


class Placement(Policy):
    """Chooses one of the replicas offered, from the request and the replicas.

    The offer is never empty, in ascending `replica_id`. `request.previous` says which replica served the task's
    previous call (None for the first call).

    The contract of every kind (tests/contracts/test_routing.py):

    1. `choose` answers one of the replicas offered: that object, not a copy.
    2. Request and replicas are only read. The task's calls, their number and `output_tokens` are not.
    3. Answers depend on what was shown since `start`, on the run's `rng`, and on nothing else. If the class defines
       `choose` itself and draws nothing from `rng`, what `start` returns gives the same first answers.
    4. Of replicas that are all alike, it takes the one with the lowest `replica_id`, or spreads tasks evenly over them.

    >>> from typing import Literal
    >>> import sim
    >>> class Last(sim.Placement):
    ...     kind: Literal["last_in_line"] = "last_in_line"
    ...     def choose(self, request, replicas):
    ...         return replicas[-1]
    >>> sim.scenario(placement=Last()).placement
    Last(kind='last_in_line')
    """

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        """One of `replicas`."""
        raise NotImplementedError

    def start(self, clock: Clock, rng: np.random.Generator) -> PlacementAtWork:
        """See `Policy.start`."""
        return self
