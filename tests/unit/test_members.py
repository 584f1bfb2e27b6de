"""A study accumulates: its table and verdict cover what earlier sweeps finished in its folder, if that still holds."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

import sim
from sim.study import grid
from sim.study.folder import program_name, write_json
from sim.study.members import members_of
from tests.unit.cli import HERE, TINY

MINE = Path("outputs/mine")
SWEEP = ["-m", *HERE, *TINY, "output.study=mine", "slo.ttft_s=100"]


def _table() -> pd.DataFrame:
    return pd.read_csv(MINE / "results.csv")


def test_a_fleet_that_is_added_is_compared_with_those_that_are_there(play, collect):
    """Two replicas alone would be the cheapest of what was tried, though one that does as well lay in the folder."""
    play(*SWEEP, "scaling.n_replicas=10,3,1")
    added = play(*SWEEP, "scaling.n_replicas=2")
    said = " ".join(added.out.split())
    assert list(_table()["scaling.n_replicas"]) == [2, 1, 3, 10]
    assert "mine: scaling.n_replicas=1 is the cheapest that meets the SLO" in said
    assert "3 of 4 scenarios: played by earlier sweeps into this folder; output.study=NAME begins another" in said
    assert collect(str(MINE), "--no-page").out == play(*SWEEP, "scaling.n_replicas=2").out == added.out


def test_a_sweep_tells_of_its_own_scenarios_while_another_is_under_way_in_the_same_folder(play, monkeypatch):
    """The other has put its list in place of this one's, and has finished nothing yet."""
    play_really = grid.play_grid

    def overtaken(*given):
        folder = play_really(*given)
        write_json(folder / "study.json", {"digests": ["0123456789ab"], "program": program_name()})
        return folder

    monkeypatch.setattr("sim.study.sweep.play_grid", overtaken)
    said = play(*SWEEP, "scaling.n_replicas=1,2")
    assert "missing" not in said.out and "so far" not in said.out and len(_table()) == 2


def test_sweeps_that_give_other_keys_stand_in_one_table(play):
    """A key that one of them did not give says what its rows were played with; other traffic is another question."""
    play(*SWEEP, "fleet=always_on,api_only")
    said = play(*SWEEP, "gpu=l4", "engine.tensor_parallel=1", "model=llama_3_1_8b", "horizon_s=300")
    table = _table()
    assert list(table["fleet"].isna()) == [True, False, False], "a fleet is several choices, of which none has its name"
    assert list(table["gpu"])[:2] == ["l4", "h100_sxm"], "as played, though the first sweep did not say so"
    assert list(table["gpu"].isna()) == [False, False, True], "an API has no cards"
    assert list(table.columns).index("fleet") < list(table.columns).index("status"), "it tells scenarios apart"
    verdicts = [line for line in said.out.splitlines() if " the SLO" in line and line[0].isalpha()]
    assert len(verdicts) == 2, "each is a question of its own"


def test_what_an_earlier_sweep_did_not_finish_is_not_in_the_table(play):
    assert play(*SWEEP, "engine.max_num_seqs=4,0").code == 1  # no server has a batch of 0
    assert play(*SWEEP, "engine.max_num_seqs=8").code == 0
    assert list(_table()["engine.max_num_seqs"]) == [8, 4]


def test_a_log_that_changed_under_the_same_words_takes_the_place_of_its_former_self(play, tmp_path):
    log = tmp_path / "log.csv"
    words = ["-m", *HERE, "arrivals=replay", f"arrivals.path={log}", "horizon_s=null", "output.study=mine"]
    for n in (20, 30):
        log.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{i},10,5\n" for i in range(n)))
        said = play(*words, "seed=1,2")
    assert list(_table()["requests"]) == [30, 30]
    assert "left out, 2 of the folder: the same words were given again" in said.out
    log.write_text(log.read_text() + "40,10,5\n")
    said = play(*words, "seed=3")
    assert list(_table()["requests"]) == [31, 30, 30], "seeds 1 and 2 were not played with the log of today"
    assert len([line for line in said.out.splitlines() if "SLO" in line and line.startswith("seed=")]) == 3


def test_a_log_that_is_put_back_counts_as_asked_for_last(play, tmp_path):
    log = tmp_path / "log.csv"
    words = ["-m", *HERE, "arrivals=replay", f"arrivals.path={log}", "horizon_s=null", "output.study=mine"]
    for n in (20, 30, 20):
        log.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{i},10,5\n" for i in range(n)))
        play(*words, "seed=1,2")
    play(*words, "seed=3")
    assert list(_table()["requests"]) == [20, 20, 20]


def test_a_row_that_cannot_be_read_is_named(play, collect):
    play(*SWEEP, "scaling.n_replicas=1,2")
    play(*SWEEP, "scaling.n_replicas=3")
    (row,) = MINE.glob("*n_replicas=1-*/row.json")
    row.write_text(row.read_text()[:500])
    said = " ".join(collect(str(MINE), "--no-page").out.split())
    assert f"left out, {row.parent.name}: its row.json cannot be read" in said
    play(*SWEEP, "scaling.n_replicas=1,2")
    assert list(_table()["scaling.n_replicas"]) == [1, 2, 3]


def test_a_copy_that_somebody_made_of_a_folder_is_no_scenario(play, collect):
    play(*SWEEP, "scaling.n_replicas=1,2")
    (one,) = MINE.glob("*n_replicas=1-*")
    shutil.copytree(one, one.with_name(f"{one.name}.bak"))
    said = collect(str(MINE), "--no-page")
    assert said.code == 0 and list(_table()["scaling.n_replicas"]) == [1, 2] and "left out" not in said.out


def test_of_several_former_selves_the_newest_counts(tmp_path):
    for age_s, (name, seed) in enumerate((("new", "1"), ("old", "1"), ("older", "1"), ("last", "2"))):
        path = tmp_path / f"x-{name}" / "row.json"
        write_json(path, {"status": "ok", "digest": name, "overrides": {"seed": seed}, "program": "p", "files": {}})
        os.utime(path.parent, (1000 - age_s, 1000 - age_s))
    write_json(tmp_path / "study.json", {"digests": ["last"], "program": "p"})
    found = members_of(tmp_path)
    assert list(found.rows) == ["x-last", "x-new"] and found.n_earlier == 1 and found.n_superseded == 2


def test_what_another_version_of_the_program_played_is_told_and_left_out(play, collect):
    play(*SWEEP, "scaling.n_replicas=1,2")
    for row in MINE.glob("*n_replicas=2*/row.json"):
        row.write_text(json.dumps(json.loads(row.read_text()) | {"program": "0123456789ab"}))
    said = play(*SWEEP, "scaling.n_replicas=3")
    assert list(_table()["scaling.n_replicas"]) == [3, 1]
    assert "left out, 1 of the folder: played by another version of the program" in said.out


def test_a_folder_that_lost_its_list_has_every_row(play, collect):
    play(*SWEEP, "engine.max_num_seqs=4,0")
    (MINE / "study.json").unlink()
    assert "2 scenarios, 1 failed" in collect(str(MINE), "--no-page").out


def test_other_prices_are_told_of_every_scenario_of_the_study(play, reprice):
    play(*SWEEP, "scaling.n_replicas=1")
    play(*SWEEP, "scaling.n_replicas=2")
    said = reprice(str(MINE), "prices.gpu.usd_per_gpu_hour.h100_sxm=5")
    assert said.code == 0 and "n_replicas=1 " in said.out and "n_replicas=2 " in said.out
    assert len(pd.read_csv(next(MINE.glob("repriced/*/results.csv")))) == 2


def test_other_prices_of_some_scenarios_are_not_told_of_those_that_had_them_before(base):
    table = sim.sweep(base, study="mine", n_jobs=1, **{"scaling.n_replicas": [1, 2]})
    dear = {"prices.gpu.usd_per_gpu_hour.h100_sxm": 5}
    assert len(table.reprice(**dear)) == 2
    one = sim.sweep(base, study="mine", n_jobs=1, **{"scaling.n_replicas": [2]}).reprice(**dear)
    assert list(one.frame["scaling.n_replicas"]) == [2] and not any("left out" in note for note in one.notes)


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return sim.scenario(*TINY[:-1])


def test_in_python_a_sweep_returns_its_own_scenarios_and_the_folder_has_all(base):
    first = sim.sweep(base, study="mine", n_jobs=1, **{"scaling.n_replicas": [1, 2]})
    second = sim.sweep(base, study="mine", n_jobs=1, **{"scaling.n_replicas": [3]})
    assert (len(first), len(second)) == (2, 1) and not any("earlier" in note for note in second.notes)
    whole = sim.load("outputs/mine")
    assert list(whole.frame["scaling.n_replicas"]) == [3, 1, 2] == list(_table()["scaling.n_replicas"])
    assert any("2 of 3 scenarios: played by earlier sweeps" in note for note in whole.notes)
    assert "n_replicas=1 is the cheapest" in str(whole.verdicts)
