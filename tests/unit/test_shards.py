"""A sweep on several machines: each plays its part of the folders, and the table is the one of a single machine."""

from __future__ import annotations

import json

import pytest

from sim.composer import Composer
from sim.study.collect import FIGURE
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


def test_a_shard_composes_what_falls_to_it_once_another_has_named_all(play, collect, tmp_path, monkeypatch):
    composed = []
    plain = Composer.plain
    monkeypatch.setattr(
        Composer, "plain", lambda self, words, *more: composed.append(words) or plain(self, words, *more)
    )
    sweep, study = [*SWEEP, "engine.max_num_seqs=4,8"], f"{STUDY}/study"
    own = []
    for shard in ("1/3", "2/3", "3/3"):
        composed.clear()
        play(*sweep, f"shard={shard}")
        own.append(len(composed))
    assert own == [4, 1, 1], "the first names all four, and plays two"
    records = [json.loads((tmp_path / f"{study}.{i}_of_3.json").read_text()) for i in (1, 2, 3)]
    assert records[0] == records[1] == records[2]
    composed.clear()
    play(*sweep, "seed=2,3", "shard=2/3")
    assert len(composed) == 4, "the names of another sweep are of no use"


def test_shards_of_combinations_that_are_one_scenario_compose_them_all(play):
    """A fleet that starts at zero has no such number of replicas, so four combinations are three scenarios."""
    fleets = ["-m", *HERE, *TINY, "scaling=always_on,scale_to_zero", "scaling.n_replicas=1,2"]
    first, second = (play(*fleets, f"shard={number}/2").out for number in (1, 2))
    assert "shard 1/2: 2 of 3 scenarios, 0 failed" in first and "shard 2/2: 1 of 3 scenarios, 0 failed" in second


def test_shards_of_unlike_versions_are_not_merged(play, collect, tmp_path):
    """One table of numbers from two programs would compare the programs, not the fleets."""
    for shard in ("1/2", "2/2"):
        play(*SWEEP, f"shard={shard}")
    path = tmp_path / STUDY / "study.2_of_2.json"
    other = json.loads(path.read_text())
    for change, words in (({}, "another sweep"), ({"program": "0123456789ab"}, "another version of the program")):
        path.write_text(json.dumps(other | change | {"digests": other["digests"][:2] + ["fedcba987654"]}))
        said = collect(STUDY)
        assert said.code == 2 and words in said.line and "study.1_of_2.json" in said.line


def test_a_manifest_that_cannot_be_read_counts_as_none(play, collect, tmp_path):
    for shard in ("1/2", "2/2"):
        play(*SWEEP, f"shard={shard}")
    whole = collect(STUDY).out
    (tmp_path / STUDY / "study.1_of_2.json").write_text("{")
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
