"""The start of a replica: its wait for a GPU, the node that the GPU is on, and the cold start that follows."""

from __future__ import annotations

from typing import NamedTuple

from sim.fleet.supply.cold_starts import ColdStarts, Stages
from sim.fleet.supply.nodes import Machine
from sim.fleet.supply.sleep import Sleep
from sim.randomness import Streams
from sim.records import ReplicaState


class Start(NamedTuple):
    """The drawn start of one replica."""

    wait_s: float  # from the order until a GPU is granted; not paid for
    stages: Stages
    mean_s: float  # expected seconds from the order to readiness, known when it is ordered


class Supply:
    """Cold starts of one run, each drawn when it is ordered.

    It draws from random streams of its own ("cold_start", "capacity", "nodes", "wake"), so that two fleets that order
    equally many replicas draw the same numbers, whichever storage tier their replicas find.
    """

    def __init__(self, cold_start: ColdStarts, weight_bytes: float, streams: Streams):
        self._cold = cold_start
        self._weight_bytes = weight_bytes
        self._rng = streams.generator("cold_start")
        self._capacity_rng = streams.generator("capacity")
        self._wake_rng = streams.generator("wake")
        self._machines = cold_start.machines(streams.generator("nodes"))
        self._started = 0
        self._refused_s = cold_start.mean_refused_s

    @property
    def sleep(self) -> Sleep | None:
        return self._cold.sleep_rule

    def mean_s(self, now_s: float) -> float:
        """Expected seconds of a start ordered now on the warmest node."""
        away_s = None if self._machines is None else self._machines.best_away_s(now_s)
        return self._refused_s + self._kind(away_s).mean_s(self._weight_bytes)

    def order(self, machine: Machine | None, now_s: float) -> Start:
        """Draw the start of a replica ordered now, on the node that `place` returned."""
        cold = self._kind(None if machine is None else machine.away_s(now_s))
        stages = cold.draw(self._rng, self._weight_bytes)
        return Start(self._wait_s(), stages, self._refused_s + cold.mean_s(self._weight_bytes))

    def wake(self) -> Start:
        """Draw the start of a sleeping replica that is to wake now."""
        sleep = self._cold.sleep_rule
        assert sleep is not None
        stages = ((ReplicaState.ENGINE_START, self._cold.draw_wake_s(self._wake_rng)),)
        wait_s, mean_wait_s = (0.0, 0.0) if sleep.gpu == "kept" else (self._wait_s(), self._refused_s)
        return Start(wait_s, stages, mean_wait_s + self._cold.mean_wake_s)

    def place(self, now_s: float) -> Machine | None:
        """A node for a replica that is ordered now; None if starts do not depend on their node."""
        return None if self._machines is None else self._machines.place(now_s)

    def ready(self, machine: Machine | None, has_started: bool = True) -> None:
        """Count a replica that has become ready on its node; `has_started`: by a cold start, not warm from second 0."""
        self._started += has_started
        if machine is not None:
            machine.n_ready += 1

    def released(self, machine: Machine | None, was_ready: bool, now_s: float) -> None:
        """Count a replica that has left its node; `was_ready` if it had become ready on it."""
        if machine is None:
            return
        machine.n_replicas -= 1
        if was_ready:
            machine.n_ready -= 1
            machine.left_s = now_s

    def _kind(self, away_s: float | None) -> ColdStarts:
        return self._cold.found(away_s, self._started)

    def _wait_s(self) -> float:
        return self._cold.refused_s(self._capacity_rng)
