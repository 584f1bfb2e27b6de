"""A sweep whose launcher lets it down."""

from __future__ import annotations

from pathlib import Path

from sim.study.folder import ROW, read_json, write_json
from sim.study.grid import Planned, _play


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
