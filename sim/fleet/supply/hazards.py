"""When GPUs fail and when their provider takes them back."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import inf
from typing import Any

import numpy as np

from sim.clock import Wake
from sim.fleet.supply.reliability import Reliability, SpotMarket
from sim.randomness import Streams
from sim.units import HOUR_S

_ROUNDING_S = 1e-6
"""A zone that opens within this time is open: a wait of less would not move the clock of a long run."""


class Hazards:
    """The failures and interruptions of one run; calls `fail(members)` and `warn(members)` when they happen.

    A member is the fleet's object for one replica. The fleet calls `assign_zone` when a replica is ordered,
    `closed_for_s` at the moment its GPU would be granted, `gpu_granted` once it has one, and `released` at its end.
    Lifetimes are drawn in the order in which GPUs are granted. For `zone_outage_s` after an event a zone grants none.
    """

    def __init__(
        self,
        env: Any,
        reliability: Reliability,
        gpus_per_replica: int,
        streams: Streams,
        *,
        fail: Callable[[list[Hashable]], None],
        warn: Callable[[list[Hashable]], None],
    ):
        self._env = env
        self._fail, self._warn = fail, warn
        mtbf_hours, self._spot = reliability.gpu_mtbf_hours, reliability.spot
        self._mean_s_to_failure = None if mtbf_hours is None else mtbf_hours * HOUR_S / gpus_per_replica
        self._failures = streams.generator("failures")
        self._lifetimes = streams.generator("spot_lifetimes")
        self._zone_of: dict[Hashable, int] = {}
        self._zones: list[_Zone] = []
        if self._spot is not None:
            self._zones = [_Zone(streams.generator(f"spot_zone_{i}")) for i in range(self._spot.n_zones)]
            for zone in self._zones:
                self._schedule_event(zone, self._spot)

    def assign_zone(self, member: Hashable, refused: bool = False) -> bool:
        """Find a zone for a new replica; True if it gets a GPU on demand instead, which has no zone.

        `refused`: the first attempt to get a GPU was refused.
        """
        spot = self._spot
        if spot is None:
            return False
        open_zones = self._open_zones()
        if spot.on_demand_fallback and (refused or not open_zones):
            return True
        self._expect_in(open_zones, member)
        return False

    def closed_for_s(self, member: Hashable) -> float:
        """Seconds until a zone can grant a GPU to a replica that waits for one; 0 if one can now.

        A replica whose own zone is closed goes to another that is open, or to the one that opens first.
        """
        index = self._zone_of.get(member)
        if index is None or self._is_open(self._zones[index]):
            return 0.0
        self._zones[index].n_expected -= 1
        zone = self._expect_in(self._open_zones(), member)
        return 0.0 if self._is_open(zone) else zone.closed_until_s - self._env.now

    def _is_open(self, zone: _Zone) -> bool:
        return bool(zone.closed_until_s <= self._env.now + _ROUNDING_S)

    def _open_zones(self) -> list[_Zone]:
        return [zone for zone in self._zones if self._is_open(zone)]

    def _expect_in(self, open_zones: list[_Zone], member: Hashable) -> _Zone:
        """Let a replica wait in the emptiest of the open zones; if all are closed, in the one that opens first."""
        if open_zones:
            zone = min(open_zones, key=lambda zone: len(zone.members) + zone.n_expected)
        else:
            zone = min(self._zones, key=lambda zone: zone.closed_until_s)
        zone.n_expected += 1
        self._zone_of[member] = self._zones.index(zone)
        return zone

    def gpu_granted(self, member: Hashable) -> None:
        """A replica has its GPU from now on: draw when the GPU fails or is taken back."""
        if self._mean_s_to_failure is not None:
            self._later(float(self._failures.exponential(self._mean_s_to_failure)), self._fail, member)
        index = self._zone_of.get(member)
        if index is None:
            return
        zone, spot = self._zones[index], self._spot
        assert spot is not None  # Only spot GPUs have a zone.
        zone.n_expected -= 1
        zone.members[member] = None
        luck = float(self._lifetimes.exponential())
        if spot.zone_event_fraction < 1:
            self._later(luck * spot.mean_lifetime_s / (1 - spot.zone_event_fraction), self._warn, member)

    def released(self, member: Hashable) -> None:
        """A replica has given up its GPU, or no longer waits for one."""
        index = self._zone_of.pop(member, None)
        if index is not None:
            zone = self._zones[index]
            if member in zone.members:
                del zone.members[member]
            else:
                zone.n_expected -= 1

    def _later(self, delay_s: float, happen: Callable[[list[Hashable]], None], member: Hashable) -> None:
        Wake(lambda _: happen([member])).schedule(self._env, delay_s)

    def _schedule_event(self, zone: _Zone, spot: SpotMarket) -> None:
        luck = float(zone.rng.exponential())
        if spot.zone_event_fraction > 0:
            mean_s = spot.mean_lifetime_s * spot.zone_hit_fraction / spot.zone_event_fraction
            Wake(lambda _: self._event(zone, spot)).schedule(self._env, luck * mean_s)

    def _event(self, zone: _Zone, spot: SpotMarket) -> None:
        zone.closed_until_s = self._env.now + spot.zone_outage_s
        hit = [member for member in zone.members if zone.rng.random() < spot.zone_hit_fraction]
        self._schedule_event(zone, spot)
        self._warn(hit)


class _Zone:
    """A zone of spot GPUs: the replicas that have one, how many wait for one, and until when it grants none."""

    __slots__ = ("rng", "members", "n_expected", "closed_until_s")

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.members: dict[Hashable, None] = {}
        self.n_expected = 0
        self.closed_until_s = -inf
