"""A long log is searched by windows that stand for all of it, and finalists are held to the whole log."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sim.study.search.evidence import SLO_FACTORS, Evidence, Sample
from sim.study.search.family import Family
from sim.study.search.race import search
from sim.study.search.variation import Varied
from sim.study.search.windows import Windowed, Windows
from sim.units import DAY_S, HOUR_S, MINUTE_S


@pytest.fixture(scope="module")
def week():
    """A week of tasks, each hour of the day with a rate of its own, one hour far above all."""
    rng = np.random.default_rng(5)
    rates = np.tile(400 * (1.2 + np.sin(np.arange(24) / 24 * 2 * np.pi)), 7) * rng.gamma(20, 0.05, 168)
    rates[100] = 3_000
    arrived_s = np.sort(np.concatenate([h * HOUR_S + HOUR_S * rng.random(rng.poisson(r)) for h, r in enumerate(rates)]))
    return SimpleNamespace(arrived_s=arrived_s, counts=np.histogram(arrived_s, np.arange(169) * HOUR_S)[0])


def windows_of(week):
    calls = np.ones(len(week.arrived_s), np.int64)
    return Windows.of(week.arrived_s, 7 * DAY_S, calls, 100 * calls)


def test_windows_stand_for_every_hour_and_hold_the_worst(week):
    windows = windows_of(week)
    assert windows.length_s == HOUR_S and windows.worst == (100,) and 0.1 < windows.fraction < 0.7
    totals = []
    for number in range(300):
        drawn = windows.drawn(number)
        assert drawn[0].start_s == 100 * HOUR_S and drawn[0].weight == 1
        assert sum(window.weight for window in drawn) == pytest.approx(168)
        totals.append(sum(w.weight * week.counts[int(w.start_s // HOUR_S)] for w in drawn))
    true = week.counts.sum()
    standard_error = np.std(totals) / len(totals) ** 0.5
    assert abs(np.mean(totals) - true) < 4 * standard_error and np.std(totals) < 0.1 * true
    assert windows.drawn(7) == windows.drawn(7) != windows.drawn(8)


def test_a_dense_log_is_cut_finer_but_never_so_fine_that_a_stretch_is_mostly_lead_in():
    """A stretch of 5,000 calls: of 20,000 an hour a quarter of one; of a million an hour five minutes, not 18 s, for
    each is played after ten minutes that warm it up."""
    for per_hour, length_s in ((1_000, HOUR_S), (20_000, HOUR_S / 4), (1_000_000, 5 * MINUTE_S)):
        arrived_s = np.linspace(0, DAY_S, 1_000, endpoint=False)
        calls = np.full(1_000, per_hour * 24 / 1_000)
        assert Windows.of(arrived_s, DAY_S, calls, calls).length_s == pytest.approx(length_s)


class ByTheHour:
    """Misses a tenth of the calls of hours above 600, and costs 1 USD a month per call of the hour."""

    def __init__(self, week):
        self.counts, self.asked = week.counts, []

    def play(self, wanted):
        self.asked += wanted
        found = []
        for varied, number in wanted:
            changes = dict(varied.changes)
            begin_s = changes["arrivals.start_s"] + changes["warmup_s"]
            assert changes["arrivals.duration_s"] == changes["warmup_s"] + HOUR_S
            n = int(self.counts[round(begin_s / HOUR_S)])
            within = n if n <= 600 else n - n // 10
            counted = [within if factor >= 1 else 0 for factor in SLO_FACTORS]
            found.append(Sample(float(n), within, n, 1.0, n + number, None, tuple(counted)))
        return found


def test_a_replication_of_windows_estimates_the_whole_log(week):
    world = ByTheHour(week)
    windowed = Windowed(world, windows_of(week), 0.5)
    samples = windowed.play([("a", number) for number in range(200)])
    true_usd, true_misses = week.counts.mean(), (week.counts[week.counts > 600] // 10).sum() / week.counts.sum()
    misses = [1 - s.attained / s.calls for s in samples]
    assert np.mean([s.usd for s in samples]) == pytest.approx(true_usd, rel=0.01)
    assert np.mean(misses) == pytest.approx(true_misses, abs=4 * np.std(misses) / 200**0.5 + 0.001)
    assert all(s.slo_factor == 1.0 and s.attained <= s.calls for s in samples)
    numbers = {number for varied, number in world.asked if dict(varied.changes)["arrivals.start_s"] > 99 * HOUR_S
               and dict(varied.changes)["arrivals.start_s"] < 100 * HOUR_S}  # fmt: skip
    assert 0 in numbers, "the worst hour is the same run in every replication"
    assert isinstance(world.asked[0][0], Varied)


class Optimist:
    """In the search one replica less is enough than on fresh seeds."""

    def __init__(self, enough):
        self.enough = enough

    def play(self, wanted):
        return [Sample(100.0 * n, 1000 if n >= self.enough else 900, 1000, 1.0, number) for n, number in wanted]


def test_in_the_place_of_a_finalist_that_misses_there_comes_the_next_size():
    evidence = Evidence(Optimist(2), 0.99, 20)
    answer = search([Family("always on", (1, 2, 3, 4, 5), cost_rises=True)], evidence, Optimist(4))
    assert answer.winner is not None and answer.winner.candidate == 4
    assert search([Family("x", (1, 2), cost_rises=True)], Evidence(Optimist(2), 0.99, 20), Optimist(9)).winner is None
