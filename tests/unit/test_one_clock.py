"""A dated log says when second 0 is: prices by the hour and timetables may not say otherwise."""

from __future__ import annotations

import pandas as pd
import pytest

from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, TraceError
from sim.simulation import simulate
from sim.study.replicate import replicate

BASE = ("arrivals=replay", "fleet=api_only", "api=ideal", "prices=deepseek_time_of_day")


@pytest.fixture
def dated(tmp_path):
    stamps = pd.date_range("2024-05-15 05:30", "2024-05-15 08:00", freq="6min")  # a Wednesday
    rows = {"timestamp": stamps.strftime("%Y-%m-%d %H:%M:%S"), "input_tokens": 100_000, "output_tokens": 1000}
    pd.DataFrame(rows).to_csv(tmp_path / "dated.csv", index=False)
    return f"arrivals.path={tmp_path / 'dated.csv'}"


def test_busy_hours_begin_when_the_clock_says_so(dated):
    """26 requests of $0.0156, 21 of them at or after 06:00 UTC on a working day, at twice the price."""
    with pytest.raises(ConfigError) as refused:
        replicate(parse(compose_config(*BASE, dated)))
    words = str(refused.value).split("; say ")[1].split()
    assert words == ["prices.api.begins_weekday=wed", "prices.api.begins_hour_utc=5", "arrivals.moment_zero=hour"]
    summary = replicate(parse(compose_config(*BASE, dated, *words))).summary
    assert summary["usd_total"] == pytest.approx(0.0156 * (26 + 21))
    assert summary["usd_total"] != pytest.approx(0.6552, abs=0.01)  # what hours from the first row would give


def test_an_excerpt_begins_later(dated):
    with pytest.raises(ConfigError, match=r"begins at 2024-05-15 07:30:00 UTC, a wed"):
        simulate(parse(compose_config(*BASE, dated, "arrivals.start_s=7200")))


def test_a_timetable_runs_by_the_clock_of_the_log(dated):
    words = ("arrivals=replay", dated, "scaling=business_hours")
    with pytest.raises(ConfigError, match=r"say scaling.begins_utc=2024-05-15T05:30$"):
        simulate(parse(compose_config(*words)))
    simulate(parse(compose_config(*words, "scaling.begins_utc=2024-05-15T05:30")), measure_peak=False)


def test_logs_without_dates_have_no_full_hour(tmp_path):
    (tmp_path / "log.csv").write_text("arrived_s,input_tokens,output_tokens\n0,10,1\n5,10,1\n")
    path = f"arrivals.path={tmp_path / 'log.csv'}"
    simulate(parse(compose_config(*BASE, path)))  # any clock will do
    with pytest.raises(TraceError, match="has no dates, so arrivals.moment_zero=day has no meaning"):
        simulate(parse(compose_config(*BASE, path, "arrivals.moment_zero=day")))
