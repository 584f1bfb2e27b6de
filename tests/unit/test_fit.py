"""`fit` makes traffic like a log: what it was fitted to comes out of it again, and what was not there stays away."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import sim
from sim.__main__ import main
from sim.schema import ConfigError, TraceError, parse_config
from sim.study.describe import described_log
from sim.study.fit import fit_log
from sim.workload.arrivals.bursty import Bursty
from sim.workload.arrivals.course import Course
from sim.workload.arrivals.steady import Steady
from sim.workload.arrivals.weekly import Weekly
from sim.workload.fitting.bursts import fitted_bursts
from sim.workload.fitting.course import shrunk_course
from sim.workload.fitting.fitted import fit, fitted_lengths
from sim.workload.lengths.quantiles import Quantiles
from sim.workload.spread import Spread
from tests.agree import assert_agrees, assert_disagrees

TRACES = Path(__file__).parents[3] / "shared" / "traces"
ON_OFF = Bursty(rate_per_s=3.0, burst_factor=4.0, mean_burst_s=8.0, burst_time_fraction=0.25)


def moments(arrivals, horizon_s, seed=1):
    return np.concatenate([*arrivals.times(np.random.default_rng(seed), horizon_s), np.empty(0)])


def counts(times_s, window_s, horizon_s):
    return np.histogram(times_s, np.arange(0, horizon_s + window_s / 2, window_s))[0]


def bursts_of(arrivals, horizon_s=20_000.0):
    number = counts(moments(arrivals, horizon_s), 1.0, horizon_s)
    rate = number.sum() / horizon_s
    return fitted_bursts(number, np.full(len(number), rate), 1.0, rate), rate


def written(tmp_path, times_s, name="log.csv", **columns):
    header = ["arrived_s", *columns]
    rows = zip(times_s, *(np.broadcast_to(column, len(times_s)).tolist() for column in columns.values()), strict=True)
    (tmp_path / name).write_text("\n".join([",".join(header), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return tmp_path / name


def test_an_on_off_source_is_found_again():
    found, rate = bursts_of(ON_OFF)
    assert found.mean_rate_per_s == pytest.approx(rate, rel=1e-4)
    quiet, burst = sorted(found.rates_per_s)[0], sorted(found.rates_per_s)[-1]
    assert quiet < 0.1 and burst == pytest.approx(12.0, rel=0.1)
    for window_s in (1.0, 10.0, 60.0):
        assert found.index_of_dispersion(window_s) == pytest.approx(ON_OFF.index_of_dispersion(window_s), rel=0.15)


def test_no_burst_is_found_where_there_is_none():
    found, _ = bursts_of(Steady(rate_per_s=3.0))
    assert found is None


def test_a_course_keeps_what_is_more_than_chance_and_no_more():
    rng, expected = np.random.default_rng(1), 100.0 * np.repeat([0.5, 1.5, 0.8, 1.2], 16)
    numbers = rng.poisson(expected)
    kept = shrunk_course(numbers, 10.0, lambda window_s: 10.0 * window_s)
    assert kept.mean() == pytest.approx(1.0)
    assert np.corrcoef(kept, expected)[0, 1] > 0.99
    assert kept.var() == pytest.approx((expected / 100).var(), rel=0.1)
    chance = shrunk_course(rng.poisson(100.0, 64), 10.0, lambda window_s: 10.0 * window_s)
    assert chance.std() < 0.07 < kept.std()  # chance alone: 0.1


def test_steps_of_a_course_hold_twenty_tasks_or_there_is_none(tmp_path):
    """Thirty tasks, most of them early, are too few to say that this was more than chance: their rate is steady."""
    early = [*np.linspace(0, 500, 27).round(3), 600.0, 800.0, 1000.0]
    log = described_log(str(written(tmp_path, early, input_tokens=100, output_tokens=10)), [])
    assert isinstance(fit(log.calls()).arrivals, Steady)


def test_arrivals_follow_their_course_again_and_again():
    course = Course(step_s=100.0, relative_rates=(3.0, 1.0), process=Steady(rate_per_s=2.0))
    each = np.array([counts(moments(course, 400.0, seed), 100.0, 400.0) for seed in range(200)])
    for step, expected in enumerate((300, 100, 300, 100)):
        assert_agrees(each[:, step], expected, within=0.05)
        assert_disagrees(each[:, step], 200, within=0.05)
    assert Course(step_s=1.0, relative_rates=(0.0, 1.0), process=Steady(rate_per_s=5.0)).mean_rate_per_s == 5.0


def test_a_course_without_a_rate_is_refused():
    with pytest.raises(ConfigError, match="relative_rates must be >= 0 and not all 0"):
        parse_config(Course, {"step_s": 1, "relative_rates": [0, 0], "process": {"kind": "steady", "rate_per_s": 1}})


def test_answers_that_depend_on_their_prompts_do_so_in_the_fit():
    rng = np.random.default_rng(1)
    inputs = rng.lognormal(6, 1, 20_000).astype(int) + 1
    outputs = (inputs * rng.lognormal(-1, 0.5, 20_000)).astype(int) + 1
    fitted = fitted_lengths(inputs, outputs)
    drawn = fitted.draw(np.random.default_rng(2), 40_000)
    for tokens, found, mean in zip(
        (inputs, outputs), drawn, (fitted.mean_input_tokens, fitted.mean_output_tokens), strict=True
    ):
        shares = [0.1, 0.5, 0.9, 0.99]
        assert np.quantile(found, shares) == pytest.approx(np.quantile(tokens, shares), rel=0.05)
        assert found.mean() == pytest.approx(mean, rel=0.02)
    correlations = [np.corrcoef(np.log(first), np.log(second))[0, 1] for first, second in ((inputs, outputs), drawn)]
    assert correlations[1] == pytest.approx(correlations[0], abs=0.05) and correlations[0] > 0.8


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"at": [0, 0.5]}, "at must ascend from 0 to 1"),
        ({"input_tokens": [1, 2, 3]}, "must have 2 numbers in a row"),
        ({"output_tokens": [[5, 4]]}, "must be >= 1 and never fall"),
    ],
)
def test_quantiles_that_are_none_are_refused(keys, said):
    whole = {"kind": "quantiles", "at": [0, 1], "input_tokens": [1, 9], "output_tokens": [[1, 2]]}
    with pytest.raises(ConfigError, match=said):
        parse_config(Quantiles, whole | keys)


def test_a_spread_by_quantiles_has_the_moments_that_it_states():
    spread = Spread.model_validate({"quantiles": [1, 1, 2, 5, 30]})
    drawn = spread.draw_whole(np.random.default_rng(1), 200_000)
    mean, second = spread.whole_moments
    assert (drawn.min(), drawn.max(), np.mean(drawn == 1)) == (1, 30, pytest.approx(0.375, abs=0.01))
    assert drawn.mean() == pytest.approx(mean, rel=0.01) and (drawn**2.0).mean() == pytest.approx(second, rel=0.02)
    assert spread.mean == pytest.approx(mean, rel=0.01)
    assert Spread.model_validate(spread.model_dump()) == spread
    for keys, law in (({"quantiles": [3, 1]}, "never fall"), ({"quantiles": [1, 3], "sigma": 1.0}, "in place of")):
        with pytest.raises(ConfigError, match=law):
            parse_config(Spread, keys)


def test_a_log_of_weeks_has_a_weekly_profile_at_its_own_hours(tmp_path):
    office = Weekly(hours=(*(0.2,) * 9, *(2.0,) * 9, *(0.2,) * 6, *(0.1,) * 24), process=Steady(rate_per_s=0.01))
    stamps = np.datetime64("2026-03-02T00:00:00") + (moments(office, 14 * 86_400.0) * 1000).astype("timedelta64[ms]")
    path = written(tmp_path, [f"{s}Z" for s in stamps], input_tokens=100, output_tokens=10)
    (tmp_path / "log.csv").write_text(path.read_text().replace("arrived_s", "timestamp"))
    fitted = fit_log(described_log(str(path), ["columns.arrived=timestamp"]), draws=2).fitted
    assert fitted.arrivals.kind == "weekly" and fitted.arrivals.process.kind == "steady"
    assert fitted.starts_at.startswith("2026-03-02T00:0")
    hours = fitted.arrivals.hours
    assert np.mean(hours[9:18]) > 7 * np.mean(hours[0:9]) and np.mean(hours[120:]) < 0.3


KNOWN = {
    "azure_2023_code.csv": (22, set()),
    "azure_2023_conv.csv": (2, set()),
    "mooncake_synthetic.jsonl": (8, set()),
    "llmservingsim/workload_mixed.jsonl": (64, {"dispersion at 10 s"}),  # 6 windows
    "claude_code/sessions_llmservingsim.jsonl": (
        24,
        {"input tokens, p50", "calls per session", "sessions/s", "dispersion at 10 min"},
    ),
}
"""Of real logs: draws, and the figures that are further away than they should be."""


@pytest.mark.parametrize("name", KNOWN)
def test_fits_of_real_logs_are_near(name):
    if not (TRACES / name).exists():
        pytest.skip(f"REAL LOG ABSENT: {TRACES / name}")
    draws, known = KNOWN[name]
    found = fit_log(described_log(str(TRACES / name), []), draws=draws)
    assert {d.name for d in found.distances if not d.is_met} <= known
    targets = {d.name.split(" at ")[0].split(",")[0]: d.target for d in found.distances if d.target}
    assert targets["dispersion"] == 0.25 and targets["input tokens"] == 0.05


def test_what_is_written_is_what_a_scenario_plays(tmp_path, capsys):
    tokens = np.random.default_rng(1).integers(50, 500, 2000)
    path = written(tmp_path, moments(ON_OFF, 2000.0)[:2000], input_tokens=tokens, output_tokens=20)
    out = tmp_path / "mine"
    assert main(["fit", str(path), "--out", str(out), "--name", "chat"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines()[:-1])) <= 80 and "dispersion at 10 s" in printed
    words = [word for word in printed.splitlines()[-1].split() if "=" in word]
    assert main([f"--config-dir={out}", *words, "horizon_s=30", f"output.dir={tmp_path}", "output.folder=x"]) == 0
    keys = yaml.safe_load((out / "arrivals" / "chat.yaml").read_text())
    assert keys["process"]["kind"] == "mmpp" if keys["kind"] == "course" else keys["kind"] == "mmpp"
    assert main(["fit", str(path), "--out", str(out), "--name", "chat"]) == 2
    assert "exists already; --force replaces it" in capsys.readouterr().err
    assert main(["fit", str(path), "--out", str(out), "--name", "chat", "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["distances"][0]["name"] == "requests/s"


def test_sessions_are_fitted_as_agent_loops(tmp_path):
    rng, rows = np.random.default_rng(1), []
    for session in range(150):
        second, context = session * 20.0, 500 + int(rng.integers(100))
        for _ in range(int(rng.integers(2, 9))):
            rows.append((second, context, 30, session))
            second, context = second + 2 + rng.exponential(10.0), context + 30 + int(rng.integers(50, 150))
    rows.sort()
    times_s, inputs, outputs, sessions = zip(*rows, strict=True)
    path = written(tmp_path, times_s, input_tokens=inputs, output_tokens=outputs, session_id=sessions)
    found = fit_log(described_log(str(path), []), draws=20)
    assert found.fitted.tasks.kind == "agent_loop" and "lengths" not in found.fitted.groups
    far = {
        d.name: d.relative for d in found.distances if d.name.startswith(("input", "output", "calls")) and not d.is_met
    }
    assert all(abs(apart) < 0.08 for apart in far.values()), far


def test_a_handful_of_requests_is_no_traffic(tmp_path):
    few, enough = (
        described_log(str(written(tmp_path, np.arange(float(n)), f"{n}.csv", input_tokens=100, output_tokens=10)), [])
        for n in (19, 20)
    )
    with pytest.raises(TraceError, match="has 19 requests: a fit needs 20 or more"):
        fit_log(few)
    assert fit_log(enough, draws=3).fitted.arrivals.mean_rate_per_s == pytest.approx(1.0, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("fleet=always_on",), ("fleet=hybrid_overflow",), ("fleet=scale_to_zero",)], ids=lambda words: words[0]
)
def test_a_fleet_serves_the_fit_as_it_serves_the_log(words):
    """Time to first token and cost of a replayed hour of chat and of its fit, within 15 % of each other."""
    path = TRACES / "azure_2023_conv.csv"
    if not path.exists():
        pytest.skip(f"REAL LOG ABSENT: {path}")
    card, hour = ("gpu=h100_sxm", "model=llama_3_1_8b", *words), fit_log(described_log(str(path), []), draws=1).fitted
    replayed = sim.replicate(sim.scenario("arrivals=replay", f"arrivals.path={path}", *card), replications=1)
    played = sim.replicate(sim.scenario(*card, horizon_s=hour.horizon_s, **hour.groups), replications=2)
    for metric in ("ttft_p95_s", "usd_total"):
        assert played[metric].mean == pytest.approx(replayed[metric].mean, rel=0.15), metric
