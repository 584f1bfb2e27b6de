"""Does a fleet meet its SLO: three answers, and more evidence can turn any of them into another."""

import numpy as np
import pytest

from sim.report.attainment import (
    Verdict,
    judge,
    judge_at_look,
    look_sizes,
    reaches,
    spending_bounds,
    unseen_fraction,
)

CALLS = 10_000


def judged(*fractions, target=0.99, calls=CALLS):
    return judge([round(f * calls) for f in fractions], [calls] * len(fractions), target)


def test_a_clear_miss_is_a_miss_with_few_replications():
    assert judged(0.5, 0.45, 0.52).verdict is Verdict.MISSES
    assert judged(0.5, 0.5).verdict is Verdict.MISSES


def test_three_alike_that_fall_a_little_short_may_be_chance():
    """A fleet that loses 2 % in every third replication meets 99 %, and shows three of these in a row now and then."""
    assert judged(0.98, 0.98, 0.98).verdict is Verdict.NOT_RESOLVED
    assert judged(*[0.98] * 10).verdict is Verdict.MISSES
    assert judged(0.98, 0.98, 0.98, target=0.999).verdict is Verdict.MISSES


def test_good_replications_meet_only_in_numbers():
    assert judged(*[1.0] * 10).verdict is Verdict.MEETS
    assert judged(*[1.0] * 9).verdict is Verdict.NOT_RESOLVED
    assert judged(*[0.999, 1.0] * 8).verdict is Verdict.MEETS


def test_one_bad_replication_of_three_resolves_nothing():
    """Two at 100 % and one at 80 %: pooled 93.3 %, and the next three might all be at 100 %."""
    three = judged(1.0, 1.0, 0.8)
    assert three.verdict is Verdict.NOT_RESOLVED and three.meets is None and three.reached is False
    assert three.attainment.mean == pytest.approx(0.9333, abs=1e-4)


def test_more_evidence_may_turn_a_no_into_a_yes():
    """One replication in forty at 97 %: an AND over replications would say no for ever."""
    assert judged(1.0, 0.97).verdict is Verdict.NOT_RESOLVED
    assert judged(*[1.0] * 39, 0.97).verdict is Verdict.MEETS


def test_a_single_replication_is_a_point_and_says_so():
    one = judged(0.995)
    assert one.verdict is Verdict.NOT_TESTED and one.meets is True and one.attainment.low is None
    assert judged(0.985).meets is False


def test_ninety_nine_of_a_hundred_reach_ninety_nine_percent():
    assert reaches(99 / 100, 0.99) and reaches(0.1 + 0.2, 0.3) and reaches(0.3, 0.1 + 0.2)
    assert not reaches(0.98999, 0.99)
    assert judge([99], [100], 0.99).reached


def test_replications_count_by_their_calls():
    """A night of ten calls that all fail does not weigh as much as a day of ten thousand that do not."""
    night_and_day = judge([0, 10_000], [10, 10_000], 0.99)
    assert night_and_day.attainment.mean == pytest.approx(10_000 / 10_010) and night_and_day.reached


def test_few_calls_cannot_show_much_however_alike_their_replications():
    """Ten calls in each of ten replications: a hundred independent ones, all attained, only show 96 %."""
    assert judged(*[1.0] * 10, calls=10).verdict is Verdict.NOT_RESOLVED
    assert judged(*[0.9] * 3, calls=10, target=0.95).verdict is Verdict.NOT_RESOLVED
    assert judged(*[0.6] * 3, calls=1000, target=0.95).verdict is Verdict.MISSES


def test_no_calls_at_all():
    assert judge([0, 0], [0, 0], 0.99).verdict is Verdict.NO_CALLS
    assert judge([], [], 0.99).meets is None


def test_what_ten_replications_may_not_see():
    """Binomial: ten that do not fail have a probability of 2.5 % if 31 % of all do."""
    assert (1 - unseen_fraction(10)) ** 10 == pytest.approx(0.025)
    assert unseen_fraction(300) == pytest.approx(0.0122, abs=1e-4)


def test_spending_bounds_are_the_published_ones():
    """Lan and DeMets, O'Brien-Fleming-like, one-sided 0.025, five equal looks."""
    bounds = spending_bounds((0.2, 0.4, 0.6, 0.8, 1.0), 0.025)
    assert bounds == pytest.approx((4.8769, 3.3569, 2.6803, 2.2898, 2.0310), abs=5e-4)
    assert spending_bounds((1.0,), 0.025) == pytest.approx((1.95996,), abs=1e-4)


def test_six_looks_at_nothing_cross_as_seldom_as_one():
    """Random walks without a drift: 2.5 % cross one of the six bounds, and 7 % would cross 1.96."""
    sizes = np.array(look_sizes(100))
    rng = np.random.default_rng(4)
    walks = np.cumsum(rng.standard_normal((40_000, 100)), axis=1)[:, sizes - 1] / np.sqrt(sizes)
    crossed = (walks > np.array(spending_bounds(tuple(sizes / 100), 0.025))).any(axis=1).mean()
    naive = (walks > 1.96).any(axis=1).mean()
    assert crossed == pytest.approx(0.025, abs=0.003) and naive > 0.06


def test_looks_are_few_and_end_at_the_most():
    assert look_sizes(100) == [10, 16, 25, 40, 63, 100]
    assert look_sizes(10) == [10] and look_sizes(4) == [4]
    assert look_sizes(12)[0] == 10 and look_sizes(12)[-1] == 12 and len(look_sizes(1000)) == 6


def test_a_look_at_a_clear_case_decides_and_at_a_close_one_waits():
    sizes = look_sizes(100)
    good, bad = [CALLS] * 16, [CALLS // 2, CALLS // 3] * 5
    close = [9880, 9930, 9900, 9850, 9960] * 2
    calls = [CALLS] * 10
    assert judge_at_look(good, good, 0.99, sizes).verdict is Verdict.MEETS
    assert judge_at_look(good[:10], good[:10], 0.99, sizes).verdict is Verdict.NOT_RESOLVED
    assert judge_at_look(good[:10], good[:10], 0.99, [10]).verdict is Verdict.MEETS
    assert judge_at_look([CALLS // 2 + i for i in range(10)], calls, 0.99, sizes).verdict is Verdict.MISSES
    assert judge_at_look(close, calls, 0.99, sizes).verdict is Verdict.NOT_RESOLVED
    assert judge_at_look(bad * 10, calls * 10, 0.99, sizes).verdict is Verdict.MISSES
    with pytest.raises(ValueError, match="planned"):
        judge_at_look(good[:7], calls[:7], 0.99, sizes)


def test_the_only_look_at_one_replication_tests_nothing():
    """Where one replication is the most allowed, there is no spread to judge by, and without calls nothing to judge."""
    assert judge_at_look([CALLS], [CALLS], 0.99, [1]).verdict is Verdict.NOT_TESTED
    assert judge_at_look([0] * 10, [0] * 10, 0.99, [10]).verdict is Verdict.NO_CALLS


def test_between_target_and_zone_either_is_right():
    """Just at the target with a small spread: the sequential test answers, a fixed one cannot."""
    rng = np.random.default_rng(1)
    attained = np.rint(rng.normal(9902, 8, 100)).astype(int).tolist()
    assert judge_at_look(attained[:40], [CALLS] * 40, 0.99, look_sizes(100)).verdict is Verdict.MEETS
    assert judge(attained[:10], [CALLS] * 10, 0.99).verdict is Verdict.NOT_RESOLVED
