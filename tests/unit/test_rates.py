"""Records of rates: a usage report and ServeGen's client files, whose requests are drawn and not replayed."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from sim.randomness import Streams
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, TraceError
from sim.study.replicate import replicate
from sim.units import HOUR_S
from sim.workload.arrivals.client_mix import ClientMix, _gaps
from sim.workload.arrivals.rate_profile import RateProfile
from sim.workload.arrivals.replay import Replay
from sim.workload.lengths.fixed import Fixed
from sim.workload.lengths.lognormal import Lognormal
from sim.workload.logs.client_files import read_clients
from sim.workload.tasks.single_call import SingleCall
from sim.workload.workload import Workload
from tests.agree import assert_agrees, assert_disagrees
from tests.contracts.found import write_sample_clients, write_sample_usage

SERVEGEN = Path(__file__).parents[3] / "shared" / "traces" / "servegen" / "reason" / "deepseek-r1"
SPREAD = Lognormal.model_validate({"input": {"mean_tokens": 800, "cv": 1}, "output": {"mean_tokens": 200, "cv": 0.5}})


def tasks_of(arrivals, seed=1, horizon_s=None, lengths=SPREAD):
    workload = Workload(arrivals, lengths, SingleCall())
    return list(chain.from_iterable(workload.task_blocks(Streams(seed), horizon_s or workload.default_horizon_s)))


@pytest.fixture
def usage(tmp_path):
    """Two hours of 4000 and 1000 requests an hour apart, of 1300 -> 227.5 and of 300 -> 20 tokens; of two models."""
    rows = ["1770076800,3000,3900000,682500,m", "1770076800,1000,1300000,227500,n", "1770084000,1000,300000,20000,m"]
    rows.append("1770087600,1,300,20,m")
    head = "timestamp,num_model_requests,input_tokens,output_tokens,model\n"
    (tmp_path / "usage.csv").write_text(head + "\n".join(rows))
    return str(tmp_path / "usage.csv")


def test_each_stretch_has_its_rate_and_its_mean_lengths(usage):
    profile = RateProfile(path=usage)
    assert profile.record_s == 4 * HOUR_S and profile.mean_rate_per_s == pytest.approx(5001 / (4 * HOUR_S))
    counts, means = [], []
    for seed in range(6):
        tasks = tasks_of(profile, seed)
        hour = np.array([task.arrived_s // HOUR_S for task in tasks], int)
        tokens = np.array([task.calls[0][:2] for task in tasks])
        counts.append(np.bincount(hour, minlength=4))
        means.append([*tokens[hour == 0].mean(axis=0), *tokens[hour == 2].mean(axis=0)])
    counts, means = np.array(counts), np.array(means)
    assert (counts[:, 1] == 0).all(), "no row, no request"
    assert_agrees(counts[:, 0], 4000, within=0.07)
    assert_agrees(counts[:, 2], 1000, within=0.15)
    for column, expected in enumerate((1300, 227.5, 300, 20)):
        assert_agrees(means[:, column], expected, within=0.12)
        assert_disagrees(means[:, column], 1.3 * expected, within=0.12)
    equal = tasks_of(profile, lengths=Fixed(input_tokens=7, output_tokens=7))
    assert {task.calls[0].output_tokens for task in equal if task.arrived_s < HOUR_S} == {227, 228}


def test_a_report_has_dates_and_says_what_it_was_taken_for(usage):
    words = (
        "arrivals=rate_profile",
        f"arrivals.path={usage}",
        "arrivals.rate_factor=0.02",
        "fleet=api_only",
        "api=ideal",
    )
    result = replicate(parse(compose_config(*words)))
    assert result.moment_zero.shown == "Tue 2026-02-03 00:00 UTC" and 50 < result.summary["requests"] < 160
    lines = result.receipts[0].lines()
    assert lines[0].endswith("requests are drawn, none is one that was made") and "3 stretches of 3600 s" in lines[2]
    assert json.dumps(result.receipts[0].as_dict())
    with pytest.raises(
        TraceError, match="its rows are sums over up to 3000 requests .* arrivals=rate_profile plays it"
    ):
        replicate(parse(compose_config("arrivals=replay", f"arrivals.path={usage}", "arrivals.keep.model=m")))


def test_the_dispersion_of_a_profile_is_that_of_its_rate(tmp_path):
    profile = RateProfile(path=write_sample_usage(tmp_path))
    measured = []
    for seed in range(12):
        times = np.concatenate(list(profile.times(Streams(seed).generator("arrivals"), 10 * profile.record_s)))
        counts = np.bincount((times // HOUR_S).astype(int), minlength=int(10 * profile.record_s / HOUR_S))
        measured.append(counts.var() / counts.mean())
    whole = [9.0, 36.0]
    assert profile.index_of_dispersion(profile.record_s) == pytest.approx(1), "a whole record always has as many"
    assert whole[0] < profile.index_of_dispersion(HOUR_S) < whole[1]
    assert np.mean(measured) == pytest.approx(profile.index_of_dispersion(HOUR_S), rel=0.15)  # hours cut at the edges


def test_pages_of_a_usage_report_are_read_as_they_come(tmp_path):
    """Two hours on one page, the first with results of two models, the second with none, and a third on the next."""

    def bucket(start, *results):
        made = [dict(num_model_requests=n, input_tokens=i, output_tokens=o, object="result") for n, i, o in results]
        return {"object": "bucket", "start_time": start, "end_time": start + 3600, "results": made}

    first = {
        "object": "page",
        "data": [bucket(1_770_076_800, (40, 52_000, 9100), (5, 6000, 700)), bucket(1_770_080_400)],
    }
    second = {"object": "page", "data": [bucket(1_770_084_000, (9, 900, 90)), bucket(1_770_087_600, (1, 10, 5))]}
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps(page | {"has_more": page is first}) + "\n" for page in (first, second)))
    report = RateProfile(path=str(path)).log
    assert report.starts_s.tolist() == [0, 7200, 10_800] and report.ends_s.tolist() == [3600, 10_800, 14_400]
    assert report.requests.tolist() == [45, 9, 1] and report.input_tokens.tolist() == [58_000, 900, 10]
    with pytest.raises(TraceError, match="is pages of a usage report: .* arrivals=rate_profile"):
        tasks_of(Replay(path=str(path)))


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("timestamp,input_tokens,output_tokens\n0,10,5\n9,10,5\n", "has no column with the number of requests"),
        ("timestamp,n_requests,input_tokens,output_tokens\n0,5,10,5\n", "bucket_s=... says how long it is"),
        ("timestamp,n_requests,input_tokens,output_tokens\n0,0,10,5\n9,0,10,5\n", "no row has requests and tokens"),
    ],
)
def test_what_is_no_usage_report_is_refused(tmp_path, text, law):
    (tmp_path / "usage.csv").write_text(text)
    with pytest.raises(TraceError, match=law):
        tasks_of(RateProfile(path=str(tmp_path / "usage.csv")))


def test_clients_send_what_was_recorded_of_them(tmp_path):
    mix = ClientMix(path=write_sample_clients(tmp_path), rate_factor=20)
    per_window = [48 * 0.02 + 96 * 0.05, 12 * 0.1]
    assert mix.mean_rate_per_s == pytest.approx(20 * sum(per_window) / 144)
    workload = Workload(mix, None, None)
    assert workload.application_names == {0: "client_3", 1: "client_12"}
    tasks = tasks_of(mix, lengths=None)
    names = np.array([task.application for task in tasks])
    assert [(names == 0).sum(), (names == 1).sum()] == pytest.approx([20 * 600 * n for n in per_window], rel=1e-3)
    times = np.array([task.arrived_s for task in tasks])
    assert (times[names == 1] >= 60 * 600).all() and (times[names == 1] < 72 * 600).all()
    inputs = np.array([task.calls[0].input_tokens for task in tasks])
    assert set(inputs.tolist()) == {100, 300} and inputs.mean() == pytest.approx(200, rel=0.03)
    alone = ClientMix(path=str(tmp_path), clients=["12"], start_s=36_000, duration_s=3600)
    assert alone.record_s == 3600 and alone.mean_rate_per_s == pytest.approx(0.1)
    with pytest.raises(TraceError, match="clients = 4: has only 3, 12"):
        tasks_of(ClientMix(path=str(tmp_path), clients=["4"]))


@pytest.mark.parametrize(
    ("rows", "law"),
    [
        ("0,1,1,Gamma,1,1\n", "windows of equal length, from second 0 on"),
        ("600,1,1,Gamma,1,1\n1200,1,1,Gamma,1,1\n", "windows of equal length, from second 0 on"),
        ("0,1,1,Gamma,1,1\n600,1,1,,1,1\n1300,1,1,,1,1\n", "windows of equal length, from second 0 on"),
        ("0,1,1,Gamma,1,1\n0,1,1,Gamma,1,1\n", "windows of equal length, from second 0 on"),
        ("0,1,1,Gamma,1,1\n600,-1,1,Gamma,1,1\n", "line 2: needs a rate from 0"),
        ("0,1e6,1,Gamma,1,1\n600,1,1,Gamma,1,1\n", "line 1: needs a rate from 0 to 100000"),
        ("0,1,1,Gamma,1,1\n600,nan,1,Gamma,1,1\n", "must have rows of start_s, rate_per_s, cv"),
        ("0,1,1,Gamma,1,1\n600,inf,1,Gamma,1,1\n", "line 2: needs a rate"),
        ("0,1,1,Gamma,1,1\n600,1,inf,Gamma,1,1\n", "line 2: needs a rate .* a cv >= 0"),
        ("0,1,-1,Gamma,1,1\n600,1,1,Gamma,1,1\n", "line 1: needs a rate"),
        ("0,1,1,Pareto,1,1\n600,1,1,Gamma,1,1\n", "line 1: needs .* Gamma, Weibull or nothing"),
        ("0,much,1,Gamma,1,1\n600,1,1,Gamma,1,1\n", "must have rows of start_s, rate_per_s, cv"),
    ],
)
def test_what_is_no_record_of_a_client_is_refused(tmp_path, rows, law):
    write_sample_clients(tmp_path)
    (tmp_path / "chunk-3-trace.csv").write_text(rows)
    with pytest.raises(TraceError, match=f"chunk-3-trace.csv.*{law}"):
        read_clients(str(tmp_path))


def test_two_windows_with_a_rate_of_0_and_of_the_most_are_a_record(tmp_path):
    write_sample_clients(tmp_path)
    for name in ("3", "12"):
        (tmp_path / f"chunk-{name}-trace.csv").write_text("0,0,0,,1,1\n900,1e5,0,Weibull,1,1\n")
    record = read_clients(str(tmp_path))
    assert record.window_s == 900 and record.clients[0].rate_per_s.tolist() == [0, 1e5]
    assert record.clients[0].is_weibull.tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "requests_per_s", "cv", "input_tokens", "output_tokens"),
    [("3", 1.07, 1.48, 130, 992), ("12", 0.708, 1.01, 553, 364), ("35", 4.58, 3.22, 112, 2604)],
)
def test_servegens_clients_have_their_known_figures(name, requests_per_s, cv, input_tokens, output_tokens):
    if not SERVEGEN.exists():
        pytest.skip(f"REAL CLIENTS ABSENT: {SERVEGEN}")
    found = Workload(ClientMix(path=str(SERVEGEN), clients=[name]), None, None).receipts[0].clients[name]
    expected = {
        "requests_per_s": requests_per_s,
        "cv": cv,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("is_weibull", [False, True])
def test_gaps_have_their_cv(is_weibull):
    rng = np.random.default_rng(1)
    for cv in (0.3, 1.0, 2.5):
        measured = []
        for _ in range(20):
            gaps = _gaps(rng, 20_000, cv, is_weibull)
            measured.append(gaps.std() / gaps.mean())
        assert_agrees(measured, cv, within=0.05)
        assert_disagrees(measured, 1.3 * cv, within=0.05)
    burst = _gaps(rng, 500, 166.0, is_weibull)
    assert np.isfinite(burst).all() and burst.sum() == pytest.approx(1) and burst.max() > 0.5


def test_files_that_are_no_clients_are_refused(tmp_path):
    with pytest.raises(TraceError, match="has no client files"):
        tasks_of(ClientMix(path=str(tmp_path)))
    write_sample_clients(tmp_path)
    (tmp_path / "chunk-12-trace.csv").write_text("0,0.1,1,Gamma,1,1\n600,-1,1,Gamma,1,1\n")
    with pytest.raises(TraceError, match=r"chunk-12-trace.csv, line 2: needs a rate from 0 to 100000, a cv >= 0"):
        tasks_of(ClientMix(path=str(tmp_path)))
    (tmp_path / "chunk-12-dataset.json").unlink()
    (tmp_path / "chunk-12-trace.csv").write_text("0,0.1,1,Gamma,1,1\n600,1,1,Gamma,1,1\n")
    with pytest.raises(TraceError, match=r"chunk-12-dataset.json: is missing beside chunk-12-trace.csv"):
        tasks_of(ClientMix(path=str(tmp_path)))


def test_endless_work_and_unset_stamps_are_refused(tmp_path):
    mix = ClientMix(path=write_sample_clients(tmp_path), rate_factor=1e9)
    with pytest.raises(
        ConfigError, match=r"arrivals.rate_factor = 1e\+09: asks for .* tasks; at most 1e\+09 are played"
    ):
        tasks_of(mix)
    with pytest.raises(ConfigError, match="requests of client 3 in one window; at most 5,000,000 are drawn"):
        tasks_of(mix.model_copy(update={"rate_factor": 5e5}), horizon_s=600)
    usage = tmp_path / "usage.csv"
    usage.write_text(
        "timestamp,n_requests,input_tokens,output_tokens\n0,5,10,5\n1770076800,5,10,5\n1770080400,5,10,5\n"
    )
    with pytest.raises(TraceError, match="line 2, column 'timestamp': lies 56.1 years before all other stamps"):
        tasks_of(RateProfile(path=str(usage)))


def test_lengths_may_be_the_scenarios_own(tmp_path):
    mix = ClientMix(path=write_sample_clients(tmp_path), lengths_from="config")
    assert {task.calls[0].input_tokens for task in tasks_of(mix, lengths=Fixed(input_tokens=7, output_tokens=3))} == {7}
    with pytest.raises(ConfigError, match="lengths: is required by arrivals of kind 'rate_profile'"):
        Workload(RateProfile(path="x"), None, None)
