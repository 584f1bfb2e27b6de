"""Placements that spread requests: by chance, by a hash of whose they are, by a measure of load."""

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
    """A rule whose chance is this run's own."""

    __slots__ = ("choose",)

    def __init__(self, rule: Random | PowerOfTwo, rng: np.random.Generator):
        self.choose = partial(rule.choose, salt=int(rng.integers(1 << 63)))


class Random(Placement):
    """Any replica, whatever its load.

    The chance is the call's own, a hash of task_id and call_index and of the run's salt: the same for whatever else
    goes on, and nothing to keep.
    """

    kind: Literal["random"] = "random"

    def choose(self, request: Request, replicas: Sequence[ReplicaView], salt: int = 0) -> ReplicaView:
        return replicas[mixed(salt, request.task.task_id, request.call_index) % len(replicas)]

    def start(self, clock: Clock, rng: np.random.Generator) -> PlacementAtWork:
        return _Salted(self, rng)


class PowerOfTwo(LoadBased):
    """The less loaded of two replicas taken by chance; of equals, the one taken first.

    Two looks in place of one shorten the longest queue exponentially (Mitzenmacher, 2001), and unlike the least loaded
    of all the two are hardly ever the same for everybody while load metrics are old. As SGLang's and vLLM's routers and
    Ray Serve.
    """

    kind: Literal["power_of_two"] = "power_of_two"

    def choose(self, request: Request, replicas: Sequence[ReplicaView], salt: int = 0) -> ReplicaView:
        n = len(replicas)
        if n == 1:
            return replicas[0]
        chance = mixed(salt, request.task.task_id, request.call_index)
        i, j = chance % n, (chance >> 32) % (n - 1)
        one, other = replicas[i], replicas[j + (j >= i)]
        return one if one.n_outstanding <= other.n_outstanding else other

    def start(self, clock: Clock, rng: np.random.Generator) -> PlacementAtWork:
        salted = _Salted(self, rng)
        return ScrapedChoice(clock, self.refresh_s, salted.choose) if self.refresh_s else salted


class LeastKv(LoadBased):
    """The replica with the least KV memory held by running sequences; ties go to the least loaded, then lowest id."""

    kind: Literal["least_kv"] = "least_kv"

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        return min(replicas, key=lambda r: (r.kv_used_fraction, r.n_outstanding, r.replica_id))


class SessionAffinity(Placement):
    """Every session has a replica of its own, by consistent hashing, whatever the load.

    The replica with the highest hash of session and replica_id (Thaler and Ravishankar, 1998): spread evenly over many
    sessions, and when a replica comes or goes, or is full, only the sessions that gain or lose it move. A session is a
    task, or all tasks of one application.
    """

    kind: Literal["session_affinity"] = "session_affinity"
    session: Literal["task", "application"] = Field(description="what is kept together")

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        task = request.task
        session = task.task_id if self.session == "task" else task.application
        return max(replicas, key=lambda replica: mixed(session, replica.replica_id))
