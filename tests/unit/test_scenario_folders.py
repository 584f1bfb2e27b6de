"""What the folders of a study's scenarios are called, and that a scenario is found whatever its folder is called."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sim.study.folder import ROW, write_json
from sim.study.scenario_folders import digest_in, folder_name, folders_in
from tests.unit.cli import HERE, TINY

DIGEST = "11d68fbd7eb4"
MINE = Path("outputs/mine")


def _names() -> list[str]:
    return [path.name.removesuffix(f"-{name}") for name, path in folders_in(MINE).items()]


def test_a_folder_says_which_scenario_is_in_it(play):
    """Keys that a fleet lacks are not in its name, and results.csv, the index, has the name beside the values."""
    said = play("-m", *HERE, *TINY, "output.study=mine", "fleet=always_on,api_only", "scaling.n_replicas=1,2")
    assert said.code == 0, said.err
    assert _names() == ["always_on-scaling.n_replicas=1", "always_on-scaling.n_replicas=2", "api_only"]
    index = pd.read_csv(MINE / "results.csv")
    for row in index.to_dict("records"):
        assert row["folder"].startswith(row["fleet"]) and row["folder"].endswith(f"-{row['digest']}")
        assert (MINE / row["folder"] / ROW).is_file()


def test_where_nothing_varies_the_name_has_all_that_was_given(play):
    play("-m", *HERE, *TINY, "output.study=mine", "fleet=api_only")
    assert len(_names()) == 1 and _names()[0].startswith("api_only-lengths=fixed-horizon_s=600-arr")


def test_a_scenario_is_found_under_the_name_that_another_sweep_gave_it(play):
    play("-m", *HERE, *TINY, "output.study=mine", "fleet=always_on,api_only", "seed=1")
    said = play("-m", *HERE, *TINY, "output.study=mine", "fleet=always_on", "seed=1,2")
    assert "1 of 2 scenarios are already done" in said.err
    assert _names() == ["always_on", "api_only", "seed=2"]


def test_a_name_is_fit_for_any_file_system():
    for value in ("a/b\\c:d*e?", "../..", "[1, 2]", "日本", "x" * 300, "-", "a b"):
        name = folder_name({"key": value}, ["key"], DIGEST)
        assert name.isascii() and len(name) < 100 and name.startswith("key=") and not set(name) & set('/\\:*?"<>| ')
        assert digest_in(name) == DIGEST
    assert folder_name({"fleet": ".."}, ["fleet"], DIGEST) == folder_name({}, [], DIGEST) == DIGEST


def test_of_two_folders_of_one_scenario_the_one_with_a_row_counts(tmp_path):
    for name in (f"a-{DIGEST}", f"b-{DIGEST}", f"c-{DIGEST}", f".d-{DIGEST}"):
        (tmp_path / name).mkdir()
    for name in ("b", "c"):
        write_json(tmp_path / f"{name}-{DIGEST}" / ROW, {})
    assert folders_in(tmp_path) == {DIGEST: tmp_path / f"b-{DIGEST}"} and folders_in(tmp_path / "nowhere") == {}
