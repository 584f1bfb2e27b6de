"""Intervals hold the truth as often as they say, even after stopping on them; `make proofs` measures it in full."""

import numpy as np
import pytest

from sim.report.attainment import Verdict
from sim.report.estimators import Support, wilson_bounds
from tests.proofs import coverage, errors
from tests.proofs.worlds import RARE_BURSTS, hybrid, m_m_1

MACRO_RUNS = 300


@pytest.fixture(scope="module")
def queue():
    return {metric.name: metric for metric in m_m_1(10_000, np.random.default_rng(3))}


def plausible(measured):
    """Bounds of the true coverage, at 99 %."""
    return wilson_bounds(round(measured.share * measured.macro_runs), measured.macro_runs, confidence=0.99)


def assert_kept(measured):
    """The measured coverage agrees with 0.93 to 0.97."""
    low, high = plausible(measured)
    assert low <= 0.97 and high >= 0.93, measured


STOPPED_ON = ("customers", "p99 of time in system", "mean time in system", "attained")


@pytest.mark.parametrize("name", STOPPED_ON)
def test_m_m_1_after_stopping(queue, name):
    assert_kept(coverage.stopped(queue[name], MACRO_RUNS, np.random.default_rng(1)))


@pytest.mark.parametrize("name", STOPPED_ON)
def test_two_replications_and_a_look_after_each_cover_too_little(queue, name):
    impatient = coverage.impatient(queue[name], 200, np.random.default_rng(2))
    assert plausible(impatient)[1] < 0.93, impatient


def test_m_m_1_differences_of_pairs(queue):
    metric = queue["total time less the rival's"]
    assert metric.support is Support.REAL
    for n in (5, 10, 30):
        assert_kept(coverage.fixed(metric, n, MACRO_RUNS, np.random.default_rng(n)))


def test_the_world_is_the_queue_that_it_says(queue):
    for metric in queue.values():
        error = metric.spread() / len(metric.numerators) ** 0.5
        measured = metric.numerators.sum() / metric.denominators.sum()
        assert abs(measured - metric.truth) < 3.5 * error


@pytest.mark.slow
def test_a_mean_of_ratios_answers_another_question():
    """What a million tokens cost where a run has many bursts or none: the price of all, not the runs' mean price."""
    metric = next(m for m in hybrid(120, RARE_BURSTS) if m.kind == "ratio of sums")
    assert_kept(coverage.fixed(metric, 20, MACRO_RUNS, np.random.default_rng(4)))
    wrong = coverage.by_method(metric, coverage.mean_of_ratios, 20, MACRO_RUNS, np.random.default_rng(4))
    assert plausible(wrong)[1] < 0.7, wrong


def test_the_judgement_errs_as_seldom_as_it_says():
    """Where a third of the replications fall short, or all a little, at most one verdict in forty is wrong."""
    for world in errors.WORLDS[:7]:
        rng, wrong = np.random.default_rng(5), errors.wrong(world)
        for n in (3, 10, 20):
            found = errors.outcomes(world, n, 200, rng)
            assert wilson_bounds(found[wrong], 200, confidence=0.99)[0] <= 0.025, (world.name, n, found)
        found, _ = errors.sequential_outcomes(world, 100, rng)
        assert wilson_bounds(found[wrong], 100, confidence=0.99)[0] <= 0.025, (world.name, found)


def test_all_of_three_errs_often():
    """The wrong twin: yes if each of three replications reaches the target."""
    world = errors.WORLDS[4]
    found = errors.naive_outcomes(world, 300, np.random.default_rng(6))
    assert found[Verdict.MEETS] > 60  # a third of the hours lose 38 % of their calls
