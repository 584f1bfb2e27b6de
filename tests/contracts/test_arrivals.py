"""Every arrival process keeps the contract that `Arrivals` states: sorted, reproducible, as many as said."""

import tracemalloc
from itertools import islice

import numpy as np
import pytest

from sim.randomness import Streams
from sim.units import WEEK_S
from sim.workload.arrivals.base import Arrivals, ServerDriven, Source
from sim.workload.arrivals.clients import Clients
from tests.agree import assert_agrees, assert_disagrees
from tests.contracts.found import load, names

PROCESSES = names("arrivals", Source, but=ServerDriven)  # the moments of those are the server's


@pytest.fixture(params=PROCESSES)
def arrivals(request, tmp_path):
    return load(Source, "arrivals", request.param, tmp_path)


def all_times(arrivals, seed, horizon_s):
    blocks = list(arrivals.times(Streams(seed).generator("arrivals"), horizon_s))
    assert max((len(b) for b in blocks), default=0) <= 5000, "blocks must stay small"
    return np.concatenate(blocks) if blocks else np.empty(0)


def expecting(arrivals: Arrivals, n: float) -> float:
    """The horizon in which this many tasks are expected."""
    return n / arrivals.mean_rate_per_s


def thinned(arrivals: Arrivals) -> Arrivals:
    """The process at a rate that makes a week quick to draw, if its rate is a field, or a field of a field."""
    return scaled(arrivals, 0.021 / arrivals.mean_rate_per_s)


def scaled(arrivals: Arrivals, factor: float) -> Arrivals:
    if "process" in type(arrivals).model_fields:
        changed = {"process": scaled(arrivals.process, factor)}
    elif isinstance(arrivals, Clients):
        each = arrivals.clients.items()
        changed = {"clients": {n: c.model_copy(update={"arrivals": scaled(c.arrivals, factor)}) for n, c in each}}
    elif "rates_per_s" in type(arrivals).model_fields:
        changed = {"rates_per_s": tuple(rate * factor for rate in arrivals.rates_per_s)}
    elif "rate_per_s" in type(arrivals).model_fields:
        changed = {"rate_per_s": arrivals.rate_per_s * factor}
    else:
        changed = {}
    return arrivals.model_copy(update=changed)


def test_moments_are_sorted_and_inside_the_horizon(arrivals):
    for horizon_s in (1e-3, 77.7, expecting(arrivals, 1000.0)):
        times = all_times(arrivals, 1, horizon_s)
        assert times.dtype == np.float64
        assert (np.diff(times) >= 0).all()
        assert ((times >= 0) & (times < horizon_s)).all()
    assert len(times) > 100


def test_the_same_stream_gives_the_same_moments_and_another_stream_others(arrivals):
    first, again, other = (all_times(arrivals, seed, expecting(arrivals, 500.0)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) is not arrivals.is_random


def test_a_longer_horizon_only_adds_later_moments(arrivals):
    short_s = expecting(arrivals, 250.0)
    short, long = all_times(arrivals, 1, short_s), all_times(arrivals, 1, 2 * short_s)
    assert np.allclose(short, long[: len(short)], rtol=0, atol=0.2)  # diurnal: a cut minute has its own flat rate
    assert len(long) == len(short) or long[len(short)] >= short_s


def test_as_many_as_stated(arrivals):
    if arrivals.ends_by_itself and not arrivals.is_random:
        n = len(all_times(arrivals, 1, arrivals.default_horizon_s))
        assert n / arrivals.default_horizon_s == pytest.approx(arrivals.mean_rate_per_s)
        return
    rare = thinned(arrivals)
    horizon_s = expecting(rare, 12_000)
    if rare.period_s is not None:
        horizon_s = np.ceil(horizon_s / rare.period_s) * rare.period_s
    rates = [len(all_times(rare, seed, horizon_s)) / horizon_s for seed in range(12)]
    assert_agrees(rates, rare.mean_rate_per_s, within=0.1)
    assert_disagrees(rates, 1.2 * rare.mean_rate_per_s, within=0.1)


def test_as_bursty_as_stated(arrivals):
    window_s = 600.0
    if not arrivals.is_random or arrivals.index_of_dispersion(window_s) is None:
        pytest.skip("states nothing")
    arrivals = thinned(arrivals)
    expected = arrivals.mean_rate_per_s * window_s
    measured = []
    for seed in range(16):
        times = all_times(arrivals, seed, WEEK_S)
        counts = np.bincount((times // window_s).astype(int), minlength=int(WEEK_S / window_s))
        measured.append(((counts - expected) ** 2).mean() / expected)
    assert_agrees(measured, arrivals.index_of_dispersion(window_s), within=0.2)
    assert_disagrees(measured, 1.4 * arrivals.index_of_dispersion(window_s), within=0.2)


@pytest.mark.parametrize("n", [0, 1, 5000, 10_007])
def test_exactly_as_many_as_asked_for(arrivals, n):
    if "exact_tasks" not in type(arrivals).model_fields:
        pytest.skip("has no exact_tasks")
    arrivals = arrivals.model_copy(update={"exact_tasks": n})
    for seed, horizon_s in ((1, WEEK_S), (2, 20_000.5)):
        times = all_times(arrivals, seed, horizon_s)
        assert len(times) == n
        assert (np.diff(times) >= 0).all() and ((times >= 0) & (times < horizon_s)).all()


def test_memory_does_not_grow_with_the_horizon(arrivals):
    if arrivals.ends_by_itself:
        pytest.skip("ends")
    blocks = arrivals.times(Streams(1).generator("arrivals"), expecting(arrivals, 2e10))
    first = next(block for block in blocks if len(block))
    tracemalloc.start()
    for block in islice(blocks, 300):
        last = block if len(block) else first
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert last[0] > first[-1]
    assert peak_bytes < 2e6
