"""What the client of a measured run did is a field of it, and one path plays it, whichever command is typed."""

from __future__ import annotations

import csv

import pytest

from sim.cli.fidelity import main as fidelity
from sim.measured.client import Guess, guesses
from sim.measured.client_metrics import seen_by_clients
from sim.measured.operating_points import scenario_of
from sim.measured.ordinary_command import words_of
from sim.measured.play import Play, played
from sim.measured.predict import predict
from sim.measured.prediction import Prediction, as_text
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, TraceError
from sim.simulation import simulate

POINT = {
    "source": "made up", "engine": "vllm v0.12.0", "gpu": "H100-SXM", "model": "Qwen/Qwen3-32B", "dtype": "bf16",
    "tp": "2", "input_len": "1000", "output_len": "40", "concurrency": "16", "ttft_ms_mean": "300", "notes": "",
}  # fmt: skip
SHAREGPT = POINT | {
    "concurrency": "",
    "input_len": "200",
    "output_len": "100",
    "notes": "ShareGPT; all 40 requests sent at once",
}


def ttft_s(**fields: str) -> float:
    row = POINT | fields
    skipped = int(row.get("n_warmup_requests") or 0)
    return seen_by_clients(played(scenario_of(row, Play())), slice(skipped, None))["ttft_mean_s"]


@pytest.fixture
def points(tmp_path):
    """A file of one row."""

    def write(row):
        with (tmp_path / "points.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow(row)
        return tmp_path / "points.csv"

    return write


# --- one path -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        POINT,
        POINT | {"length_low_fraction": "0.5", "ramp_s": "3", "kv_dtype": "fp8", "max_num_seqs": "8"},
        SHAREGPT,
        POINT | {"engine": "vllm 0.18.0", "notes": "sweep"},
    ],
    ids=["closed loop", "with fields", "burst", "with host time"],
)
def test_the_ordinary_command_plays_the_very_scenario(row):
    scenario = scenario_of(row, Play())
    ordinary = parse(compose_config(*words_of(scenario, "vllm")))
    assert ordinary.model_copy(update={"name": scenario.name}) == scenario


def test_fidelity_and_the_ordinary_command_give_the_same_numbers(points, capsys):
    """A closed loop on two cards, played by the words that the fidelity command prints, and by that command."""
    path = points(POINT)
    rows = predict(path, replications=1, print_commands=True)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "llm-traffic-sim arrivals=closed_loop" in line)
    words = line.partition("llm-traffic-sim ")[2].split()
    requests = simulate(parse(compose_config(*words)), measure_peak=False).facts.requests
    predicted = {row.metric: row.predicted for row in rows}
    for metric, stamp in (("ttft_mean_s", "first_token_s"), ("e2e_mean_s", "finished_s")):
        assert predicted[metric] == pytest.approx((requests[stamp] - requests["arrived_s"]).mean(), rel=1e-12)


def test_the_usual_lengths_of_the_ordinary_command_are_another_run():
    """The twin: lengths that differ by a fifth and smaller steps, as in conf, more than halve the TTFT."""
    words = words_of(scenario_of(POINT, Play()), "vllm")
    scenario = parse(compose_config(*words, "lengths.low_fraction=0.8", "engine.max_num_batched_tokens=2048"))
    assert seen_by_clients(played(scenario))["ttft_mean_s"] < 0.5 * ttft_s()


@pytest.mark.parametrize(
    ("engine", "request_s", "detokenizer_us"),
    [("vllm version not stated", 0.024, None), ("vllm 0.15.1", 0.014, 0.0), ("vllm 0.18.0", 0.014, 12.0)],
)
def test_the_host_time_of_a_sweep_is_by_the_version_of_vllm(engine, request_s, detokenizer_us):
    played_on = scenario_of(POINT | {"engine": engine, "notes": "sweep"}, Play()).engine
    assert played_on.request_overhead_s == request_s
    assert (played_on.host.detokenizer_us_per_token if played_on.host else None) == detokenizer_us


# --- what the client did --------------------------------------------------------------------------------------------


def test_equal_requests_that_start_at_once_stay_in_step_and_wait_for_each_others_prompts():
    """One prompt of 1000 tokens takes about 70 ms; sixteen in one step, about a second."""
    together = ttft_s()
    assert ttft_s(length_low_fraction="0.5") < 0.6 * together
    assert ttft_s(ramp_s="2") < 0.6 * together


def test_requests_before_the_measured_ones_are_played_and_do_not_count():
    scenario = scenario_of(POINT | {"n_requests": "64", "n_warmup_requests": "16"}, Play())
    assert scenario.arrivals.n_tasks == 80
    requests = played(scenario)
    assert seen_by_clients(requests, slice(16, None))["ttft_mean_s"] == ttft_s(n_requests="64", n_warmup_requests="16")
    assert ttft_s(n_requests="64", n_warmup_requests="16") != ttft_s(n_requests="80")


def test_the_tokenizer_takes_its_time_in_front_of_the_engine():
    """One client, so nothing waits: 1000 tokens at 20 us each are 20 ms."""
    alone = {"concurrency": "1", "n_requests": "3"}
    assert ttft_s(**alone, tokenizer_us_per_token="20") - ttft_s(**alone) == pytest.approx(0.020, rel=1e-6)


def test_prompts_that_come_again_are_found_in_the_prefix_cache():
    """Four prompts for sixteen requests of one client: twelve are computed from their last block only."""
    alone = {"concurrency": "1", "n_requests": "16", "prefix_caching": "true"}
    fresh, repeated = ttft_s(**alone), ttft_s(**alone, n_distinct_prompts="4")
    overhead_s = scenario_of(POINT, Play()).engine.request_overhead_s
    assert 0.25 < (repeated - overhead_s) / (fresh - overhead_s) < 0.6
    with pytest.raises(TraceError, match="say prefix_caching = true"):
        scenario_of(POINT | {"n_distinct_prompts": "4"}, Play())


@pytest.mark.parametrize(("column", "value"), [("ramp_s", "-1"), ("length_low_fraction", "2"), ("n_requests", "0.5")])
def test_a_field_out_of_range_is_named(column, value):
    with pytest.raises(ConfigError, match=f"{column} = '{value}'"):
        scenario_of(POINT | {column: value}, Play())


# --- what a source does not state -----------------------------------------------------------------------------------


def test_what_is_guessed_is_said_and_what_is_stated_is_no_guess():
    fp8 = POINT | {"dtype": "fp8"}
    assert list(guesses(fp8)) == [Guess("kv_dtype", "bf16", "fp8")]
    assert not list(guesses(POINT)) and not list(guesses(fp8 | {"kv_dtype": "fp8"}))
    assert list(guesses(SHAREGPT)) == [Guess("max_output_tokens", "4096", "1000")]
    assert not list(guesses(SHAREGPT | {"max_output_tokens": "2000"}))


def test_the_error_under_the_other_guess_is_beside_it(points, capsys):
    """A burst lasts until its longest output has ended, so throughput hangs on how long that may be."""
    rows = predict(points(SHAREGPT | {"out_tok_s": "1000", "output_len": "400", "output_cv": "3"}), replications=1)
    by_guess = {row.guess: row for row in rows if row.metric == "output_tok_per_s"}
    assert set(by_guess) == {"", "max_output_tokens 1000, not 4096"}
    assert by_guess["max_output_tokens 1000, not 4096"].predicted != by_guess[""].predicted
    assert fidelity([str(points(SHAREGPT | {"out_tok_s": "1000"})), "--replications", "1"]) == 0
    assert "  if max_output_tokens 1000, not 4096" in capsys.readouterr().out


def test_other_guesses_do_not_enter_the_mean_errors_of_the_usual_one():
    usual = Prediction("a", 0, "ttft_mean_s", 2.0, 1.0)
    lines = as_text([usual, usual._replace(predicted=1.5, guess="kv_dtype fp8, not bf16")]).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("mean absolute error")] == ["100.0%", "50.0%"]
    assert any(line.startswith("mean absolute error, if kv_dtype fp8, not bf16 (1)") for line in lines)
