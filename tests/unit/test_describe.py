"""`describe` finds in a log what was put into it, and on real logs what others have measured."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import sim
from sim.__main__ import main
from sim.report.description_text import length
from sim.study.describe import described_log
from sim.workload.arrivals.bursty import Bursty
from sim.workload.description import reuse
from sim.workload.description.dispersion import dispersions, index_of_dispersion
from sim.workload.description.sessions import parting

TRACES = Path(__file__).parents[3] / "shared" / "traces"


def real(name):
    if not (TRACES / name).exists():
        pytest.skip(f"REAL LOG ABSENT: {TRACES / name}")
    return sim.describe(TRACES / name)


def poisson(rate_per_s, period_s, seed=1):
    rng = np.random.default_rng(seed)
    return np.sort(rng.random(rng.poisson(rate_per_s * period_s)) * period_s)


def written(tmp_path, rows, name="log.csv", header="arrived_s,input_tokens,output_tokens"):
    (tmp_path / name).write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return tmp_path / name


def log_of(tmp_path, times_s, **columns):
    columns = {"input_tokens": 100, "output_tokens": 10} | columns
    lists = [np.broadcast_to(column, len(times_s)).tolist() for column in columns.values()]
    return written(tmp_path, zip(times_s, *lists, strict=True), header=",".join(["arrived_s", *columns]))


def indices(card):
    return {found.window_s: found.index for found in card.dispersion}


def test_poisson_arrivals_lie_within_the_band_and_bursts_do_not():
    period_s = 40_000.0
    bursts = Bursty(rate_per_s=1.0, burst_factor=4.0, mean_burst_s=20.0, burst_time_fraction=0.2)
    bursty_s = np.concatenate(list(bursts.times(np.random.default_rng(1), period_s)))
    for found in dispersions(poisson(1.0, period_s), period_s)[:4]:
        assert found.poisson_low < found.index < found.poisson_high
    for found in dispersions(bursty_s, period_s)[:3]:
        assert found.index > found.poisson_high
        assert math.isclose(found.index, bursts.index_of_dispersion(found.window_s), rel_tol=0.25)


def test_a_last_window_that_is_cut_short_does_not_count():
    metronome = np.arange(0, 101.0, 2.0)
    assert index_of_dispersion(metronome, 101.0, 10.0) == (0.0, 10)
    assert index_of_dispersion(metronome, 40.0, 10.0) == (None, 4)


def test_silence_is_counted_with_the_windows_that_nothing_arrives_in():
    assert index_of_dispersion(np.array([0.5, 0.6, 0.7]), 10.0, 1.0) == (pytest.approx(3.0), 10)


@pytest.mark.parametrize(
    ("name", "per_s", "gap_cv", "known"),
    [
        ("azure_2023_code.csv", 2.566, 13.15, {1: 13.2, 10: 71.9, 60: 166.9}),
        ("azure_2023_conv.csv", 5.530, 1.094, {1: 1.39, 10: 3.87, 60: 16.4}),
        pytest.param(
            "mooncake_conversation.jsonl", 3.399, 1.009, {1: 1.05, 10: 1.51, 60: 2.91}, marks=pytest.mark.slow
        ),
        pytest.param("mooncake_synthetic.jsonl", 3.906, 1.011, {1: 1.09, 10: 1.19, 60: 1.27}, marks=pytest.mark.slow),
    ],
)
def test_real_logs_are_as_bursty_as_others_measured(name, per_s, gap_cv, known):
    card = real(name).card
    assert math.isclose(card.requests_per_s, per_s, rel_tol=2e-3)
    assert math.isclose(card.gap_cv, gap_cv, rel_tol=5e-3)
    for window_s, index in known.items():
        assert math.isclose(indices(card)[window_s], index, rel_tol=0.02)


@pytest.mark.slow
def test_prefix_reuse_of_a_real_log_is_what_others_measured():
    found = real("mooncake_conversation.jsonl").card.reuse
    assert math.isclose(found.hit_fraction, 0.374, abs_tol=5e-4)
    by_memory = {size.memory_tokens: size.hit_fraction for size in found.by_memory}
    assert math.isclose(by_memory[500_000], 0.045, abs_tol=2e-3)
    assert math.isclose(by_memory[5_000_000], 0.21, abs_tol=6e-3)
    assert real("mooncake_synthetic.jsonl").card.reuse.hit_fraction == pytest.approx(0.651, abs=1e-3)


def test_lengths_of_a_real_log_are_what_others_measured():
    lengths = real("azure_2023_code.csv").card.lengths
    assert [round(lengths.input.percentiles[p]) for p in (50, 90)] == [1469, 5188]
    assert [round(lengths.output.percentiles[p]) for p in (50, 90, 99)] == [13, 55, 251]
    assert lengths.rank_correlation == pytest.approx(-0.02, abs=5e-3)


def test_the_profiles_follow_the_clock_on_the_wall(tmp_path):
    """Office hours of Berlin, 9 to 10, in a log whose clocks go forward on 29 March."""
    rng, zone = np.random.default_rng(1), "Europe/Berlin"
    days = [day for day in range(21) if day % 7 < 5]
    times_s = np.sort(np.concatenate([day * 86_400 + 9 * 3600 + rng.random(400) * 3600 for day in days]))
    stamps = np.datetime64("2026-03-16T00:00:00") + (times_s * 1000).astype("timedelta64[ms]")
    rows = [(f"{stamp}", 100, 10) for stamp in stamps]
    path = written(tmp_path, rows, header="timestamp,input_tokens,output_tokens")
    card = sim.describe(path, f"time.zone={zone}", arrived="timestamp").card
    assert card.day.hours[9] == max(card.day.hours) and sum(hour or 0 for hour in card.day.hours) == pytest.approx(24)
    assert card.week.hours[5 * 24 + 9] in (0, None) and card.week.hours[9] > 10
    assert re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri) 2026-\d\d-\d\d 09:00:\d\d", card.busiest_hour.begins)


def test_a_rate_that_doubles_is_a_trend_and_an_even_one_is_none(tmp_path):
    n, period_s = 3000, 7200.0
    growing = period_s * np.sort(np.sqrt(1 + 3 * np.random.default_rng(1).random(n)) - 1)  # rate goes from 2/3 to 4/3
    even = sim.describe(log_of(tmp_path, poisson(0.5, period_s))).card.trend
    grown = sim.describe(log_of(tmp_path, growing)).card.trend
    assert grown.low < 2 / 3 < grown.high and grown.low > 0
    assert even.low < 0 < even.high


def test_a_missing_hour_is_noticed_and_a_quiet_night_is_not(tmp_path):
    times_s = poisson(0.1, 72 * 3600.0)
    times_s = times_s[(times_s / 3600 % 24) > 8]  # silent nights
    gap = (times_s >= 60 * 3600) & (times_s < 62.5 * 3600)
    whole = sim.describe(log_of(tmp_path, times_s)).card
    broken = sim.describe(log_of(tmp_path, times_s[~gap])).card
    assert (whole.empty_hours, broken.empty_hours) == (0, 2)


def test_sessions_show_their_calls_gaps_and_growth(tmp_path):
    rng, rows = np.random.default_rng(1), []
    for session in range(60):
        second, context = session * 100.0, 1000
        for call in range(8):
            rows.append((second, second + 1, context, 50, session))
            second += 1 + (rng.exponential(300) + 60 if call % 4 == 3 else rng.exponential(0.5) + 0.2)
            context += 50 + 200
    rows.sort()
    path = written(tmp_path, rows, header="arrived_s,ended_s,input_tokens,output_tokens,session_id")
    found = sim.describe(path, ended="ended_s").card.sessions
    assert (found.sessions, found.calls_per_session.mean, found.calls_dispersion) == (60, 8.0, 8.0)
    assert found.new_input_tokens.mean == 200 and found.begins_anew_fraction == 0 and not found.gaps_hold_service
    assert 3 < found.two_kinds.parted_at_s < 70 and found.two_kinds.calls_per_turn.mean == pytest.approx(4.0)
    assert found.growth[1].median_input_tokens == 1250
    said = " ".join(str(sim.describe(path, ended="ended_s")).split())
    assert "Gaps between the beginnings of sessions: 0" in said, "they begin a hundred seconds apart"


def test_gaps_of_one_kind_are_not_parted():
    rng = np.random.default_rng(1)
    assert parting(rng.lognormal(2.0, 1.5, 4000)) is None
    both = np.concatenate((rng.lognormal(-1.0, 0.8, 3000), rng.lognormal(5.0, 0.8, 1000)))
    assert 2.0 < parting(both) < 40.0


def test_reuse_by_sessions_needs_memory_for_those_that_are_open(tmp_path):
    rows = [(10 * turn + session, 100 + 110 * turn, 10, session) for turn in range(10) for session in range(5)]
    path = written(tmp_path, rows, header="arrived_s,input_tokens,output_tokens,session_id")
    found = sim.describe(path).card.reuse
    inputs = sum(row[1] for row in rows)
    assert found.hit_fraction == pytest.approx(5 * sum(110 * turn for turn in range(10)) / inputs)
    assert found.distinct_tokens == 5 * (100 + 110 * 9 + 10)
    smallest, *_, largest = found.by_memory
    assert smallest.hit_fraction < largest.hit_fraction < found.hit_fraction


def test_blocks_that_two_prompts_begin_with_are_found_again(tmp_path):
    prompts = [(0, [1, 2, 3]), (1000, [1, 2, 4]), (2000, [9, 2, 3]), (3000, [1, 2, 3])]
    lines = [
        json.dumps({"timestamp": t, "input_length": 1536, "output_length": 5, "hash_ids": ids}) for t, ids in prompts
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    assert sim.describe(tmp_path / "log.jsonl").card.reuse.hit_fraction == (2 + 0 + 3) / 12  # block 9 hides 2 and 3


def test_only_so_many_blocks_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(reuse, "MOST_SEGMENTS", 100)
    path = log_of(tmp_path, poisson(1.0, 500.0), session_id=7)
    found = sim.describe(path)
    assert found.card.reuse.calls == 100 and "first 100 requests" in str(found)


def test_a_window_is_a_part_of_the_log(tmp_path):
    path = log_of(tmp_path, np.arange(0.0, 100.0))
    assert sim.describe(path, "start_s=20", "duration_s=30").card.requests == 30


def test_a_long_log_is_not_held_twice(tmp_path):
    """A week of a large service has 27 million rows: each copy of a column is 0.2 GB."""
    path = str(log_of(tmp_path, np.arange(100.0)))
    in_order = described_log(path, [])
    calls = in_order.calls()
    held = (
        (calls.arrived_s, "arrived_s"),
        (calls.input_tokens, "input_tokens"),
        (calls.output_tokens, "output_tokens"),
    )
    assert all(np.shares_memory(column, getattr(in_order.log, name)) for column, name in held)
    part = described_log(path, ["start_s=50"]).calls()
    assert part.arrived_s[0] == 0 and len(part) == 50


def test_words_may_be_those_of_a_replay():
    told = described_log("x.csv", ["arrivals.columns.input=[a,b]", "time.unit=ms"])
    assert (told.columns.input, told.time.unit) == (["a", "b"], "ms")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["columns.inpt=a"], "columns.inpt = 'a': is not a known key; did you mean columns.input?"),
        (["scale.more_users=2"], "is not a known key"),
        (["start_s=1,2"], "one value"),
        (["path=other.csv"], "is named without a key"),
    ],
)
def test_a_word_that_means_nothing_is_refused_in_one_line(tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    path = log_of(tmp_path, np.arange(9.0))
    assert main(["describe", str(path), *words]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.count("\n") == 1 and not (tmp_path / "outputs").exists()


def test_the_text_fits_a_terminal_and_the_page_needs_nothing_else(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(t, 100 + 20 * i, 10, i % 7) for i, t in enumerate(poisson(0.02, 9 * 86_400.0)[:3000])]
    path = written(tmp_path, rows, "a<b>&.csv", "arrived_s,input_tokens,output_tokens,session_id")
    assert main(["describe", str(path)]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.replace(str(path), "").splitlines())) <= 80 and "Burstiness" in printed
    assert re.search(r"^ *busiest .*\n *minute .*\n *hour +\S", printed, re.M), "both have a row: this log is of days"
    folder = tmp_path / "outputs" / "described" / "a<b>&"
    assert sorted(file.name for file in folder.iterdir()) == ["description.html", "description.json"]
    page = (folder / "description.html").read_text()
    assert len(page) < 1_000_000 and "a&lt;b&gt;&amp;.csv" in page and "a<b>" not in page
    assert "NaN" not in (folder / "description.json").read_text()


def test_a_length_of_time_is_told_in_its_usual_unit():
    """Windows are named so, and nobody says 0.0208 h for 75 s, nor 1.5 d for 36 h."""
    assert [length(s) for s in (1, 59, 60, 75, 3599, 3600, 9000, 129_600, 172_800, 1_209_600)] == [
        "1 s", "59 s", "1 min", "1.25 min", "60 min", "1 h", "2.5 h", "36 h", "2 d", "14 d",
    ]  # fmt: skip


def test_json_is_all_that_is_printed_where_it_is_asked_for(tmp_path, capsys):
    path = log_of(tmp_path, np.arange(100.0))
    assert main(["describe", str(path), "--json", "--out", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "description.json").read_text())
    assert printed["log"]["rows_kept"] == 100 and printed["traffic"]["requests_per_s"] == 1.0


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_shortest_logs_have_a_card_too(tmp_path, n):
    found = sim.describe(log_of(tmp_path, np.arange(float(n)), session_id=3))
    assert found.card.requests == n and found.card.trend is None and "too few" in str(found)
    assert "Traffic of log.csv" in found.write(tmp_path / "out").read_text()
