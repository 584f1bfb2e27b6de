"""Placements that prefer a replica whose KV cache may hold part of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from sim.routing.placement.by_load import LoadBased, least_loaded
from sim.routing.placement.prefix_index import ReadsCaches
from sim.views import ReplicaView
from sim.work import Request


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


class PrefixAware(ReadsCaches):
    """The replica whose prefix cache holds most of the prompt, unless it is much busier than the least loaded one.

    Replicas with over `max_extra_requests` requests more than the least loaded one are left out; otherwise all requests
    with the same system prompt would go to the replica that had it first. Ties go to the least loaded.
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
