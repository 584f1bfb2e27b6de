"""MSER-5 leaves out what a run needs to forget its empty beginning, and no more; or says why it cannot."""

import numpy as np
import pytest

from sim.records import Window
from sim.report.warmup import mser5
from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from sim.study.steadiness import Steadiness, cycle_note
from sim.units import DAY_S, HOUR_S, WEEK_S
from tests.agree import assert_agrees


def test_a_ramp_is_cut_where_it_ends():
    rng = np.random.default_rng(1)
    series = np.concatenate([np.linspace(0, 10, 200), np.full(800, 10.0)]) + rng.normal(0, 0.5, 1000)
    assert mser5(series).observations == pytest.approx(190, abs=25)


def test_a_settled_series_is_left_alone():
    cuts = [mser5(np.random.default_rng(i).normal(3, 1, 1000)).observations for i in range(50)]
    assert np.median(cuts) <= 50


def test_it_removes_the_bias_of_an_autoregressive_process_started_far_off():
    """X_t = 0.9 X_{t-1} + e, started at 40 instead of 0: the mean of all is off by 40 / (0.1 n) = 0.4."""
    whole, left = [], []
    for i in range(200):
        noise, x = np.random.default_rng(i).normal(0, 1, 1000), 40.0
        series = np.empty(1000)
        for t in range(1000):
            x = series[t] = 0.9 * x + noise[t]
        whole.append(series.mean())
        left.append(series[mser5(series).observations :].mean())
    assert_agrees(whole, 0.4, within_abs=0.1)
    assert_agrees(left, 0.0, within_abs=0.1)


def test_what_never_settles_is_refused():
    growing = mser5(np.arange(1000.0))
    assert growing.observations is None and "not settled" in growing.reason
    assert "cycle" in mser5(np.ones(1000), cyclic=True).reason
    assert mser5(np.ones(10)).observations is None
    assert "infinite" in mser5(np.full(100, np.inf)).reason


def notes(*words, replications=1):
    scenario = parse(compose_config("lengths=uniform", *words))
    seen = Steadiness(scenario)
    for replication in range(replications):
        seen.add(simulate(scenario, replication=replication).facts)
    return list(seen.notes())


LONG_ANSWERS = ("lengths.max_output_tokens=2000", "horizon_s=600", "scaling.n_replicas=1")


def test_more_than_a_fleet_can_serve_is_told():
    (said,) = notes("arrivals.rate_per_s=60", *LONG_ANSWERS)
    assert "no steady state" in said
    assert notes("arrivals.rate_per_s=1", "warmup_s=100", *LONG_ANSWERS) == []


def test_a_run_that_begins_empty_is_told_how_long_it_fills_up():
    """Answers of 20 to 30 s in a run of two minutes: the first quarter is anything but typical."""
    long_and_few = ("lengths.max_output_tokens=2000", "horizon_s=120", "scaling.n_replicas=1", "arrivals.rate_per_s=3")
    (said,) = notes(*long_and_few, replications=5)
    assert "begins empty" in said and "warmup_s=" in said
    assert notes(*long_and_few, "warmup_s=60", replications=5) == []


def diurnal(*words):
    return parse(compose_config("arrivals=diurnal", *words)).arrivals


def test_six_hours_of_a_day_miss_its_peak():
    assert "misses the peak" in cycle_note(diurnal(), Window(0.0, 6 * HOUR_S))
    assert "horizon_s=604800" in cycle_note(diurnal(), Window(0.0, 6 * HOUR_S))
    assert "horizon_s=86400" in cycle_note(diurnal("arrivals.weekend_factor=1.14"), Window(0.0, 6 * HOUR_S))


def test_three_working_days_are_not_a_week():
    said = cycle_note(diurnal(), Window(0.0, 3 * DAY_S))
    assert "cuts a cycle" in said and "114.0 %" in said
    assert cycle_note(diurnal(), Window(0.0, WEEK_S)) == ""
    assert cycle_note(diurnal(), Window(DAY_S, WEEK_S + DAY_S)) == ""


def test_traffic_without_a_cycle_has_none_to_cut():
    assert cycle_note(parse(compose_config()).arrivals, Window(0.0, HOUR_S)) == ""
    flat = diurnal("arrivals.peak_to_trough=1", "arrivals.weekday_factor=1", "arrivals.weekend_factor=1")
    assert cycle_note(flat, Window(0.0, HOUR_S)) == ""
