"""ColdStarts: the base of models of how long a replica takes from its order to readiness."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sim.fleet.supply.nodes import Machines
from sim.fleet.supply.sleep import Sleep
from sim.records import ReplicaState
from sim.schema import Choice

STAGES = (ReplicaState.ALLOCATION, ReplicaState.IMAGE, ReplicaState.WEIGHTS, ReplicaState.ENGINE_START)
"""The stages that a cold start may have, in their order."""

Stages = tuple[tuple[ReplicaState, float], ...]
"""Stages of one start with the seconds that each takes."""


class ColdStarts(Choice):
    """How long a replica takes from the order to its first request. A configuration without `kind` means `stages`.

    The contract of every kind (tests/contracts/test_cold_starts.py):

    1. `draw` returns one or more of `STAGES`, each at most once and in their order, with seconds that are finite and
       >= 0. The clock of the bill runs through all of them.
    2. All chance comes from `rng`: the same stream gives the same seconds. Every call takes equally many numbers from
       it, so that fleets that order equally many replicas have the same luck.
    3. `mean_s` is the mean of the sum of what `draw` returns: 4000 starts agree within 4.5 standard errors.
    4. A model of more bytes has no shorter mean.

    Optional: `found`, `machines`, `refused_s` with `mean_refused_s`, and `sleep_rule` with `draw_wake_s` and
    `mean_wake_s`.

    >>> from typing import Literal
    >>> import sim
    >>> from sim.records import ReplicaState
    >>> class AlwaysAMinute(sim.ColdStarts):
    ...     kind: Literal["always_a_minute"] = "always_a_minute"
    ...     def draw(self, rng, weight_bytes):
    ...         return ((ReplicaState.ENGINE_START, 60.0),)
    ...     def mean_s(self, weight_bytes):
    ...         return 60.0
    >>> sim.scenario("fleet=scale_to_zero", cold_start=AlwaysAMinute()).cold_start.mean_s(16e9)
    60.0
    """

    default_kind: ClassVar[str | None] = "stages"

    def draw(self, rng: np.random.Generator, weight_bytes: float) -> Stages:
        """The stages of one cold start. `weight_bytes`: of all GPUs of the replica together."""
        raise NotImplementedError

    def mean_s(self, weight_bytes: float) -> float:
        """Expected seconds from the GPU's being granted to ready."""
        raise NotImplementedError

    @property
    def mean_refused_s(self) -> float:
        """Expected seconds from an order until a GPU is granted."""
        return 0.0

    def refused_s(self, rng: np.random.Generator) -> float:
        """Seconds from one order until a GPU is granted. Nothing is paid for meanwhile."""
        return 0.0

    def machines(self, rng: np.random.Generator) -> Machines | None:
        """The nodes of one run, which keep image, weights and caches; None: a start does not depend on its node."""
        return None

    def found(self, away_s: float | None, n_started: int) -> ColdStarts:
        """The model of a start on a node whose last replica left `away_s` seconds ago, after `n_started` starts.

        `away_s` is 0 while a replica is on the node, and None if none ever was.
        """
        return self

    @property
    def sleep_rule(self) -> Sleep | None:
        """How excess replicas are put to sleep; None: they are released."""
        return None

    def draw_wake_s(self, rng: np.random.Generator) -> float:
        """Seconds in which one replica wakes; asked only where there is a `sleep_rule`."""
        raise NotImplementedError

    @property
    def mean_wake_s(self) -> float:
        """Expected seconds in which a replica wakes; asked only where there is a `sleep_rule`."""
        raise NotImplementedError
