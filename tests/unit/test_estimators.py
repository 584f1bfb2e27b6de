"""Estimates over replications: the right quantity, bounds a metric can have, and silence where evidence is lacking."""

import math

import numpy as np
import pytest

from sim.report.estimators import (
    Interval,
    Support,
    Sureness,
    mean,
    paired_difference,
    paired_ratio_difference,
    ratio_of_sums,
    wilson_bounds,
)

INF = float("inf")


def test_textbook_interval():
    """t(0.975, 2) = 4.303: the half-width of 1, 2, 3 is 4.303 / sqrt(3), where nothing bounds or skews it."""
    estimate = mean([1.0, 2.0, 3.0], Support.REAL)
    assert estimate.mean == 2 and estimate.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)


def test_a_unit_cost_is_what_all_units_cost_over_all_units():
    """Two quiet days of $10 for 1 Mtok and a busy one of $40 for 18: $3 per Mtok, not the $7.41 of the days' mean."""
    per_mtok = ratio_of_sums([10.0, 10.0, 40.0], [1.0, 1.0, 18.0])
    assert per_mtok.mean == pytest.approx(3.0)
    assert mean([10.0, 10.0, 40 / 18]).mean == pytest.approx(7.407, rel=1e-3)


def test_a_ratio_with_equal_denominators_is_the_mean():
    numerators = [3.0, 5.0, 4.0, 7.0]
    of_sums, of_values = ratio_of_sums(numerators, [2.0] * 4), mean([n / 2 for n in numerators])
    assert of_sums.mean == pytest.approx(of_values.mean)
    assert (of_sums.low, of_sums.high) == pytest.approx((of_values.low, of_values.high))


def test_what_rises_with_its_denominator_is_known_better_than_either():
    """Cost in proportion to tokens has no spread per token, however much both scatter."""
    tokens = [1.0, 4.0, 2.0, 9.0]
    assert ratio_of_sums([2 * t for t in tokens], tokens).half_width == pytest.approx(0, abs=1e-9)
    assert mean(tokens).half_width > 1


@pytest.mark.parametrize(
    ("support", "floor", "ceiling"), [(Support.NON_NEGATIVE, 0.0, INF), (Support.FRACTION, 0.0, 1.0)]
)
def test_bounds_stay_where_the_metric_can_be(support, floor, ceiling):
    rng = np.random.default_rng(3)
    for _ in range(300):
        values = rng.beta(0.3, 0.3, rng.integers(2, 8)).tolist()
        estimate = mean(values, support)
        assert floor <= estimate.low <= estimate.mean <= estimate.high <= ceiling


def test_a_difference_may_be_negative():
    assert mean([-1.0, 1.0, -2.0], Support.REAL).low < -1


def test_a_fraction_and_its_complement_say_the_same():
    hits, trials = [90, 99, 100, 97], [100, 100, 100, 100]
    share = ratio_of_sums(hits, trials, Support.FRACTION)
    rest = ratio_of_sums([t - h for h, t in zip(hits, trials, strict=True)], trials, Support.FRACTION)
    assert (share.low, share.mean, share.high) == pytest.approx((1 - rest.high, 1 - rest.mean, 1 - rest.low))


def test_what_scatters_more_than_its_mean_is_unknown():
    """A p99 of 5.61 with a half-width of 8 is no interval: it says that so few replications do not tell."""
    assert mean([2.0, 3.0, 12.0]).sureness is Sureness.UNKNOWN
    assert Interval(5.0, 0.0, 9.0, 12).sureness is Sureness.UNKNOWN  # cut off at 0: its width is no less than its mean
    assert mean([5.0, 5.5, 6.0]).sureness is Sureness.KNOWN
    assert mean([5.0, 5.5]).sureness is Sureness.FEW
    assert mean([0.5] * 9, Support.FRACTION).sureness is Sureness.FEW
    assert mean([0.5] * 10, Support.FRACTION).sureness is Sureness.KNOWN
    assert mean([5.0]).sureness is Sureness.UNTESTED
    assert mean([]).sureness is Sureness.ABSENT
    assert mean([-1.0, 1.5], Support.REAL).sureness is Sureness.KNOWN  # a difference near 0 is a finding


def test_what_cannot_be_said_is_not_said():
    assert mean([]).mean is None and mean([None, math.nan]).mean is None
    assert mean([3.0, None]) == Interval(3.0, replications=1)
    unbounded = mean([3.0, INF, 4.0])
    assert unbounded.mean == INF and unbounded.half_width is None
    same = mean([2.0, None, 2.0])
    assert same.mean == 2 and same.half_width == 0 and same.replications == 2
    assert ratio_of_sums([1.0, 2.0], [0.0, 0.0]).mean is None
    all_in_one = ratio_of_sums([1.0, 9.0], [0.0, 3.0])
    assert all_in_one.mean == pytest.approx(10 / 3) and all_in_one.low is None
    with pytest.raises(ValueError, match="1 and 2"):
        ratio_of_sums([1.0], [1.0, 2.0])


def test_identical_values_computed_twice_have_no_spread():
    values = [0.1 + 0.2, 0.3, 0.3]
    assert mean(values).half_width == 0


def test_hall_leans_towards_the_long_tail():
    """Of values with a long upper tail the truth is more likely above the mean than below."""
    skewed = [1.0] * 9 + [6.0]
    estimate = mean(skewed, Support.REAL)
    assert estimate.high - estimate.mean > 2 * (estimate.mean - estimate.low)
    assert estimate.skewness == pytest.approx(10**0.5, rel=1e-9)


def test_common_random_numbers_resolve_what_independent_runs_cannot():
    """Two fleets that differ by 1 % under traffic that varies by 20 %: only the paired difference sees it."""
    rng = np.random.default_rng(8)
    traffic = rng.normal(100, 20, 8)
    a, b = 1.01 * traffic + rng.normal(0, 0.1, 8), traffic
    paired = paired_difference(a.tolist(), b.tolist())
    assert paired.difference.excludes_zero and paired.variance_reduction > 1000
    shuffled = paired_difference(a.tolist(), np.roll(b, 3).tolist())
    assert not shuffled.difference.excludes_zero and shuffled.variance_reduction < 5


def test_pairing_that_gives_nothing_says_so():
    rng = np.random.default_rng(2)
    a, b = rng.normal(5, 1, 400).tolist(), rng.normal(5, 1, 400).tolist()
    assert paired_difference(a, b).variance_reduction == pytest.approx(1.0, abs=0.15)
    assert paired_difference([1.0, 1.0], [2.0, 2.0]).variance_reduction is None
    assert paired_difference([1.0, 3.0], [2.0, 4.0]).variance_reduction == INF


def test_two_unit_costs_on_the_same_traffic():
    """$2 per token against $2 and a fixed dollar a day: the difference is a dollar over the mean tokens of a day."""
    tokens = np.array([3.0, 4.0, 2.0, 5.0, 3.0])
    cheap, dear = (2 * tokens, tokens), (2 * tokens + 1, tokens)
    found = paired_ratio_difference(dear, cheap)
    assert found.difference.mean == pytest.approx(5 / tokens.sum())
    assert found.difference.excludes_zero
    assert paired_ratio_difference(([1.0], [0.0]), ([1.0], [1.0])).difference.mean is None


def test_pairs_without_a_value_are_left_out():
    assert paired_difference([3.0, None, 5.0, INF], [1.0, 1.0, 3.0, INF]).difference.mean == 2
    with pytest.raises(ValueError, match="equal length"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="equal length"):
        paired_ratio_difference(([1.0], [1.0]), ([1.0, 2.0], [1.0, 1.0]))


def test_wilson_for_rare_events():
    """Newcombe 1998: 1 of 29 gives 0.0061 to 0.1718; 0 of 20 gives 0 to 0.1611."""
    assert wilson_bounds(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)
    assert wilson_bounds(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_bounds(0, 0) == (0.0, 1.0)
