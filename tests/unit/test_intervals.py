"""Intervals over replications: they cover as promised, and say so when they cannot."""

import numpy as np
import pytest

from sim.report.intervals import Interval, over_replications, paired_difference, student_interval, wilson_interval

INF = float("inf")


def test_textbook_interval():
    """t(0.975, 2) = 4.303: the half-width of 1, 2, 3 is 4.303 / sqrt(3)."""
    mean, half_width = student_interval([1.0, 2.0, 3.0])
    assert mean == 2 and half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)


def test_it_covers_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(2000):
        mean, half_width = student_interval(rng.normal(7.0, 2.0, 5).tolist())
        hits += abs(mean - 7.0) <= half_width
    low, high = wilson_interval(hits, 2000, confidence=0.999)
    assert low <= 0.95 <= high and not low <= 0.93 <= high


def test_what_cannot_be_said_is_not_said():
    assert student_interval([]) == Interval(None, None) == student_interval([None, None])
    assert student_interval([3.0]) == Interval(3.0, None) == student_interval([3.0, None])
    assert student_interval([3.0, INF, 4.0]) == Interval(INF, None)
    assert student_interval([2.0, None, 2.0]) == Interval(2.0, 0.0)


def test_one_row_from_several_replications():
    runs = [
        dict(usd=u, ttft_p99_s=t, cold=None, meets_slo=u < 3, name="x") for u, t in ((1.0, 5), (2.0, INF), (3.0, 6))
    ]
    row = over_replications(runs)
    assert row["usd"] == 2 and row["usd_ci95"] == pytest.approx(2.4841, rel=1e-4) and row["replications"] == 3
    assert row["ttft_p99_s"] == INF and row["ttft_p99_s_ci95"] is None
    assert row["cold"] is None and row["cold_ci95"] is None
    assert row["meets_slo"] is False and "meets_slo_ci95" not in row and "name" not in row
    assert over_replications(runs[:1])["meets_slo"] is True


def test_common_random_numbers_resolve_what_independent_runs_cannot():
    """Two fleets that differ by 1 % under traffic that varies by 20 %: only the paired difference sees it."""
    rng = np.random.default_rng(8)
    traffic = rng.normal(100, 20, 8)
    a, b = 1.01 * traffic + rng.normal(0, 0.1, 8), traffic
    assert paired_difference(a.tolist(), b.tolist()).excludes_zero
    apart = Interval(a.mean() - b.mean(), student_interval(a.tolist()).half_width)
    assert not apart.excludes_zero


def test_pairs_without_a_value_are_left_out():
    assert paired_difference([3.0, None, 5.0, INF], [1.0, 1.0, 3.0, INF]).mean == 2
    with pytest.raises(ValueError, match="1 and 2"):
        paired_difference([1.0], [1.0, 2.0])


def test_wilson_for_rare_events():
    """Newcombe 1998: 1 of 29 gives 0.0061 to 0.1718; 0 of 20 gives 0 to 0.1611."""
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)
