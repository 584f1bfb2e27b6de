"""Every scaler keeps the contract that `Scaler` states."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sim.scaling.scaler import Scaler
from tests.at_work import start
from tests.contracts.found import load, names
from tests.scripted_fleet import ScriptedFleet

CONF = Path(__file__).resolve().parents[2] / "conf"
SCALING = names("scaling", Scaler)


class StandInFleet:
    """A fleet view at one moment, which refuses to be changed. Its load has always been what it is now."""

    __slots__ = ("now_s", "n_ready", "n_starting", "n_waiting", "n_outstanding", "idle_s")
    finished_requests = finished_output_tokens = 0

    def __init__(self, n_ready=0, n_starting=0, n_waiting=0, n_running=0, idle_s=(), now_s=0.0):
        fields = dict(now_s=now_s, n_ready=n_ready, n_starting=n_starting, n_waiting=n_waiting)
        for name, value in (fields | dict(n_outstanding=n_waiting + n_running, idle_s=tuple(idle_s))).items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name, value):
        raise AssertionError(f"a policy set {name} of its view")

    @property
    def n_idle(self):
        return len(self.idle_s)

    def n_idle_longer_than(self, idle_s):
        return sum(1 for s in self.idle_s if s >= idle_s)

    @property
    def replicas(self):
        """As many as are ready, each with its part of the running requests, of which ten fill its KV memory."""
        running = self.n_outstanding - self.n_waiting
        used = min(1.0, running / self.n_ready / 10) if self.n_ready else 0.0
        return (SimpleNamespace(kv_used_fraction=used),) * self.n_ready

    @property
    def outstanding_request_seconds(self):
        return self.n_outstanding * self.now_s

    @property
    def arrived_requests(self):
        return self.n_outstanding

    @property
    def arrived_input_tokens(self):
        return 500 * self.n_outstanding

    @property
    def oldest_wait_s(self):
        return self.now_s if self.n_waiting else 0.0

    def replica_requests_per_s(self, input_tokens, output_tokens, itl_s):
        return 500 / (input_tokens + output_tokens)

    def grown_to(self, target, at_once=False):
        """The same fleet after everything that was asked for has been ordered, or is ready `at_once`."""
        more = max(0, target - self.n_ready - self.n_starting)
        ready, starting = (self.n_ready + more, self.n_starting) if at_once else (self.n_ready, self.n_starting + more)
        running = self.n_outstanding - self.n_waiting
        return StandInFleet(ready, starting, self.n_waiting, running, self.idle_s, self.now_s)


def some_fleets(max_replicas, n=300):
    """Views of fleets of every size up to the bound and a little beyond, idle, busy and swamped."""
    rng = np.random.default_rng(7)
    yield StandInFleet()
    for _ in range(n):
        ready = int(rng.integers(0, max_replicas + 3))
        starting = int(rng.integers(0, max(0, max_replicas - ready) + 1))
        idle = int(rng.integers(0, ready + 1))
        load = int(rng.choice([0, 1, 10, 1000]))
        yield StandInFleet(
            n_ready=ready,
            n_starting=starting,
            n_waiting=int(rng.integers(0, load + 1)),
            n_running=int(rng.integers(0, load + 1)) if idle < ready else 0,
            idle_s=rng.exponential(100.0, idle),
            now_s=float(rng.exponential(1e5)),
        )


@pytest.fixture(params=SCALING)
def scaler(request, tmp_path):
    return load(Scaler, "scaling", request.param, tmp_path)


def test_there_are_files_to_test():
    assert set(SCALING) >= {"always_on", "scale_to_zero", "warm_floor", "none", "knative_kpa"}


def ask_once(scaler, view):
    return start(scaler).target_replicas(view)


def test_the_answer_stays_within_the_stated_bounds(scaler):
    assert 0 <= scaler.min_replicas <= scaler.initial_replicas <= scaler.max_replicas
    lasting = start(scaler)
    for view in sorted(some_fleets(scaler.max_replicas), key=lambda view: view.now_s):
        for target in (ask_once(scaler, view), lasting.target_replicas(view)):
            assert isinstance(target, int)
            assert scaler.min_replicas <= target <= scaler.max_replicas


def test_the_same_views_give_the_same_answers(scaler):
    """A rule without memory in any order; one with memory in the same order, whatever another one was shown."""
    views = sorted(some_fleets(scaler.max_replicas), key=lambda view: view.now_s)
    first, second = start(scaler), start(scaler)
    assert [first.target_replicas(view) for view in views] == [second.target_replicas(view) for view in views]
    forwards = [ask_once(scaler, view) for view in views]
    assert forwards == [ask_once(scaler, view) for view in reversed(views)][::-1]


def settled(scaler, view, at_once: bool) -> int:
    """Its size when the fleet has been asked at one moment until it wants no more; orders are ready at once or not."""
    at_work = start(scaler)
    for _ in range(scaler.max_replicas + 1):
        view = view.grown_to(at_work.target_replicas(view), at_once)
    return view.n_ready + view.n_starting


def test_replicas_on_their_way_are_not_ordered_twice(scaler):
    """A fleet whose replicas take time to start orders no more of them than one whose replicas are there at once."""
    for view in some_fleets(scaler.max_replicas):
        assert settled(scaler, view, at_once=False) <= settled(scaler, view, at_once=True)


def test_more_load_never_means_fewer_replicas(scaler):
    for ready in range(scaler.max_replicas + 1):
        targets = [
            ask_once(scaler, StandInFleet(ready, 0, load // 2, load - load // 2, now_s=60.0))
            for load in range(0, 2000, 7)
        ]
        assert targets == sorted(targets)


def test_a_fleet_that_can_grow_is_asked_when_work_arrives(scaler):
    if scaler.max_replicas > scaler.min_replicas:
        assert scaler.asks_on_arrival or scaler.tick_s is not None
        assert scaler.asks_on_idle or scaler.tick_s or scaler.idle_timeout_s is not None


def scripted(scaler):
    return ScriptedFleet(scaler, start_s=40.0, capacity=lambda *_: 1e-3)


def test_a_load_that_lasts_gets_all_replicas_and_none_is_given_back_meanwhile(scaler):
    fleet = scripted(scaler)
    sizes = [n for _, n in fleet.play([(3.0, 10**6, 10**6)], scaler.settles_within_s, stop_at=scaler.max_replicas)]
    assert sizes == sorted(sizes)
    assert fleet.n_ready + fleet.n_starting == scaler.max_replicas


def test_a_fleet_without_requests_returns_to_its_floor(scaler):
    fleet = scripted(scaler)
    fleet.play([(3.0, 10**6, 10**6)], scaler.settles_within_s, stop_at=scaler.max_replicas)
    start_s = fleet.now_s + 100
    fleet.play([(start_s, 0)], start_s + scaler.settles_within_s, stop_at=scaler.min_replicas)
    assert fleet.n_ready + fleet.n_starting == scaler.min_replicas
