"""A sweep whose launcher lets it down."""

from __future__ import annotations

from pathlib import Path

from sim.scenarios import compose_config
from sim.study.folder import ROW, digest, read_json, write_json
from sim.study.grid import Planned, _play, play_grid
from sim.study.job import code_or_unique, parsed, plain_config, run_in_sweep


class Launcher:
    """Plays scenarios in order; seed 2 takes its process, and with it the whole batch, down."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.batches: list[int] = []

    def launch(self, planned, folder):
        self.batches.append(len(planned))
        for name in (p.overrides["seed"] for p in planned):
            if name == "2":
                raise RuntimeError("a worker process was unexpectedly terminated")
            write_json(self.folder / name / ROW, {"status": "ok"})


def test_a_process_that_dies_takes_no_other_scenario_with_it(tmp_path):
    planned = [Planned({"seed": str(seed)}, str(seed), {}, None) for seed in (1, 2, 3, 4)]
    launcher = Launcher(tmp_path)
    _play(planned, tmp_path, launcher.launch)
    rows = [read_json(tmp_path / str(seed) / ROW) for seed in (1, 2, 3, 4)]
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok"]
    assert "unexpectedly terminated" in rows[1]["error"]
    assert launcher.batches == [4, 1, 1, 1]


def test_a_failed_scenario_is_played_again_and_a_finished_one_is_kept(tmp_path, monkeypatch):
    """Memory may have run out, or a file may have been missing: the same scenario may well succeed today."""
    monkeypatch.chdir(tmp_path)
    output = {"dir": "outputs", "study": "mine"}
    planned = [Planned({"seed": str(seed)}, str(seed), output, None) for seed in (1, 2, 3)]
    folder = Path("outputs/mine")
    write_json(folder / "1" / ROW, {"status": "ok", "files": {}})
    write_json(folder / "2" / ROW, {"status": "failed", "error": "its process died (out of memory?)", "files": {}})
    played = []

    def launch(pending, folder):
        played.extend(p.digest for p in pending)
        for p in pending:
            write_json(folder / p.digest / ROW, {"status": "ok", "files": {}})

    play_grid(planned, launch)
    assert played == ["2", "3"]
    assert [read_json(folder / name / ROW)["status"] for name in "123"] == ["ok", "ok", "ok"]


def test_a_scenario_that_is_not_what_its_folder_is_named_after_is_not_accepted(tmp_path):
    """Whoever edits a conf file during a sweep would else find the new numbers under the old name."""
    config = plain_config(compose_config("horizon_s=60", f"output.dir={tmp_path}", "output.study=mine"))
    name = digest(config, code_or_unique(parsed(config)))
    for folder, status in ((name, "ok"), ("0123456789ab", "failed")):
        config["output"]["folder"] = folder
        run_in_sweep(config, {})
        row = read_json(tmp_path / "mine" / folder / ROW)
        assert row["status"] == status, row["error"]
    assert "changed while the sweep ran" in row["error"]
    assert {p.name for p in (tmp_path / "mine" / folder).iterdir()} == {ROW}
