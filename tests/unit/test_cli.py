"""The command line: one scenario, a sweep, and every way of saying no in one line with nothing written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

import sim.study.replicate
from sim.scenarios import parse
from sim.schema import AuditError
from tests.unit.cli import HERE, TINY, files_below

SUMMARY_KEYS = """
requests requests_finished requests_refused requests_abandoned requests_unfinished requests_failed
requests_never_sent tasks input_tokens cached_input_tokens output_tokens
ttft_mean_s ttft_p50_s ttft_p95_s ttft_p99_s tpot_mean_s tpot_p50_s tpot_p99_s
e2e_mean_s e2e_p50_s e2e_p95_s e2e_p99_s task_mean_s task_p95_s slo_attainment_fraction
busy_fraction_of_paid token_fraction_of_peak batch_fill_fraction gpu_hours_paid
cold_starts cold_start_wait_p95_s api_request_fraction preemptions prefix_hit_fraction
api_429s api_errors api_attempts_per_request api_hedged_fraction
evicted_while_thinking_fraction recomputed_tokens
usd_total usd_gpu usd_idle usd_cold_start usd_api usd_overhead
usd_per_mtok_output usd_per_mtok_total usd_per_request usd_per_task usd_per_month
""".split()


def only_run(folder: Path) -> Path:
    (run,) = (folder / "outputs" / "runs").iterdir()
    return run


def test_one_scenario_leaves_its_whole_folder(play, tmp_path):
    words = ["arrivals=bursty", "arrivals.rate_per_s=0.1", "scaling=scale_to_zero", "replications=2"]
    said = play(*TINY, *words, "output.figures=null")
    assert said.code == 0
    run = only_run(tmp_path)
    expected = {"summary.json", "replications.json", "config.yaml", "usage.json", "bill.csv", "row.json",
                "requests.parquet", "spans.parquet", "timeline.png"}  # fmt: skip
    assert set(files_below(run)) == expected
    summary = json.loads((run / "summary.json").read_text())
    assert set(SUMMARY_KEYS) <= set(summary) and "ttft_p99_s_ci95" in summary
    requests = pd.read_parquet(run / "requests.parquet")
    assert set(requests["replication"]) == {0, 1}
    assert len(requests) == 2 * summary["requests"]  # the summary is the mean of the two
    assert str(run.relative_to(tmp_path)) in said.out.replace("\n", "")


def test_a_run_alone_leaves_out_what_it_is_told_to(play, tmp_path):
    play(*TINY, "output.requests=false", "output.spans=false")
    left = set(files_below(only_run(tmp_path)))
    assert "summary.json" in left and not left & {"requests.parquet", "spans.parquet", "timeline.png"}


def test_the_same_scenario_gives_the_same_numbers_in_the_same_folder(play, tmp_path):
    play(*TINY)
    first = (only_run(tmp_path) / "summary.json").read_bytes()
    play(*TINY)
    assert (only_run(tmp_path) / "summary.json").read_bytes() == first


def test_the_written_config_is_a_config(play, tmp_path):
    play(*TINY)
    assert parse(yaml.safe_load((only_run(tmp_path) / "config.yaml").read_text())).horizon_s == 600


def test_a_sweep_ends_in_one_table(play, tmp_path):
    words = ["arrivals=steady,bursty", "fleet=always_on,api_only", "arrivals.rate_per_s=0.1", "output.figures=null"]
    said = play("-m", *HERE, *TINY, *words)
    assert said.code == 0
    table = pd.read_csv(tmp_path / "outputs/by_arrivals_and_fleet/results.csv")
    pairs = set(zip(table["arrivals"], table["fleet"], strict=True))
    assert pairs == {(a, f) for a in ("steady", "bursty") for f in ("always_on", "api_only")}
    assert (table["status"] == "ok").all() and (table["usd_total"] > 0).all()
    assert (tmp_path / "outputs/by_arrivals_and_fleet/cost_against_tail_latency.png").is_file()
    assert said.out.count("is the cheapest") + said.out.count("none meets") == 2  # a verdict per shape


def test_a_repeated_sweep_does_only_what_is_left(play, tmp_path):
    words = ["-m", *HERE, *TINY, "output.study=mine"]
    play(*words, "seed=1,2")
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "outputs/mine").glob("*/row.json")}
    said = play(*words, "seed=1,2,3")
    assert "2 of 3 scenarios are already done" in said.err
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in stamps.items())
    assert list(pd.read_csv(tmp_path / "outputs/mine/results.csv")["seed"]) == [1, 2, 3]


def test_a_failing_scenario_is_a_row_and_the_others_go_on(play, tmp_path):
    words = ["-m", *HERE, *TINY, "output.study=mine", "arrivals.rate_per_s=0.1,-1,0.2"]
    said = play(*words)
    assert said.code == 1
    table = pd.read_csv(tmp_path / "outputs/mine/results.csv")
    assert list(table["status"]) == ["ok", "failed", "ok"]
    assert table["error"][1] == "arrivals.rate_per_s = -1: should be greater than 0"
    assert "arrivals.rate_per_s = -1" in " ".join(said.out.split())


def test_what_only_fails_under_way_is_a_row_too_and_runs_again(play, tmp_path):
    words = ["-m", *HERE, *TINY[2:], "output.study=mine", "arrivals=replay", "arrivals.path=a.csv,b.csv"]
    words = [w for w in words if "rate_per_s" not in w]
    good = "arrived_s,input_tokens,output_tokens\n0,100,10\n5,100,10\n"
    Path("a.csv").write_text(good)
    Path("b.csv").write_text("arrived_s,input_tokens\n0,100\n")
    assert play(*words).code == 1
    table = pd.read_csv("outputs/mine/results.csv")
    assert list(table["status"]) == ["ok", "failed"] and "b.csv" in table["error"][1]
    Path("b.csv").write_text(good.replace("5,", "6,"))  # the content of a log is part of the scenario's name
    said = play(*words)
    assert said.code == 0 and "1 of 2 scenarios are already done" in said.err


def test_a_key_that_a_fleet_lacks_does_not_vary_it(play):
    said = play("-m", *TINY, "scaling.n_replicas=1,2", "fleet=always_on,scale_to_zero", "output.study=unlike")
    table = pd.read_csv("outputs/unlike/results.csv")
    assert said.code == 0 and list(table["status"]) == ["ok"] * 3
    assert [(fleet, n) for fleet, n in zip(table["fleet"], table["scaling.n_replicas"].fillna(0), strict=True)] == [
        ("always_on", 1), ("scale_to_zero", 0), ("always_on", 2),
    ]  # fmt: skip
    assert "nan" not in said.out
    assert "scaling.n_replica: is not a known key" in play("-m", *TINY, "scaling.n_replica=1,2", "fleet=always_on").line


def test_a_member_that_cannot_be_composed_is_a_row(play, tmp_path):
    (tmp_path / "mine/slo").mkdir(parents=True)
    (tmp_path / "mine/slo/broken.yaml").write_text("ttft_s: ${nothing.of.this.name}\n")
    said = play("--config-dir=mine", "-m", *TINY, "slo=chat_2s,broken", "output.study=mixed")
    table = pd.read_csv("outputs/mixed/results.csv")
    assert said.code == 1 and list(table["status"]) == ["ok", "failed"] and "nothing" in table["error"][1]


def test_an_experiment_sweeps_by_itself_and_gives_way_to_arguments(play):
    said = play(*HERE, "+experiment=shapes_by_fleets", "arrivals=steady", "fleet=api_only,always_on", "horizon_s=3600",
               "arrivals.exact_tasks=5", "replications=1")  # fmt: skip
    assert said.code == 0
    table = pd.read_csv("outputs/shapes_by_fleets/results.csv")
    assert list(table["fleet"]) == ["api_only", "always_on"] and set(table["tasks"]) == {5}


def test_help_is_worth_reading(play):
    said = play("run", "--help")
    assert said.code == 0 and "Traceback" not in said.err
    for word in ("arrivals: bursty", "scale_to_zero", "llm-traffic-sim reprice", "+experiment=shapes_by_fleets"):
        assert word in said.out
    assert len(said.out.splitlines()) < 60


REFUSALS = {
    "an unknown choice": (["gpu=h1000"], "gpu=h1000: is not one of a100"),
    "an unknown group": (["arivals=bursty"], "did you mean arrivals?"),
    "an unknown key": (["arrivals.rate_rps=3"], "arrivals.rate_rps: is not a known key"),
    "an added key": (["+extra=1"], "extra = 1: is not a known key"),
    "an optional key without a plus": (
        ["fleet=api_only", "api=ideal", "api.tokens_per_minute=9"],
        "+api.tokens_per_minute=... sets it",
    ),
    "a wrong type": (["arrivals.rate_per_s=abc"], "arrivals.rate_per_s = 'abc': should be a valid number"),
    "a negative rate": (["arrivals.rate_per_s=-5"], "arrivals.rate_per_s = -5: should be greater than 0"),
    "two faults": (["arrivals.rate_per_s=-5", "seed=-1"], "seed = -1"),
    "nobody to serve": (["scaling=none"], "nothing would serve"),
    "zero replicas": (["scaling.n_replicas=0"], "scaling.n_replicas = 0: should be greater than or equal to 1"),
    "a model that does not fit": (["model=llama_3_3_70b", "gpu=rtx_4090"], "rtx_4090 gives"),
    "a missing value": (["arrivals=replay"], "arrivals.path: is required"),
    "a missing log": (["arrivals=replay", "arrivals.path=nope.csv"], "nope.csv: cannot be read"),
    "several values without -m": (["seed=1,2"], "add -m"),
    "a malformed override": (["a b"], "is not of the form key=value"),
    "an unknown flag": (["--nonsense"], "unrecognized arguments: --nonsense"),
    "code": (["+arrivals._target_=os.system"], "can never name one with `_target_`"),
    "code inside": (["+arrivals={_target_: os.system}"], "_target_"),
    "an output folder under a file": (["output.dir=in_the_way/x"], "output.dir: cannot write to in_the_way/x"),
    "a sweep with an unknown choice": (["-m", "arrivals=steady,nope"], "arrivals=nope: is not one of bursty"),
    "a sweep without a valid scenario": (["-m", "seed=-1,-2"], "seed = -1"),
    "a sweep of missing logs": (["-m", "arrivals=replay", "arrivals.path=x.csv", "seed=1,2"], "x.csv: cannot be read"),
    "a sweep into a file": (["-m", "seed=1,2", "output.dir=in_the_way"], "cannot write to in_the_way"),
    "a name that is a path": (["name=../../x"], "name = '../../x': must begin with a letter"),
    "an absolute name": (["name=/x"], "name = '/x': must begin with a letter"),
    "a name that hides": (["name=.x"], "name = '.x': must begin with a letter"),
    "a name too long for a folder": ([f"name={'x' * 300}"], "must begin with a letter or digit and have at most 150"),
    "a name too long in UTF-8": ([f"name='{'ß' * 140}'"], "at most 150"),
    "a name of two lines": (['name="a\\nb"'], "must begin with a letter"),
    "a huge number": (["horizon_s=1e300"], "horizon_s = 1e+300: must be 0, or between 1e-15 and 1e+15"),
    "a huge whole number": ([f"scaling.n_replicas=1{'0' * 400}"], "scaling.n_replicas"),
    "a tiny number": (["arrivals.rate_per_s=1e-308"], "arrivals.rate_per_s = 1e-308: must be 0, or between"),
    "a huge number in a list": (["arrivals=diurnal", f"arrivals.profile=[1e16{',1' * 23}]"], "must be 0, or between"),
    "a study that is a path": (["-m", "seed=1,2", "output.study=../x"], "must be a plain folder name"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_one_line_and_leaves_nothing(name, play, tmp_path):
    words, expected = REFUSALS[name]
    (tmp_path / "in_the_way").write_text("I am a file")
    said = play(*words)
    assert said.code == 2
    assert said.line.startswith("error: ") and expected in said.line
    assert files_below(tmp_path) == ["in_the_way"]
    assert (tmp_path / "in_the_way").read_text() == "I am a file"


def test_a_log_without_a_column_is_refused_by_name(play, tmp_path):
    (tmp_path / "log.csv").write_text("arrived_s,input_tokens\n0,100\n")
    said = play("arrivals=replay", "arrivals.path=log.csv")
    assert said.code == 2 and "log.csv" in said.line and "output_tokens" in said.line
    assert files_below(tmp_path) == ["log.csv"]


def test_a_config_folder_of_ones_own(play, tmp_path):
    (tmp_path / "mine/fleet").mkdir(parents=True)
    (tmp_path / "mine/fleet/pair.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /scaling: always_on\nscaling: {n_replicas: 2}\n"
    )
    said = play("--config-dir", "mine", *TINY, "fleet=pair")
    assert said.code == 0
    summary = json.loads((only_run(tmp_path) / "summary.json").read_text())
    assert summary["gpu_hours_paid"] == pytest.approx(2 * 600 / 3600)


def test_a_broken_conservation_law_is_called_a_defect(play, tmp_path, monkeypatch):
    def broken(facts):
        raise AuditError("audit: tokens are conserved: 3 in, 4 out")

    monkeypatch.setattr(sim.study.replicate, "audit", broken)
    said = play(*TINY)
    assert said.code == 3 and "a defect of the simulator" in said.line and "3 in, 4 out" in said.line
    assert not (tmp_path / "outputs").exists()


ENDLESS_S = 30_000_000


def interrupted(tmp_path, words, under_way) -> str:
    """Start, press Ctrl-C once `under_way()`, and return what was said; nothing half-written may be left."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "sim", *words, "lengths=fixed"], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        # A shell starts background jobs with Ctrl-C ignored, which their children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline_s = time.monotonic() + 120
    while not under_way() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.2)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err and "Traceback" not in err
    assert not [name for name in files_below(tmp_path) if ".partial" in name]
    return err


@pytest.mark.slow
def test_ctrl_c_in_a_run_writes_nothing(tmp_path):
    started_s = time.monotonic()
    interrupted(tmp_path, [f"horizon_s={ENDLESS_S}"], lambda: time.monotonic() > started_s + 4)
    assert not [name for name in files_below(tmp_path) if "." in name]


@pytest.mark.slow
def test_ctrl_c_in_a_sweep_keeps_what_is_done(tmp_path):
    def rows():
        return list(tmp_path.glob("outputs/by_horizon_s/*/row.json"))

    err = interrupted(tmp_path, ["-m", f"horizon_s=60,{ENDLESS_S}", "hydra.launcher.n_jobs=2"], rows)
    assert "1 of 2 scenarios are kept" in err
    assert [json.loads(row.read_text())["status"] for row in rows()] == ["ok"]
