"""The replicas in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sim.routing.placement.placement import Placement
from sim.views import ReplicaView
from sim.work import Request


class RoundRobin(Placement):
    """The replicas in turn, whatever their load.

    The turn is task_id + call_index, and tasks are numbered in order of arrival: exact turns for tasks of one call on a
    constant set of replicas, even shares in the long run otherwise. It needs no counter.
    """

    kind: Literal["round_robin"] = "round_robin"

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        return replicas[(request.task.task_id + request.call_index) % len(replicas)]
