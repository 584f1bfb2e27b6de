"""Every file in conf/arrivals: sorted moments in the horizon, reproducible, as many and as bursty as stated."""

import tracemalloc
from itertools import islice

import numpy as np
import pytest

from sim.randomness import Streams
from sim.units import WEEK_S
from sim.workload.arrivals.cox import Arrivals, Bursty, Diurnal, Steady
from sim.workload.arrivals.superposed import Superposed
from tests.agree import assert_agrees, assert_disagrees
from tests.contracts.workload_files import load, names

PROCESSES = [name for name in names("arrivals") if name != "closed_loop"]  # its moments are the server's
SYNTHETIC = [name for name in PROCESSES if name != "replay"]


@pytest.fixture(params=PROCESSES)
def arrivals(request, tmp_path):
    return load(Arrivals, "arrivals", request.param, tmp_path)


def all_times(arrivals, seed, horizon_s):
    blocks = list(arrivals.times(Streams(seed).generator("arrivals"), horizon_s))
    assert max((len(b) for b in blocks), default=0) <= 5000, "blocks must stay small"
    return np.concatenate(blocks) if blocks else np.empty(0)


def test_moments_are_sorted_and_inside_the_horizon(arrivals):
    for horizon_s in (1e-3, 77.7, 2000.0):
        times = all_times(arrivals, 1, horizon_s)
        assert times.dtype == np.float64
        assert (np.diff(times) >= 0).all()
        assert ((times >= 0) & (times < horizon_s)).all()
    assert len(times) > 100


def test_the_same_stream_gives_the_same_moments_and_another_stream_others(arrivals):
    first, again, other = (all_times(arrivals, seed, 1000.0) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    if arrivals.kind != "replay":  # a log is what it is
        assert not np.array_equal(first, other)


def test_a_longer_horizon_only_adds_later_moments(arrivals):
    short, long = all_times(arrivals, 1, 500.0), all_times(arrivals, 1, 1000.0)
    assert np.allclose(short, long[: len(short)], rtol=0, atol=0.2)  # diurnal: a cut minute has its own flat rate
    assert len(long) == len(short) or long[len(short)] >= 500.0


def test_as_many_as_stated(arrivals):
    if arrivals.kind == "replay":
        n = len(all_times(arrivals, 1, arrivals.default_horizon_s))
        assert n / arrivals.default_horizon_s == pytest.approx(arrivals.mean_rate_per_s)
        return
    rare = arrivals.model_copy(update={"rate_per_s": 0.02})
    rates = [len(all_times(rare, seed, WEEK_S)) / WEEK_S for seed in range(12)]
    assert_agrees(rates, rare.mean_rate_per_s, within=0.1)
    assert_disagrees(rates, 1.2 * rare.mean_rate_per_s, within=0.1)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_as_bursty_as_stated(name, tmp_path):
    arrivals = load(Arrivals, "arrivals", name, tmp_path, rate_per_s=0.05)
    window_s = 600.0
    measured = []
    for seed in range(16):
        times = all_times(arrivals, seed, WEEK_S)
        counts = np.bincount((times // window_s).astype(int), minlength=int(WEEK_S / window_s))
        measured.append(((counts - arrivals.mean_rate_per_s * window_s) ** 2).mean() / (arrivals.mean_rate_per_s * 600))
    assert_agrees(measured, arrivals.index_of_dispersion(window_s), within=0.2)
    assert_disagrees(measured, 1.4 * arrivals.index_of_dispersion(window_s), within=0.2)


@pytest.mark.parametrize("name", SYNTHETIC)
@pytest.mark.parametrize("n", [0, 1, 5000, 10_007])
def test_exactly_as_many_as_asked_for(name, n, tmp_path):
    arrivals = load(Arrivals, "arrivals", name, tmp_path, exact_tasks=n)
    for seed, horizon_s in ((1, WEEK_S), (2, 20_000.5)):
        times = all_times(arrivals, seed, horizon_s)
        assert len(times) == n
        assert (np.diff(times) >= 0).all() and ((times >= 0) & (times < horizon_s)).all()


@pytest.mark.parametrize("kind", [Steady, Bursty, Superposed, Diurnal])
def test_memory_does_not_grow_with_the_horizon(kind):
    more = {
        Steady: {},
        Bursty: {"burst_factor": 3, "mean_burst_s": 5, "burst_time_fraction": 0.2},
        Superposed: {"burst_factor": 3, "mean_burst_s": 5, "burst_time_fraction": 0.2, "n_sources": 9},
        Diurnal: {"profile": tuple(range(1, 25))},
    }
    arrivals = kind(rate_per_s=20, **more[kind])
    blocks = arrivals.times(Streams(1).generator("arrivals"), 1e9)
    first = next(blocks)
    tracemalloc.start()
    for block in islice(blocks, 300):
        last = block
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert last[0] > first[-1]
    assert peak_bytes < 2e6
