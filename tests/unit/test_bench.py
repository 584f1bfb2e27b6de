"""What `bench` measures is there to be measured, and what it lacks it names."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from sim.__main__ import main
from sim.study.benchmark import CASES, earlier, play, scenario_of, scenario_of_log, table_of
from sim.study.benchmark_sweeps import _copies, table_of_sweeps
from sim.study.collect import collect
from sim.study.folder import ROW, write_json
from sim.study.manifest import Manifest, write_manifest


def test_a_case_without_its_log_is_named_and_the_others_go_on(tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert main(["bench", "--case", "mooncake", "--out", str(out)]) == 0
    assert "mooncake: not measured: --log names its log (github.com/kvcache-ai/Mooncake" in capsys.readouterr().err
    assert json.loads(out.read_text()) == {"rows": [], "sweeps": [], "collects": []}


def test_figures_stand_beside_those_of_the_measurement_before():
    row = {"case": "agents", "requests": 9, "requests_per_cpu_s": 200, "simpy_timeouts_per_cpu_s": 1000,
           "tokens_per_cpu_s": 7, "peak_mb": 5.0, "bytes_per_request": None}  # fmt: skip
    sweep = {"case": "few", "scenarios": 2, "wall_s": 1.0, "cpu_s": 2.0, "again_wall_s": 0.5, "again_cpu_s": 0.25}
    before = earlier({"rows": [row | {"requests_per_cpu_s": 100}], "sweeps": [sweep | {"cpu_s": 4.0}]})
    console = Console(width=132, record=True, file=StringIO())
    for table in (table_of([row], before), table_of([row], earlier(None)), table_of_sweeps([sweep], before)):
        console.print(table)
    lines = [line.split() for line in console.export_text().splitlines() if "agents" in line or "few" in line]
    found = [[cell for cell in line if cell != "│"] for line in lines]
    assert [cells[3:5] for cells in found[:2]] == [["0.200", "0.100"], ["0.200", "-"]]
    assert found[2][4:6] == ["1000", "2000"]


def test_mooncake_is_served_with_prefix_caches(tmp_path):
    log = tmp_path / "trace.jsonl"
    rows = [{"timestamp": 1000 * i, "input_length": 1024, "output_length": 8, "hash_ids": [1, 2]} for i in range(20)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = play(scenario_of_log("mooncake", log))
    assert summary["requests_finished"] == 20 and summary["prefix_hit_fraction"] > 0.3


def test_a_thousand_replicas_all_get_requests():
    scenario = scenario_of("replicas_1000", 4000)
    assert scenario.scaling.max_replicas == 1000 and "replicas_1000" in CASES
    assert play(scenario)["requests_finished"] == pytest.approx(4000, abs=1)


def test_copies_of_a_study_are_questions_of_their_own(tmp_path):
    """A table of ten thousand rows of one question would not take as long as one of ten thousand questions."""
    few, many = tmp_path / "few", tmp_path / "many"
    for name in "ab":
        write_json(few / name / ROW, {"status": "ok", "digest": name, "overrides": {}, "summary": {"usd_total": 1.0}})
    write_manifest(few, Manifest(digests=["a", "b"]))
    table = collect(_copies(few, many, 5))
    assert list(table["seed"]) == [0, 1, 2, 3, 4] and table["digest"].is_unique
