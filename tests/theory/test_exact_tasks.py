"""Exactly n tasks: the process is conditioned on n, so a burst of four times the mean plays as four times the mean.

Reference: paths drawn freely and weighted by the likelihood of n tasks, M^n e^-M (importance sampling), where M is the
integral of the rate over the horizon.
"""

from __future__ import annotations

import numpy as np
import pytest

from sim.schema import ConfigError
from sim.workload.arrivals.bursty import Bursty
from sim.workload.arrivals.superposed import Superposed
from tests.agree import assert_agrees, assert_disagrees

BURSTS = dict(rate_per_s=1.0, burst_factor=4, mean_burst_s=60, burst_time_fraction=0.1)
N_TASKS, HORIZON_S = 1200, 1200.0


def mass(arrivals, seed) -> float:
    return sum(float(masses.sum()) for _, masses in arrivals._path(seed, HORIZON_S))


def played_factors(arrivals, n_paths: int) -> np.ndarray:
    """Burst rate over the mean rate of the n tasks, of paths as they are played."""
    seeds = (arrivals._seed_of_conditioned_path(seed, N_TASKS, HORIZON_S) for seed in range(n_paths))
    return np.array([arrivals.burst_factor * N_TASKS / mass(arrivals, seed) for seed in seeds])


@pytest.mark.parametrize(
    "make",
    [
        Bursty,
        pytest.param(lambda **keys: Superposed(**keys | dict(rate_per_s=0.2), n_sources=5), marks=pytest.mark.slow),
    ],
)
def test_the_burst_factor_is_that_of_paths_weighted_by_their_likelihood(make):
    arrivals = make(**BURSTS)
    masses = np.array([mass(arrivals, seed) for seed in range(8_000)])
    weights = np.exp(N_TASKS * np.log(masses / N_TASKS) - (masses - N_TASKS))
    factors = arrivals.burst_factor * N_TASKS / masses
    expected = float((weights * factors).sum() / weights.sum())
    spread = float(np.sqrt((weights * (factors - expected) ** 2).sum() / weights.sum()))
    assert expected == pytest.approx(4.005, abs=0.02) and spread == pytest.approx(0.115, rel=0.1)
    played = played_factors(arrivals, 400)
    assert_agrees(played, expected, within=0.02)
    assert played.std() == pytest.approx(spread, rel=0.15)


def test_a_path_drawn_freely_and_rescaled_would_be_noticed():
    arrivals = Bursty(**BURSTS)
    rescaled = [arrivals.burst_factor * N_TASKS / mass(arrivals, seed) for seed in range(400)]
    assert_disagrees(rescaled, 4.005, within=0.02)
    assert np.std(rescaled) > 1


def test_the_rate_asked_for_does_not_matter_when_the_number_of_tasks_is_given():
    slow, fast = (Bursty(**BURSTS | dict(rate_per_s=rate), exact_tasks=500) for rate in (0.01, 100.0))
    one, other = (
        np.concatenate(list(arrivals.times(np.random.default_rng(3), HORIZON_S))) for arrivals in (slow, fast)
    )
    np.testing.assert_allclose(one, other)


def test_what_hardly_ever_happens_is_refused_in_one_line():
    arrivals = Bursty(rate_per_s=1, burst_factor=10, mean_burst_s=1e7, burst_time_fraction=0.1, exact_tasks=10_000)
    with pytest.raises(ConfigError, match="arrivals.exact_tasks = 10000: none of 1000 paths"):
        list(arrivals.times(np.random.default_rng(1), 60.0))
