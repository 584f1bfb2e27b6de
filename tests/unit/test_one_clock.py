"""One moment zero, told or found in a log: traffic, timetables, limits, outages, budgets and prices are read off it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from sim.api.limits import Limits, Quota
from sim.api.outages import OutageClock, Outages
from sim.ledger.bill import bill_by_hour
from sim.ledger.usage import Usage
from sim.moment_zero import MONDAY, MomentZero, on_the_clock
from sim.routing.budget import Budget
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, TraceError
from sim.simulation import simulate
from sim.study.replicate import replicate
from sim.study.steadiness import clock_line
from sim.units import DAY_S, HOUR_S
from sim.workload.arrivals.diurnal import Diurnal

BASE = ("arrivals=replay", "fleet=api_only", "api=ideal", "prices=deepseek_time_of_day")
USD = 0.0156  # of one request of 100,000 + 1,000 tokens off-peak
SPRING, AUTUMN = "2026-03-29T00:00 Europe/Berlin", "2026-10-25T00:00 Europe/Berlin"


def log_of(tmp_path, *stamps: str, zone: str = "") -> str:
    rows = {"timestamp": [stamp + zone for stamp in stamps], "input_tokens": 100_000, "output_tokens": 1000}
    pd.DataFrame(rows).to_csv(tmp_path / "dated.csv", index=False)
    return f"arrivals.path={tmp_path / 'dated.csv'}"


@pytest.fixture
def wednesday(tmp_path):
    stamps = pd.date_range("2024-05-15 05:30", "2024-05-15 08:00", freq="6min")
    return log_of(tmp_path, *stamps.strftime("%Y-%m-%d %H:%M:%S"))


def test_a_dated_log_is_billed_by_its_own_dates(wednesday):
    """26 requests, 21 of them at or after 06:00 UTC on a working day, at twice the price."""
    scenario = parse(compose_config(*BASE, wednesday))
    result = replicate(scenario)
    assert result.summary["usd_total"] == pytest.approx(USD * (26 + 21))
    assert result.summary["usd_total"] != pytest.approx(0.6552, abs=0.01)  # what hours from the first row would give
    told = clock_line(scenario, result.moment_zero)
    assert told == "clock: second 0 is Wed 2024-05-15 05:30 UTC (the log's dates)"
    hours = bill_by_hour(result.usages[0], scenario.prices, "h100_sxm", "any model").groupby("hour")["usd"].sum()
    assert hours.tolist() == pytest.approx([5 * USD, 20 * USD, 20 * USD, 2 * USD], rel=1e-6)  # from 05:00 on


def test_an_excerpt_begins_later_and_a_zone_may_be_said(wednesday):
    later = simulate(parse(compose_config(*BASE, wednesday, "arrivals.start_s=7200")), measure_peak=False)
    assert later.facts.moment_zero.shown == "Wed 2024-05-15 07:30 UTC"
    told = simulate(parse(compose_config(*BASE, wednesday, "starts_at=2024-05-15T07:30 Europe/Berlin")))
    assert told.facts.moment_zero.zone_name == "Europe/Berlin"
    read = simulate(parse(compose_config(*BASE, wednesday, "arrivals.time.zone=Europe/Berlin")))
    assert read.facts.moment_zero.shown == "Wed 2024-05-15 05:30 Europe/Berlin"  # now 03:30 UTC


def test_two_moments_that_disagree_are_refused(wednesday):
    with pytest.raises(ConfigError) as refused:
        simulate(parse(compose_config(*BASE, wednesday, "starts_at=2024-05-15T00:00 Europe/Berlin")))
    assert str(refused.value) == (
        "starts_at = 2024-05-15T00:00 Europe/Berlin: the log begins on Wed 2024-05-15 07:30 Europe/Berlin; leave it to "
        "the log (starts_at=null), or say starts_at='2024-05-15T07:30 Europe/Berlin'"
    )


def test_a_weekend_is_priced_as_a_weekend(tmp_path):
    """At 07:00 UTC, a busy hour of working days: Friday at twice the price, Saturday and Sunday not, Monday again."""
    path = log_of(tmp_path, *(f"2026-03-{day:02} 07:00:00" for day in (6, 7, 8, 9)), zone="Z")
    bill = replicate(parse(compose_config(*BASE, path))).summary
    assert bill["usd_total"] == pytest.approx(USD * (2 + 1 + 1 + 2))


def test_price_hours_follow_summer_time_in_their_own_zone(tmp_path):
    """08:30 in Berlin is 07:30 UTC on the Friday before the clocks change and 06:30 on the Monday after it."""
    path = log_of(tmp_path, "2026-03-27 07:30:00", "2026-03-30 06:30:00", "2026-03-30 07:30:00")
    hours = "prices.api.timed=[{from_hour: 8, to_hour: 9, multiplier: 3}]"
    zone, allowed = "prices.api.time_zone=Europe/Berlin", "arrivals.allow=[long_gap]"
    summary = replicate(parse(compose_config(*BASE, path, zone, hours, allowed))).summary
    assert summary["usd_total"] == pytest.approx(USD * (3 + 3 + 1))


@pytest.mark.parametrize(("starts_at", "hours"), [(SPRING, 23), (AUTUMN, 25), ("2026-03-02T00:00 Europe/Berlin", 24)])
def test_a_day_has_as_many_hours_as_its_clock(starts_at, hours):
    clock = MomentZero.parse(starts_at)
    assert clock.next_midnight_s(0.0) == clock.next_midnight_s(hours * HOUR_S - 1) == hours * HOUR_S
    assert clock.day_begin_s(hours * HOUR_S - 1) == 0.0 and clock.local(hours * HOUR_S).hour == 0
    stretches = list(clock.stretches(0.0, 3 * DAY_S))
    assert stretches[0][0] == 0 and stretches[-1][1] == 3 * DAY_S
    assert all(before[1] == after[0] for before, after in zip(stretches, stretches[1:], strict=False))
    change = {23: [2 * HOUR_S], 25: [3 * HOUR_S]}.get(hours, [])  # 01:00 UTC
    assert [s for (_, s, old), (_, _, new) in zip(stretches, stretches[1:], strict=False) if old != new] == change


@pytest.mark.parametrize(("starts_at", "opens_h"), [(SPRING, 8 - 1 + 24), (AUTUMN, 8 + 1 + 24)])
def test_offices_open_at_their_hour_through_daylight_saving(starts_at, opens_h):
    """Traffic from 08:00 to 18:00 on weekdays: the Sunday of the change is silent; Monday has it at its own hours."""
    profile = tuple(1.0 if 9 <= hour < 17 else 0.0 for hour in range(24))  # points in the middle of hours
    office = Diurnal(rate_per_s=0.5, profile=profile, weekend_factor=0)
    path = list(office.starting(MomentZero.parse(starts_at))._rate_path(np.random.default_rng(0), 3 * DAY_S))
    edges = np.concatenate([chunk[:-1] for chunk, _ in path])
    masses = np.concatenate([masses for _, masses in path])
    monday = masses[edges < (opens_h + 20) * HOUR_S]
    busy_h = edges[: len(monday)][monday > 1e-9] / HOUR_S
    assert busy_h.min() == pytest.approx(opens_h + 0.5, abs=0.05) and busy_h.max() == pytest.approx(
        opens_h + 9.5, abs=0.05
    )
    assert masses.sum() / 2 == pytest.approx(0.5 * 7 * DAY_S / 5, rel=0.35)  # Monday and most of Tuesday


def test_limits_outages_and_budgets_go_by_the_local_hour():
    clock = MomentZero.parse("2026-03-02T05:30 Asia/Kolkata")
    hours = [{"from_hour": 6, "to_hour": 7, "multiplier": 10}]
    limits = Limits(Quota(requests_per_minute=60, hourly_limits=hours).starting(clock), lambda request, now_s: 0)
    (bucket,) = limits._buckets.values()
    rates = {}
    for now_s in (0.0, 1799.0, 1800.0, 5399.0, 5400.0):
        limits.wait_s(0, 0, now_s)
        rates[now_s] = bucket.per_s
    assert rates == {0.0: 1.0, 1799.0: 1.0, 1800.0: 10.0, 5399.0: 10.0, 5400.0: 1.0}
    assert limits.next_change_s(0.0) == 1800.0
    down = OutageClock(Outages(schedule=({"starts_at": "2026-03-02T06:00", "duration_s": 60},)).starting(clock), None)
    assert [down.is_down(now_s) for now_s in (1799.0, 1800.0, 1859.0, 1860.0)] == [False, True, True, False]
    day = Budget(usd=1, per="day", output_tokens_reserved=1).starting(clock)
    assert day.period_end_s(0.0) == 18.5 * HOUR_S
    assert day.model_copy(update={"per": "hour"}).period_end_s(1800.0) == 5400.0


def test_a_timetable_runs_by_the_clock_of_the_log(wednesday):
    """05:30 UTC is 07:30 in Berlin: the office's two replicas are ordered twenty minutes later, ten before eight."""
    run = simulate(parse(compose_config("arrivals=replay", wednesday, "scaling=business_hours")), measure_peak=False)
    ordered_s = np.unique(run.facts.spans["start_s"][run.facts.spans["state"] == 0])
    assert ordered_s.tolist() == pytest.approx([0.0, 1200.0], abs=0.01)  # the first request wakes one


def test_without_a_date_it_is_monday_and_nothing_is_copied():
    scenario = parse(compose_config("arrivals=diurnal", "horizon_s=60"))
    assert simulate(scenario, measure_peak=False).facts.moment_zero is MONDAY
    assert "Mon 2024-05-13 00:00 UTC (no date was given; starts_at=... sets it)" in clock_line(scenario, MONDAY)
    steady = parse(compose_config("horizon_s=60"))
    assert on_the_clock(steady, MomentZero.parse(SPRING)) is steady and clock_line(steady, MONDAY) == ""


@pytest.mark.parametrize(
    ("words", "law"),
    [
        (
            "starts_at=2026-03-29T02:30 Europe/Berlin",
            "02:30 is no time of day in Europe/Berlin: the clocks went forward",
        ),
        ("starts_at=2026-03-02T00:00 Europe/Belrin", "offset like \\+02:00; did you mean Europe/Berlin?"),
        ("starts_at=tomorrow", "must be a date, a time and a zone"),
        ("starts_at=1969-03-02", "must lie in the years 1970 to 2199"),
        ("+arrivals.start_day=sat", "is said once for the whole scenario, by starts_at"),
    ],
)
def test_what_is_no_moment_is_refused(words, law):
    with pytest.raises(ConfigError, match=law.replace("?", r"\?")):
        parse(compose_config("arrivals=diurnal", words))


def test_usage_keeps_its_moment_and_older_files_begin_on_a_monday():
    usage = simulate(parse(compose_config("horizon_s=60", f"starts_at={AUTUMN}")), measure_peak=False)
    text = Usage.from_facts(usage.facts).to_json()
    assert Usage.from_json(text).moment_zero == MomentZero(datetime(2026, 10, 24, 22, tzinfo=UTC), "Europe/Berlin")
    older = json.loads(text) | {"version": 5}
    del older["moment_zero"]
    assert Usage.from_json(json.dumps(older)).moment_zero == MONDAY


def test_logs_without_dates_have_no_full_hour(tmp_path):
    (tmp_path / "log.csv").write_text("arrived_s,input_tokens,output_tokens\n0,10,1\n5,10,1\n")
    path = f"arrivals.path={tmp_path / 'log.csv'}"
    simulate(parse(compose_config(*BASE, path, "starts_at=2026-03-02T00:00")))  # any clock will do
    with pytest.raises(TraceError, match="has no dates, so arrivals.moment_zero=day has no meaning"):
        simulate(parse(compose_config(*BASE, path, "arrivals.moment_zero=day")))
