"""Which replica a request goes to, among those with room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from pydantic import Field

from sim.clock import Clock
from sim.policy import Policy
from sim.routing.scraping import ScrapedChoice
from sim.views import ReplicaView
from sim.work import Request


class PlacementAtWork(Protocol):
    """A placement in one run, with whatever it remembers of it."""

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        """One of `replicas`."""


class Placement(Policy):
    """Chooses one of the replicas offered, by the request and the replicas.

    The offer is never empty, in ascending `replica_id`. `request.previous` says which replica served the task's
    previous call (None for the first call).

    The contract of every kind (tests/contracts/test_routing.py):

    1. `choose` answers one of the replicas offered: that object, not a copy.
    2. Request and replicas are only read. The task's calls, their number and `output_tokens` are not.
    3. Answers depend on what was shown since `start`, on the run's `rng`, and on nothing else. If the class has a
       `choose` of its own and draws nothing from `rng`, what `start` returns gives the same first answers.
    4. Of replicas that are all alike, it takes the one with the lowest `replica_id`, or shares tasks evenly among them.
    """

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        """One of `replicas`."""
        raise NotImplementedError

    def start(self, clock: Clock, rng: np.random.Generator) -> PlacementAtWork:
        """See `Policy.start`."""
        return self


class LoadBased(Placement):
    """Looks at how busy the replicas are: as they are now, or as they were when last scraped."""

    refresh_s: float = Field(0.0, ge=0, description="seconds between two looks at the replicas' load; 0: always live")

    def start(self, clock: Clock, rng: np.random.Generator) -> PlacementAtWork:
        return ScrapedChoice(clock, self.refresh_s, self.choose) if self.refresh_s else self


def least_loaded(replicas: Sequence[ReplicaView]) -> ReplicaView:
    """The one with the fewest requests; ties go to the lowest replica_id."""
    least = replicas[0]
    fewest = least.n_outstanding
    for replica in replicas:
        n = replica.n_outstanding
        if n < fewest:
            least, fewest = replica, n
    return least


class LeastLoaded(LoadBased):
    """The replica with the fewest requests, running or waiting; ties go to the lowest replica_id."""

    kind: Literal["least_loaded"] = "least_loaded"

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        return least_loaded(replicas)


class RoundRobin(Placement):
    """The replicas in turn, whatever their load.

    The turn is task_id + call_index, as tasks are numbered in order of arrival: exact turns for single-call tasks on a
    fixed offer, even shares in the long run otherwise, and no counter to keep.
    """

    kind: Literal["round_robin"] = "round_robin"

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        return replicas[(request.task.task_id + request.call_index) % len(replicas)]


class TaskAffinity(LoadBased):
    """The replica that served the task's previous call, where its KV cache may still be; else the least loaded."""

    kind: Literal["task_affinity"] = "task_affinity"

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        if request.previous is not None:
            previous_id = request.previous.replica_id
            for replica in replicas:
                if replica.replica_id == previous_id:
                    return replica
        return least_loaded(replicas)


class FillFirst(LoadBased):
    """The fullest replica with fewer than `target_requests_per_replica` requests; else the least loaded.

    Ties go to the lowest replica_id. Load gathers on few replicas, so that the others fall idle and can leave: even
    spreading keeps every replica of a thinly loaded fleet awake.
    """

    kind: Literal["fill_first"] = "fill_first"
    target_requests_per_replica: int = Field(ge=1, description="requests after which a replica counts as full")

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        target = self.target_requests_per_replica
        below = [replica for replica in replicas if replica.n_outstanding < target]
        if not below:
            return least_loaded(replicas)
        return min(below, key=lambda replica: (-replica.n_outstanding, replica.replica_id))


class PrefixAware(LoadBased):
    """The replica whose prefix cache holds most of the prompt, unless it is much busier than the least loaded one.

    Replicas with more than `max_extra_requests` requests above the least loaded are out; ties go to the least loaded.
    Without the guard all who share a system prompt would crowd on the replica that saw it first.
    """

    kind: Literal["prefix_aware"] = "prefix_aware"
    max_extra_requests: int = Field(ge=0, description="requests a replica may have more than the least loaded one")

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        segments = request.call.segments
        if not segments or len(replicas) == 1:
            return least_loaded(replicas)
        most = min(replica.n_outstanding for replica in replicas) + self.max_extra_requests
        near = [replica for replica in replicas if replica.n_outstanding <= most]
        return min(near, key=lambda r: (-r.cached_tokens(segments), r.n_outstanding, r.replica_id))
