"""Placements that spread requests: at random, by a hash of their session, or by KV memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from sim.clock import Clock
from sim.routing.placement.by_load import LoadBased
from sim.routing.placement.hashing import mixed
from sim.routing.placement.placement import Placement, PlacementAtWork
from sim.routing.scraping import ScrapedChoice
from sim.views import ReplicaView
from sim.work import Request


class _Salted:
    """A rule whose hashes are salted with a number drawn for this run."""

    __slots__ = ("choose",)

    def __init__(self, rule: Random | PowerOfTwo, rng: np.random.Generator):
        self.choose = partial(rule.choose, salt=int(rng.integers(1 << 63)))


class Random(Placement):
    """Any replica, at random, whatever its load.

    The choice is a hash of task_id, call_index and the run's salt: it does not depend on other requests.
    """

    kind: Literal["random"] = "random"

    def choose(self, request: Request, replicas: Sequence[ReplicaView], salt: int = 0) -> ReplicaView:
        return replicas[mixed(salt, request.task.task_id, request.call_index) % len(replicas)]

    def start(self, clock: Clock, rng: np.random.Generator) -> PlacementAtWork:
        return _Salted(self, rng)


class PowerOfTwo(LoadBased):
    """The less loaded of two replicas taken at random; of equals, the one taken first.

    Comparing two instead of taking one shortens the longest queue exponentially (Mitzenmacher, 2001). While load
    metrics are stale, requests compare different pairs, whereas they would all go to the same least loaded replica.
    Used by the routers of SGLang and vLLM and by Ray Serve.
    """

    kind: Literal["power_of_two"] = "power_of_two"

    def choose(self, request: Request, replicas: Sequence[ReplicaView], salt: int = 0) -> ReplicaView:
        n = len(replicas)
        if n == 1:
            return replicas[0]
        bits = mixed(salt, request.task.task_id, request.call_index)
        i, j = bits % n, (bits >> 32) % (n - 1)
        first, second = replicas[i], replicas[j + (j >= i)]
        return first if first.n_outstanding <= second.n_outstanding else second

    def start(self, clock: Clock, rng: np.random.Generator) -> PlacementAtWork:
        salted = _Salted(self, rng)
        return ScrapedChoice(clock, self.refresh_s, salted.choose) if self.refresh_s else salted


class LeastKv(LoadBased):
    """The replica with the least KV memory held by running sequences; ties go to the least loaded, then lowest id."""

    kind: Literal["least_kv"] = "least_kv"

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        return min(replicas, key=lambda r: (r.kv_used_fraction, r.n_outstanding, r.replica_id))


class SessionAffinity(Placement):
    """Every session keeps its replica, by consistent hashing, whatever the load.

    It takes the replica with the highest hash of session and replica_id (Thaler and Ravishankar, 1998): many sessions
    are spread evenly, and when a replica is added, removed or full, only the sessions that gain or lose it move. A
    session is a task, or all tasks of one application.
    """

    kind: Literal["session_affinity"] = "session_affinity"
    session: Literal["task", "application"] = Field(description="the requests that go to the same replica")

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        task = request.task
        session = task.task_id if self.session == "task" else task.application
        return max(replicas, key=lambda replica: mixed(session, replica.replica_id))
