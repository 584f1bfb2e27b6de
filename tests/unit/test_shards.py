"""A sweep on several machines: each plays its part of the folders, and the table is the one of a single machine."""

from __future__ import annotations

import json

import pytest

from sim.composer import Composer
from sim.study.collect import FIGURE
from sim.study.manifest import read_manifest
from tests.unit.cli import HERE, TINY, files_below

SWEEP = ["-m", *HERE, *TINY, "seed=1,2", "engine.max_num_seqs=4,0"]  # no server has a batch of 0
STUDY = "outputs/by_engine.max_num_seqs_and_seed"


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr("sim.study.collect._draw", lambda named, folder: (folder / FIGURE).touch())


def test_shards_of_one_folder_make_the_table_of_one_machine(play, collect, tmp_path, monkeypatch):
    whole = play(*SWEEP, "output.dir=whole")
    first = play(*SWEEP, "shard=1/2")
    assert "shard 1/2: 2 of 4 scenarios" in first.out and "$" not in first.out, "no table of a part"
    early = collect(STUDY, "--no-page")
    assert "2 of 4 scenarios are missing: the sweep has not come to its end (shard 2/2)" in early.out
    second = play(*SWEEP, "shard=2/2")
    assert {first.code, second.code} <= {0, 1} and "shard 2/2: 2 of 4 scenarios" in second.out
    assert collect(STUDY, "--no-page").out == whole.out.replace("whole/", "outputs/")
    results = "by_engine.max_num_seqs_and_seed/results.csv"
    assert (tmp_path / "outputs" / results).read_bytes() == (tmp_path / "whole" / results).read_bytes()

    monkeypatch.setattr(Composer, "plain", None)  # A shard that is done composes nothing.
    assert play(*SWEEP, "shard=2/2").out == second.out


def test_a_shard_composes_what_falls_to_it_whichever_others_have_begun(play, tmp_path, monkeypatch):
    """Sixty-four machines that begin at once would else each compose ten thousand scenarios."""
    composed = []
    plain = Composer.plain
    monkeypatch.setattr(
        Composer, "plain", lambda self, words, *more: composed.append(words) or plain(self, words, *more)
    )
    sweep = [*SWEEP, "engine.max_num_seqs=4,8"]
    own = []
    for shard in ("2/3", "1/3", "3/3"):
        composed.clear()
        play(*sweep, f"shard={shard}")
        own.append(len(composed))
    assert own == [1, 2, 1]
    records = [json.loads((tmp_path / STUDY / f"study.{i}_of_3.json").read_text()) for i in (1, 2, 3)]
    assert len({record["sweep"] for record in records}) == 1 and {record["n_points"] for record in records} == {4}


def test_a_word_that_no_scenario_knows_is_refused_by_every_shard_and_one_that_some_know_by_none(play, tmp_path):
    """Of two shards, one has the fleets at zero only, which have no number of replicas."""
    for shard in ("1/2", "2/2"):
        said = play(*SWEEP, "engine.max_num_seq=4,8", f"shard={shard}")
        assert said.code == 2 and "max_num_seq" in said.line and not files_below(tmp_path)
    fleets = ["-m", *HERE, *TINY, "scaling.n_replicas=1,2", "scaling=scale_to_zero,always_on"]
    first, second = (play(*fleets, f"shard={number}/2").out for number in (1, 2))
    assert "shard 1/2: 2 of 4 scenarios, 0 failed" in first and "shard 2/2: 2 of 4 scenarios, 0 failed" in second
    (folder,) = (tmp_path / "outputs").iterdir()
    assert len(read_manifest(folder).digests) == 3, "two of four combinations are one scenario"


def test_shards_of_unlike_versions_or_logs_are_not_merged(play, collect, tmp_path):
    """One table of numbers from two programs, or two logs, would compare these, not the fleets."""
    log = tmp_path / "log.csv"
    log.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{i},10,5\n" for i in range(20)))
    words = ["-m", *HERE, "arrivals=replay", f"arrivals.path={log}", "horizon_s=null", *SWEEP[-2:]]
    for shard in ("1/2", "2/2"):
        play(*words, f"shard={shard}")
    path = tmp_path / STUDY / "study.2_of_2.json"
    record = json.loads(path.read_text())
    for change, law in (
        ({"sweep": "0123456789abcdef"}, "is of another sweep"), ({"n_points": 5}, "is of another sweep"),
        ({"program": "0123456789ab"}, "another version of the program"),
        ({"rests_on": {str(log): "0123456789abcdef"}}, f"was played with another {log}"),
    ):  # fmt: skip
        path.write_text(json.dumps(record | change))
        said = collect(STUDY)
        assert said.code == 2 and law in said.line and "study.1_of_2.json" in said.line
    path.write_text(json.dumps(record | {"digests": record["digests"][:1]}))
    assert "not those of the shard 2/2" in collect(STUDY).line


def test_a_shard_whose_record_cannot_be_read_is_named_and_mended_by_the_same_command(play, collect, tmp_path):
    for shard in ("1/2", "2/2"):
        play(*SWEEP, f"shard={shard}")
    whole = collect(STUDY).out
    (tmp_path / STUDY / "study.1_of_2.json").write_text("{")
    assert "2 of 4 scenarios are missing: the sweep has not come to its end (shard 1/2)" in collect(STUDY).out
    play(*SWEEP, "shard=1/2")
    assert collect(STUDY).out == whole


def test_a_sweep_on_one_machine_takes_the_place_of_shards_and_the_other_way_round(play, tmp_path):
    def records():
        return [name for name in files_below(tmp_path / STUDY) if name.startswith("study")]

    play(*SWEEP, "shard=1/2")
    play(*SWEEP)
    assert records() == ["study.json"]
    for shard in ("3/3", "1/3"):
        play(*SWEEP, f"shard={shard}")
    assert records() == ["study.1_of_3.json", "study.3_of_3.json"]


@pytest.mark.parametrize("shard", ["0/4", "5/4", "4", "a/b", "1/0", "-1/4", "1/4/4"])
def test_a_shard_that_is_none_is_refused_in_one_line(play, tmp_path, shard):
    said = play(*SWEEP, f"shard={shard}")
    assert said.code == 2 and "shard=1/4 to shard=4/4" in said.line and not files_below(tmp_path)


def test_a_single_run_has_no_shards(play, tmp_path):
    said = play(*TINY, "shard=1/2")
    assert said.code == 2 and "-m" in said.line and not files_below(tmp_path)
