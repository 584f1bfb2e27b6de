"""When GPUs fail and when their provider takes them back."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import inf

from sim.clock import Wake
from sim.fleet.supply.reliability import Reliability
from sim.randomness import Streams
from sim.units import HOUR_S


class Hazards:
    """The failures and interruptions of one run; tells the fleet by `fail(members)` and `warn(members)`.

    A member is whatever the fleet calls a replica. `place` when it is ordered, `there` once it has its GPU, `gone` when
    it has left. Lifetimes are drawn in the order in which GPUs are had.
    """

    def __init__(
        self,
        env,
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
                self._schedule_event(zone)

    def place(self, member: Hashable, refused: bool = False) -> tuple[float, bool]:
        """Find a zone for a new replica: (seconds until one grants a GPU, whether it is one on demand instead).

        `refused`: the first attempt was.
        """
        spot = self._spot
        if spot is None:
            return 0.0, False
        now = self._env.now
        open_zones = [zone for zone in self._zones if zone.closed_until_s <= now]
        if spot.on_demand_fallback and (refused or not open_zones):
            return 0.0, True
        if open_zones:
            zone = min(open_zones, key=lambda zone: len(zone.members) + zone.n_expected)
        else:
            zone = min(self._zones, key=lambda zone: zone.closed_until_s)
        zone.n_expected += 1
        self._zone_of[member] = self._zones.index(zone)
        return max(0.0, zone.closed_until_s - now), False

    def there(self, member: Hashable) -> None:
        """A replica has its GPU, from now on."""
        if self._mean_s_to_failure is not None:
            self._later(float(self._failures.exponential(self._mean_s_to_failure)), self._fail, member)
        at = self._zone_of.get(member)
        if at is None:
            return
        zone, spot = self._zones[at], self._spot
        zone.n_expected -= 1
        zone.members[member] = None
        luck = float(self._lifetimes.exponential())
        if spot.zone_event_fraction < 1:
            self._later(luck * spot.mean_lifetime_s / (1 - spot.zone_event_fraction), self._warn, member)

    def gone(self, member: Hashable) -> None:
        """A replica has left, or will not come."""
        at = self._zone_of.pop(member, None)
        if at is not None:
            zone = self._zones[at]
            if member in zone.members:
                del zone.members[member]
            else:
                zone.n_expected -= 1

    def _later(self, delay_s: float, tell: Callable[[list[Hashable]], None], member: Hashable) -> None:
        Wake(lambda _: tell([member])).schedule(self._env, delay_s)

    def _schedule_event(self, zone: _Zone) -> None:
        spot = self._spot
        luck = float(zone.rng.exponential())
        if spot.zone_event_fraction > 0:
            mean_s = spot.mean_lifetime_s * spot.zone_hit_fraction / spot.zone_event_fraction
            Wake(lambda _: self._event(zone)).schedule(self._env, luck * mean_s)

    def _event(self, zone: _Zone) -> None:
        spot = self._spot
        zone.closed_until_s = self._env.now + spot.zone_outage_s
        hit = [member for member in zone.members if zone.rng.random() < spot.zone_hit_fraction]
        self._schedule_event(zone)
        self._warn(hit)


class _Zone:
    """Where spot GPUs are: who has one, how many are on their way, and until when there are no more."""

    __slots__ = ("rng", "members", "n_expected", "closed_until_s")

    def __init__(self, rng):
        self.rng = rng
        self.members: dict[Hashable, None] = {}
        self.n_expected = 0
        self.closed_until_s = -inf
