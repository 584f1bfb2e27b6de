"""Every scaler in conf/scaling and every cold start in conf/cold_start keeps the contract of its kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from sim.fleet.cold_start import STAGES, ColdStart
from sim.fleet.scaling import Scaler
from sim.schema import one_of, parse_node

CONF = Path(__file__).resolve().parents[2] / "conf"
SCALING = sorted((CONF / "scaling").glob("*.yaml"))
COLD_STARTS = sorted((CONF / "cold_start").glob("*.yaml"))


class StandInFleet:
    """A fleet view at one moment, which refuses to be changed."""

    __slots__ = ("now_s", "n_ready", "n_starting", "n_waiting", "n_outstanding", "idle_s")

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

    def grown_to(self, target):
        """The same fleet after everything that was asked for has been ordered."""
        starting = self.n_starting + max(0, target - self.n_ready - self.n_starting)
        return StandInFleet(
            self.n_ready, starting, self.n_waiting, self.n_outstanding - self.n_waiting, self.idle_s, self.now_s
        )


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


@pytest.fixture(params=SCALING, ids=lambda path: path.stem)
def scaler(request):
    return TypeAdapter(one_of(Scaler)).validate_python(yaml.safe_load(request.param.read_text()))


def test_there_are_files_to_test():
    assert {path.stem for path in SCALING} >= {"always_on", "scale_to_zero", "warm_floor", "none"}
    assert len(COLD_STARTS) >= 3


def test_the_answer_stays_within_the_stated_bounds(scaler):
    assert 0 <= scaler.min_replicas <= scaler.initial_replicas <= scaler.max_replicas
    for view in some_fleets(scaler.max_replicas):
        target = scaler.target_replicas(view)
        assert isinstance(target, int)
        assert scaler.min_replicas <= target <= scaler.max_replicas


def test_the_same_view_gives_the_same_answer(scaler):
    views = list(some_fleets(scaler.max_replicas))
    forwards = [scaler.target_replicas(view) for view in views]
    backwards = [scaler.target_replicas(view) for view in reversed(views)]
    assert forwards == backwards[::-1]


def test_replicas_on_their_way_are_not_ordered_twice(scaler):
    for view in some_fleets(scaler.max_replicas):
        target = scaler.target_replicas(view)
        if target > view.n_ready + view.n_starting:
            assert scaler.target_replicas(view.grown_to(target)) == target


def test_more_load_never_means_fewer_replicas(scaler):
    for ready in range(scaler.max_replicas + 1):
        targets = [
            scaler.target_replicas(StandInFleet(ready, 0, load // 2, load - load // 2)) for load in range(0, 2000, 7)
        ]
        assert targets == sorted(targets)


def test_a_fleet_that_can_grow_is_asked_when_work_arrives(scaler):
    assert scaler.tick_s is None or scaler.tick_s > 0
    assert scaler.idle_timeout_s is None or scaler.idle_timeout_s >= 0
    if scaler.max_replicas > scaler.min_replicas:
        assert scaler.asks_on_arrival or scaler.tick_s is not None
        swamped = StandInFleet(n_ready=scaler.min_replicas, n_waiting=10**6, n_running=0)
        assert scaler.target_replicas(swamped) == scaler.max_replicas
        assert scaler.asks_on_idle or scaler.tick_s or scaler.idle_timeout_s is not None


@pytest.fixture(params=COLD_STARTS, ids=lambda path: path.stem)
def cold_start(request):
    return parse_node(ColdStart, yaml.safe_load(request.param.read_text()))


def test_a_cold_start_goes_through_its_stages_in_order(cold_start):
    drawn = cold_start.draw(np.random.default_rng(1), 16e9)
    assert tuple(stage for stage, _ in drawn) == STAGES
    assert all(stage.is_cold_start and seconds >= 0 for stage, seconds in drawn)
    assert drawn == cold_start.draw(np.random.default_rng(1), 16e9)


def test_a_cold_start_takes_the_mean_it_states(cold_start):
    rng = np.random.default_rng(2)
    totals = [sum(s for _, s in cold_start.draw(rng, 16e9)) for _ in range(4000)]
    mean = cold_start.mean_s(16e9)
    assert np.mean(totals) == pytest.approx(mean, rel=1e-12, abs=4.5 * np.std(totals) / np.sqrt(len(totals)))
    assert mean >= cold_start.median_s(16e9)


def test_larger_models_start_no_faster(cold_start):
    means = [cold_start.mean_s(weight_bytes) for weight_bytes in (0.0, 16e9, 140e9)]
    assert means == sorted(means)
