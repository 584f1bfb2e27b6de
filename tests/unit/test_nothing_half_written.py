"""A folder of results is whole or not there; what is damaged is played again; nothing in it leads elsewhere."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pandas as pd
import pytest

from sim.study import folder as folders
from tests.unit.cli import HERE, TINY, files_below

SWEEP = ["-m", *HERE, *TINY, "output.study=mine", "seed=1,2"]


@pytest.mark.parametrize("file", ["config.yaml", "requests.parquet", "row.json"])
def test_a_full_disk_is_one_line_and_leaves_nothing(file, play, tmp_path, monkeypatch):
    replace = folders.os.replace

    def full(partial, path):
        if Path(path).name == file:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(partial, path)

    monkeypatch.setattr(folders.os, "replace", full)
    said = play(*TINY)
    assert said.code == 2 and said.line.endswith(f"{file}: cannot be written: No space left on device")
    assert files_below(tmp_path) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(("damage", "file"), [(cut, "usage.json"), (cut, "row.json"), (Path.unlink, "bill.csv")])
def test_a_damaged_scenario_is_played_again_and_the_others_are_kept(damage, file, play):
    play(*SWEEP)
    first, second = sorted(Path("outputs/mine").glob("*/row.json"))
    whole = (first.parent / "summary.json").read_bytes()
    damage(first.parent / file)
    said = play(*SWEEP)
    assert said.code == 0 and "1 of 2 scenarios are already done" in said.err
    assert (first.parent / "summary.json").read_bytes() == whole and folders.is_finished(first.parent)


def test_a_row_or_a_list_that_leads_elsewhere_is_refused(play, collect):
    play(*SWEEP)
    row = next(Path("outputs/mine").glob("*/row.json"))
    content = json.loads(row.read_text())
    row.write_text(json.dumps(content | {"digest": "../../secret"}))
    said = collect("outputs/mine")
    assert said.code == 2 and "is the row of another folder" in said.line
    row.write_text(json.dumps(content))
    Path("outputs/mine/study.json").write_text(json.dumps({"digests": ["../../secret"]}))
    said = collect("outputs/mine")
    assert said.code == 2 and "is not the name of a scenario's folder" in said.line


def test_a_spreadsheet_finds_no_formula(tmp_path):
    from sim.study.collect import write_table

    cells = ["=cmd|' /C calc'!A0", "@SUM(A1)", "+x", "-1", "+.5", "plain"]
    write_table(pd.DataFrame({"=key": cells, "usd_total": -1.0}), tmp_path)
    read = pd.read_csv(tmp_path / "results.csv", dtype=str)
    assert list(read["'=key"]) == ["'" + cells[0], "'@SUM(A1)", "'+x", "-1", "+.5", "plain"]
    assert set(read["usd_total"]) == {"-1.0"}
