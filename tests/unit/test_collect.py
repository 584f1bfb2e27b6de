"""Rows into a table: order, labels, what is stale, what is infinite; and the pieces that keep files whole."""

from __future__ import annotations

import itertools
import json
import math

import pandas as pd
import pytest
from omegaconf import OmegaConf

from sim.composer import Composer
from sim.schema import ConfigError
from sim.study.collect import FIGURE, GROUP, LABEL, collect, labelled, notes, write_table
from sim.study.folder import CONFIG, MANIFEST, ROW, digest, plain, replacing, require_writable, write_json, write_text
from sim.study.members import members_of, missing
from tests.unit.cli import HERE, TINY, files_below


def write_row(folder, name, overrides, status="ok", notes=(), **summary):
    error = None if status == "ok" else "too hot"
    row = {"status": status, "digest": name, "overrides": overrides, "error": error, "notes": notes, "summary": summary}
    write_json(folder / name / ROW, row)


def test_the_table_has_the_order_of_the_sweep(tmp_path):
    for name, seed in (("a", "1"), ("b", "2")):
        write_row(tmp_path, name, {"seed": seed}, usd_total=float(seed))
    write_json(tmp_path / MANIFEST, {"digests": ["b", "a"]})
    assert list(collect(tmp_path)["digest"]) == ["b", "a"]


def test_without_a_manifest_every_row_counts(tmp_path):
    write_row(tmp_path, "a", {"seed": "1"}, usd_total=1.0)
    write_row(tmp_path, "b", {"seed": "2"}, status="failed")
    table = collect(tmp_path)
    assert list(table["status"]) == ["ok", "failed"] and table["error"][1] == "too hot"


def test_what_a_sweep_did_not_get_to_is_missing(tmp_path):
    write_row(tmp_path, "a", {"seed": "1"}, usd_total=1.0)
    write_row(tmp_path, "b", {"seed": "2"}, status="failed")
    assert missing(tmp_path, ["a", "b"]) == ""  # nothing says that there should be more
    write_json(tmp_path / MANIFEST, {"digests": ["a", "b", "c", "d", "e"]})
    assert missing(tmp_path, collect(tmp_path)["digest"]).startswith("3 of 5 scenarios are missing")


def test_a_note_is_told_once_with_how_many_it_concerns(tmp_path):
    write_row(tmp_path, "a", {}, notes=["3 of 70 tasks were cut short", "9 of 80 tasks were cut short", "ticks of 3 s"])
    write_row(tmp_path, "b", {}, notes=["ticks of 3 s"])
    write_row(tmp_path, "c", {}, notes=["1 of 7.5 tasks were cut short"])
    write_row(tmp_path, "d", {}, status="failed")
    assert notes(members_of(tmp_path)) == [
        "2 of 4 scenarios, such as: 3 of 70 tasks were cut short",
        "2 of 4 scenarios: ticks of 3 s",
    ]


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no finished scenario"):
        collect(tmp_path)


def test_never_is_infinite_in_the_table(tmp_path):
    write_row(tmp_path, "a", {"seed": "1"}, ttft_p99_s="inf")
    assert collect(tmp_path)["ttft_p99_s"][0] == math.inf


@pytest.mark.parametrize(
    ("rows", "groups", "labels"),
    [
        ([("steady", "x"), ("bursty", "y")], ["steady", "bursty"], ["x", "y"]),
        ([("steady", "x"), ("steady", "y")], ["the_study", "the_study"], ["x", "y"]),
        ([("steady", "x"), ("bursty", "x")], ["steady", "bursty"], ["x", "x"]),
    ],
    ids=["shapes and fleets", "fleets only", "shapes only"],
)
def test_scenarios_of_the_same_traffic_compete(rows, groups, labels, tmp_path):
    folder = tmp_path / "the_study"
    for i, (shape, fleet) in enumerate(rows):
        write_row(folder, str(i), {"arrivals": shape, "fleet": fleet})
    named = labelled(collect(folder), folder)
    assert list(named[GROUP]) == groups and list(named[LABEL]) == labels


@pytest.mark.parametrize(
    ("varied", "groups", "labels"),
    [
        (
            {"arrivals.rate_per_s": "0.2 2", "fleet": "x y"},
            ["arrivals.rate_per_s=0.2", "arrivals.rate_per_s=2"],
            ["x", "y"],
        ),
        ({"gpu": "l4 l40s", "fleet": "x y"}, ["the_study"], ["gpu=l4, x", "gpu=l4, y", "gpu=l40s, x", "gpu=l40s, y"]),
        ({"gpu": "a b", "seed": "1 2"}, ["seed=1", "seed=2"], ["gpu=a", "gpu=b"]),
        ({"gpu": "a b", "horizon_s": "60"}, ["the_study"], ["gpu=a", "gpu=b"]),
        (
            {"engine.max_num_seqs": "4 8", "arrivals": "steady bursty", "slo.ttft_s": "1 2"},
            ["steady, slo.ttft_s=1", "steady, slo.ttft_s=2", "bursty, slo.ttft_s=1", "bursty, slo.ttft_s=2"],
            ["engine.max_num_seqs=4", "engine.max_num_seqs=8"],
        ),
        ({"tasks": "agent chat", "model": "m n"}, 4, ["this one"]),
        ({"lengths/input": "a b", "model.path": "m n", "drain_s": "0 1", "warmup_s": "0 1"}, 16, ["this one"]),
        ({"prices": "a b", "scaling.max_replicas": "1 2", "queue.patience_s": "1 2", "api": "x y"}, ["the_study"], 16),
        ({"experiment": "a b", "cold_start": "a b", "routing": "a b", "model_note": "1 2"}, ["the_study"], 16),
    ],
    ids=["rate", "gpus", "seeds", "not varied", "three keys", "tasks and models", "rest", "whom", "more whom"],
)
def test_only_scenarios_of_the_same_question_compete(varied, groups, labels, tmp_path):
    folder = tmp_path / "the_study"
    for i, values in enumerate(itertools.product(*(words.split() for words in varied.values()))):
        write_row(folder, str(i), dict(zip(varied, values, strict=True)), tasks=i, replications=2)
    named = labelled(collect(folder), folder)
    for column, expected in ((GROUP, groups), (LABEL, labels)):
        found = list(dict.fromkeys(named[column]))
        assert len(found) == expected if isinstance(expected, int) else found == expected
    assert not named.duplicated([GROUP, LABEL]).any()


def question(rate_per_s, **config):
    return {"arrivals": {"kind": "poisson", "rate_per_s": rate_per_s}, "slo": {"ttft_s": 2}, "prices": 1} | config


SAME, OTHER = "same traffic", "other traffic"
CONFIGS = {SAME: question(1), "the same said otherwise": question(1.0, prices=2), OTHER: question(2)}


@pytest.mark.parametrize(
    ("rows", "groups", "labels"),
    [
        (
            [("experiment=a fleet=x", SAME), ("experiment=a fleet=y", SAME),
             ("experiment=b fleet=x", OTHER), ("experiment=b fleet=y", OTHER)],
            ["experiment=a", "experiment=a", "experiment=b", "experiment=b"], ["x", "y", "x", "y"],
        ),
        (
            [("experiment=a fleet=x", SAME), ("experiment=b fleet=x", "the same said otherwise")],
            ["the_study"] * 2, ["experiment=a", "experiment=b"],
        ),
        (
            [("experiment=a", SAME), ("experiment=b", SAME), ("experiment=c", OTHER)],
            ["experiment=a|b", "experiment=a|b", "experiment=c"], ["experiment=a", "experiment=b", "experiment=c"],
        ),
        (
            [("slo.ttft_s=2 gpu=g", SAME), ("slo.ttft_s=2.0 gpu=h", SAME)],
            ["the_study"] * 2, ["gpu=g", "gpu=h"],
        ),
        (
            [("experiment=a gpu=g", SAME), ("experiment=b gpu=g", OTHER), ("experiment=b gpu=h", None)],
            ["experiment=a", "experiment=b", "experiment=b"], ["gpu=g", "gpu=g", "gpu=h"],
        ),
        ([("seed=1", SAME), ("seed=1", OTHER)], ["the_study (1)", "the_study (2)"], ["this one"] * 2),
        (
            [("arrivals=p fleet=x", SAME), ("arrivals=q fleet=y", OTHER)],
            ["p", "q"], ["x", "y"],
        ),
    ],
    ids=["own traffic", "same traffic", "some", "a number in two forms", "one failed", "a changed file", "no grid"],
)  # fmt: skip
def test_what_was_asked_is_read_off_the_resolved_config(rows, groups, labels, tmp_path):
    folder = tmp_path / "the_study"
    for i, (given, config) in enumerate(rows):
        status = "ok" if config else "failed"
        write_row(folder, str(i), dict(word.split("=") for word in given.split()), status=status)
        if config:
            write_text(folder / str(i) / CONFIG, OmegaConf.to_yaml(OmegaConf.create(CONFIGS[config])))
    named = labelled(collect(folder), folder)
    assert list(named[GROUP]) == groups and list(named[LABEL]) == labels


def test_an_experiment_with_less_traffic_does_not_win(play, tmp_path):
    for name, rate_per_s in (("lull", 0.05), ("rush", 0.2)):
        text = f"# @package _global_\narrivals:\n  rate_per_s: {rate_per_s}\n"
        write_text(tmp_path / "mine" / "experiment" / f"{name}.yaml", text)
    words = [word for word in TINY if "rate_per_s" not in word]
    said = play("-m", "--config-dir=mine", *HERE, "+experiment=lull,rush", "fleet=api_only,always_on", *words)
    verdicts = [line for line in said.out.splitlines() if "is the cheapest" in line]
    assert [line.split(":")[0] for line in verdicts] == ["experiment=lull", "experiment=rush"], said


def test_less_traffic_does_not_win(play, tmp_path):
    said = play("-m", *HERE, "fleet=api_only,always_on", *TINY, "arrivals.rate_per_s=0.05,0.2", "output.study=mine")
    verdicts = [line for line in said.out.splitlines() if "is the cheapest" in line]
    assert [line.split(":")[0] for line in verdicts] == ["arrivals.rate_per_s=0.05", "arrivals.rate_per_s=0.2"]
    assert not (tmp_path / "outputs/mine/cost_against_tail_latency.png").is_file(), "TINY leaves pictures out"


def test_a_key_may_have_the_name_of_a_figure(tmp_path):
    for i, tasks in enumerate(("agent", "chat")):
        write_row(tmp_path, str(i), {"tasks": tasks, "replications": "2"}, tasks=10.5 + i, replications=2)
    write_row(tmp_path, "2", {"tasks": "chat", "replications": "2"}, status="failed")
    table = collect(tmp_path)
    write_table(table, tmp_path)
    again = pd.read_parquet(tmp_path / "results.parquet")
    assert list(again["given_tasks"]) == ["agent", "chat", "chat"] and list(again["tasks"][:2]) == [10.5, 11.5]
    assert list(labelled(table, tmp_path)[GROUP]) == ["tasks=agent", "tasks=chat", "tasks=chat"]


def test_the_table_can_be_rebuilt_from_the_rows(play, collect, tmp_path):
    play("-m", *HERE, *TINY, "output.study=mine", "seed=1,2")
    before = (tmp_path / "outputs/mine/results.csv").read_text()
    (tmp_path / "outputs/mine/results.csv").unlink()
    said = collect("outputs/mine")
    assert said.code == 0 and (tmp_path / "outputs/mine/results.csv").read_text() == before
    assert collect("outputs/nowhere").code == 2
    assert pd.read_parquet(tmp_path / "outputs/mine/results.parquet")["digest"].is_unique


def test_a_sweep_that_is_done_is_not_composed_again(play, tmp_path, monkeypatch):
    """Of ten thousand scenarios that would take a minute. A log, configuration or word that changed is noticed."""
    log = tmp_path / "log.csv"
    log.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{i},10,5\n" for i in range(20)))
    words = ["-m", *HERE, "arrivals=replay", f"arrivals.path={log}", "horizon_s=null", "output.study=mine"]
    sweep = [*words, "seed=1,2", "engine.max_num_seqs=4,0"]  # no server has a batch of 0
    monkeypatch.setattr("sim.study.collect._draw", lambda named, folder: (folder / FIGURE).touch())
    first = play(*sweep)
    composed = []
    plain = Composer.plain
    monkeypatch.setattr(Composer, "plain", lambda self, words: composed.append(words) or plain(self, words))
    again = play(*sweep)
    assert (again.code, again.out) == (first.code, first.out) == (1, first.out) and not composed
    assert "2 of 4 scenarios are already done" in again.err
    log.write_text(log.read_text() + "30,10,5\n")
    assert play(*sweep).code == 1 and len(composed) == 4
    played = json.loads((tmp_path / "outputs/mine/study.json").read_text())["digests"][0]
    next(tmp_path.glob(f"outputs/mine/*-{played}/row.json")).unlink()
    assert play(*sweep).code == 1 and len(composed) == 8


@pytest.mark.slow
def test_a_sweep_tells_what_a_single_run_would(play, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{i},10,{i % 2}\n" for i in range(20)))
    words = ["arrivals=replay", f"arrivals.path={log}", "horizon_s=null", "engine.max_num_seqs=4"]
    dropped = "10 of 20 rows without input or output tokens were dropped"
    assert f"note: {dropped}\n" in play(*HERE, *words, "fleet=always_on").out
    said = play("-m", *HERE, *words, "fleet=always_on,api_only", "output.study=mine").out
    assert said.count(f"note, 2 of 2 scenarios: {dropped}\n") == 1
    rows = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/mine/*/row.json")]
    assert [row["notes"][0] for row in rows] == [dropped] * 2 and all("p99" in row["notes"][1] for row in rows)


def test_a_sweep_that_was_cut_short_claims_no_winner(play, collect, reprice, tmp_path):
    play("-m", *HERE, *TINY, "output.study=mine", "fleet=always_on,api_only", "slo.ttft_s=100")
    rows = sorted(tmp_path.glob("outputs/mine/*/row.json"))
    assert "missing" not in collect("outputs/mine").out
    rows[0].unlink()
    for said in (collect("outputs/mine"), reprice("outputs/mine", "prices.gpu.usd_per_gpu_hour.h100_sxm=5")):
        assert said.code == 0 and "1 of 2 scenarios are missing" in said.out, said.err
        assert "Nothing else was played so far." in " ".join(said.out.split()) and "tried" not in said.out


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and files_below(tmp_path) == ["x.json"]


def test_json_has_no_infinity():
    assert json.dumps(plain({"a": [math.inf, math.nan, 1.5, True, None]})) == '{"a": [null, null, 1.5, true, null]}'


def test_looking_whether_a_folder_is_writable_leaves_nothing(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert files_below(tmp_path) == []


def test_a_scenario_is_named_after_what_matters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("one")
    config = {"seed": 1, "arrivals": {"path": "log.csv"}, "output": {"dir": "a", "study": "b", "figures": False}}
    name = digest(config)
    assert digest(config | {"output": {"dir": "c", "study": None, "figures": False}}) == name
    assert digest(config | {"seed": 2}) != name
    assert digest(config | {"output": config["output"] | {"figures": True}}) != name
    (tmp_path / "log.csv").write_text("two")
    assert digest(config) != name
