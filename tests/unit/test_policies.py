"""Scalers, routers, placements and victim rules begin a run in the same way, and each has its own chance."""

from __future__ import annotations

from typing import Literal

import pytest

from sim.fleet.victims.victims import Victim
from sim.routing.one_backend import FleetOnly
from sim.routing.placement.placement import Placement
from sim.routing.router import Router
from sim.scaling.always_on import AlwaysOn
from sim.scenarios import compose_config, parse
from sim.simulation import simulate

BUSY = ("scaling.n_replicas=3", "arrivals.rate_per_s=3", "horizon_s=60", "cold_start=instant")


def played(**policies):
    return simulate(parse(compose_config(*BUSY)).model_copy(update=policies), measure_peak=False).facts.requests


class Noted:
    """Notes how a policy was begun: the time, and the first number of its chance."""

    started: list = []


class NotedScaler(AlwaysOn):
    def start(self, clock, rng):
        Noted.started.append(("scaler", clock.now_s, rng.random()))
        return self


class NotedVictim(Victim):
    def start(self, clock, rng):
        Noted.started.append(("victim", clock.now_s, rng.random()))
        return self


class NotedRouter(FleetOnly):
    def start(self, clock, rng):
        Noted.started.append(("router", clock.now_s, rng.random()))
        return self


class Diary(Placement):
    """Remembers in one run what it chose: the replica after the last one. Its own time runs, too."""

    def start(self, clock, rng):
        Noted.started.append(("placement", clock.now_s, rng.random()))
        return DiaryAtWork(clock)


class DiaryAtWork:
    def __init__(self, clock):
        self.clock, self.n, self.alarms_s = clock, 0, []
        clock.call_later(5.0, self.ring, "alarm")

    def ring(self, word):
        assert word == "alarm"
        self.alarms_s.append(self.clock.now_s)
        Noted.started.append((word, self.clock.now_s, None))

    def choose(self, request, replicas):
        self.n += 1
        return replicas[self.n % len(replicas)]


def test_every_policy_is_begun_once_a_run_with_the_clock_and_a_stream_of_its_own():
    kinds = dict(kind="variant")
    policies = dict(
        scaling=NotedScaler(n_replicas=3), victim=NotedVictim(**kinds), routing=NotedRouter(), placement=Diary(**kinds)
    )
    Noted.started = []
    first = played(**policies)
    begun, Noted.started = Noted.started, []
    assert sorted(name for name, *_ in begun) == ["alarm", "placement", "router", "scaler", "victim"]
    assert all(now_s == 0.0 for name, now_s, _ in begun if name != "alarm") and ("alarm", 5.0, None) in begun
    chances = [chance for *_, chance in begun if chance is not None]
    assert len(set(chances)) == 4, "no two policies share their chance"
    second = played(**policies)
    assert Noted.started == begun, "the same run has the same chance"
    assert (first["replica_id"] == second["replica_id"]).all(), "nothing is remembered from one run to the next"


def test_a_policy_that_draws_does_not_change_the_numbers_of_others():
    plain = played()
    drawing = played(scaling=NotedScaler(n_replicas=3), routing=NotedRouter())
    assert all((plain[name] == drawing[name]).all() for name in ("arrived_s", "finished_s", "replica_id"))


@pytest.mark.filterwarnings("ignore:Field name")
def test_a_field_cannot_take_the_place_of_start():
    with pytest.raises(TypeError, match="Early.start: a policy cannot have a field `start`"):

        class Early(Router):
            kind: Literal["early"] = "early"
            start: float = 0.0
