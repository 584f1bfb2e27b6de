"""Enough is when the named metrics are sure enough, each by its own measure; the program says which was the last."""

from sim.report.attainment import judge_at_look, look_sizes
from sim.report.estimators import Interval, Support, mean
from sim.report.precision import Shortfall, allowed_half_width, reason, shortfalls

PRECISION = {"usd_total": 0.02, "slo_attainment_fraction": 0.002}


def known(mean, half_width, replications=20, skewness=0.0):
    return Interval(mean, mean - half_width, mean + half_width, replications, Support.NON_NEGATIVE, skewness)


def test_money_is_relative_and_fractions_are_absolute():
    assert allowed_half_width("usd_total", 500.0, 0.02) == 10.0
    assert allowed_half_width("slo_attainment_fraction", 0.5, 0.002) == 0.002
    assert allowed_half_width("busy_fraction_of_paid", 0.5, 0.002) == 0.002


def test_every_named_metric_must_be_sure():
    sure = {"usd_total": known(500, 9), "slo_attainment_fraction": known(0.99, 0.001)}
    assert shortfalls(sure, PRECISION) == []
    vague = sure | {"usd_total": known(500, 11)}
    assert [s.metric for s in shortfalls(vague, PRECISION)] == ["usd_total"]
    assert shortfalls({"usd_total": Interval(500.0, replications=1)}, {"usd_total": 0.02})[0].half_width is None


def test_a_few_large_values_are_not_taken_for_precision():
    """Nine dollars of ten from one replication in twenty: a narrow interval there is luck."""
    assert shortfalls({"usd_total": known(500, 9, skewness=3)}, {"usd_total": 0.02})
    assert not shortfalls({"usd_total": known(500, 9, replications=80, skewness=3)}, {"usd_total": 0.02})
    assert not shortfalls({"usd_total": known(500, 1, skewness=3)}, {"usd_total": 0.02})  # then they hardly matter


def test_a_decided_slo_is_sure_enough():
    wide = {"slo_attainment_fraction": known(0.5, 0.1)}
    asked, sizes, calls = {"slo_attainment_fraction": 0.002}, look_sizes(100), [10_000] * 10
    decided = judge_at_look([5_000 + i for i in range(10)], calls, 0.99, sizes)
    open_question = judge_at_look([9_800, 10_000] * 5, calls, 0.99, sizes)
    assert not shortfalls(wide, asked, decided) and shortfalls(wide, asked, open_question)
    all_attained = judge_at_look(calls, calls, 0.99, sizes)  # the first of several looks never says that it meets
    narrow = {"slo_attainment_fraction": known(1.0, 0.0)}
    assert shortfalls(narrow, asked, all_attained) and not shortfalls(narrow, asked)


def test_what_has_no_mean_is_not_waited_for():
    endless = {"ttft_p99_s": mean([float("inf")] * 10), "usd_per_task": mean([None] * 10)}
    assert shortfalls(endless, {"ttft_p99_s": 0.1, "usd_per_task": 0.1}) == []


def test_the_reason_names_the_metric():
    intervals = {"usd_total": known(500, 12), "slo_attainment_fraction": known(0.9, 0.001)}
    short = shortfalls(intervals, PRECISION)
    assert reason(25, short, [], intervals) == "25 replications: usd_total was the last to be sure enough"
    assert "±12, not to ±10" in reason(100, short, short, intervals)
    assert "at once" in reason(10, [], [], intervals)
    lost = {"usd_total": Interval(500.0, replications=1)}
    assert "one replication" in reason(1, [], shortfalls(lost, {"usd_total": 0.02}), lost)


def test_the_reason_says_what_is_lacking_of_each_metric():
    """As narrow as asked for and yet not enough: cost for its skewness, the SLO because either may still be true."""
    intervals = {"usd_total": known(500, 10, skewness=3), "slo_attainment_fraction": known(0.99, 0.002)}
    short = [Shortfall("usd_total", 10.0, 10.0), Shortfall("slo_attainment_fraction", 0.002, 0.002)]
    said = reason(100, short, short, intervals)
    assert said.endswith("the most allowed: usd_total is skewed, whether the SLO is met is not decided")
    wide = [Shortfall("usd_total", 12.34, 10.0)]
    assert reason(100, wide, wide, intervals).endswith("usd_total is known to ±12, not to ±10")
    many = {"usd_total": Interval(500.0, 0.0, 1000.0, 20)}
    assert reason(100, wide, wide, many).endswith("usd_total is unknown with so few")
