"""Nodes that keep files: a replica that starts where the model ran lately finds image and weights in a fast tier."""

from __future__ import annotations

from math import inf
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.schema import Config

StorageTier = Literal["host_ram", "page_cache", "nvme", "block_storage", "network", "snapshot"]


class Kept(Config):
    """A stage whose result stays on the node for a while."""

    found_s: float = Field(ge=0, description="median seconds of the stage where its result is found")
    keep_s: float | None = Field(None, ge=0, description="how long after the last replica left; null: as the node does")


class KeptWeights(Config):
    """A copy of the weights on the node."""

    storage_tier: StorageTier
    bandwidth_gb_per_s: float = Field(gt=0, description="median GB of weights read per second by one replica")
    keep_s: float | None = Field(None, ge=0, description="how long after the last replica left; null: as the node does")


class Nodes(Config):
    """Machines with room for a few replicas each, and what a start finds on one.

    A copy exists from the moment a replica became ready on the node until `keep_s` seconds after the last replica left;
    when the node itself (`up`) is given up, all its copies are lost. Of several copies of the weights the fastest is
    read. Other models that use the same node are not simulated: a short `keep_s` stands for their pressure on its
    caches. Where every node is full, a new replica starts on a further, cold node.
    """

    n_nodes: int = Field(ge=1, description="nodes that a new replica may get")
    replicas_per_node: int = Field(ge=1, description="replicas that fit on a node: its GPUs / GPUs per replica")
    choice: Literal["warmest", "in_turn", "random"] = Field(
        description="the node a new replica gets: warmest: the one in use or left last; in_turn; random: any with room"
    )
    up: Kept = Field(description="the node itself: found_s is the allocation's median on one that is up")
    image: Kept = Field(description="the container image: found_s is 0 if nothing is left to do")
    compile_cache: Kept = Field(description="compiled kernels: found_s is the engine start's median with them")
    weights: tuple[KeptWeights, ...] = Field((), description="copies of the weights, in any order")

    @model_validator(mode="after")
    def _nothing_outlives_its_node(self) -> Nodes:
        stays_s = kept_for_s(self.up.keep_s)
        copies: tuple[Kept | KeptWeights, ...] = (self.image, self.compile_cache, *self.weights)
        for copy in copies:
            if copy.keep_s is not None and copy.keep_s > stays_s:
                raise ValueError(f"keep_s = {copy.keep_s}: nothing outlives its node, up.keep_s = {self.up.keep_s}")
        return self


class Machine:
    """One node of a run: how many replicas it holds, and when the last replica left that had become ready on it."""

    __slots__ = ("n_replicas", "n_ready", "left_s")

    def __init__(self) -> None:
        self.n_replicas = self.n_ready = 0
        self.left_s: float | None = None

    def away_s(self, now_s: float) -> float | None:
        """Seconds since the last replica left; 0 while a ready one is on the node, None if none ever was."""
        return 0.0 if self.n_ready else None if self.left_s is None else now_s - self.left_s


class Machines:
    """The nodes of one run; assigns one to each new replica."""

    def __init__(self, nodes: Nodes, rng: np.random.Generator):
        self._nodes = nodes
        self._rng = rng
        self._machines = [Machine() for _ in range(nodes.n_nodes)]
        self._turn = -1

    def best_away_s(self, now_s: float) -> float | None:
        """Seconds since the last replica left the warmest node with room; None if that node was never used."""
        return self._warmest(now_s).away_s(now_s)

    def place(self, now_s: float) -> Machine:
        """The node of a replica ordered now."""
        machine = self._choose(now_s)
        if machine.n_replicas >= self._nodes.replicas_per_node:
            machine = Machine()  # All nodes are full.
        machine.n_replicas += 1
        return machine

    def _choose(self, now_s: float) -> Machine:
        if self._nodes.choice == "warmest":
            return self._warmest(now_s)
        machines = self._machines
        if self._nodes.choice == "random":
            # Every order takes one draw, even if no node has room, so that fleets that order equally many replicas
            # draw the same numbers.
            draw = float(self._rng.random())
            free = [machine for machine in machines if self._has_room(machine)] or machines
            return free[int(draw * len(free))]
        for _ in machines:
            self._turn = (self._turn + 1) % len(machines)
            if self._has_room(machines[self._turn]):
                break
        return machines[self._turn]

    def _warmest(self, now_s: float) -> Machine:
        def cold(machine: Machine) -> tuple[bool, float]:
            away_s = machine.away_s(now_s)
            return not self._has_room(machine), inf if away_s is None else away_s

        return min(self._machines, key=cold)

    def _has_room(self, machine: Machine) -> bool:
        return machine.n_replicas < self._nodes.replicas_per_node


def kept_for_s(keep_s: float | None) -> float:
    """How long a copy stays, in seconds; infinity for one that stays as long as its node."""
    return inf if keep_s is None else keep_s
