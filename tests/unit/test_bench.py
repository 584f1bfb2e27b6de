"""What `bench` measures is there to be measured, and what it lacks it names."""

from __future__ import annotations

import json

import pytest

from sim.__main__ import main
from sim.study.benchmark import CASES, play, scenario_of, scenario_of_log
from sim.study.benchmark_sweeps import _copies
from sim.study.collect import collect
from sim.study.folder import ROW, write_json
from sim.study.manifest import Manifest, write_manifest


def test_a_case_without_its_log_is_named_and_the_others_go_on(tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert main(["bench", "--case", "mooncake", "--out", str(out)]) == 0
    assert "mooncake: not measured: --log names its log (github.com/kvcache-ai/Mooncake" in capsys.readouterr().err
    assert json.loads(out.read_text()) == {"rows": [], "sweeps": [], "collects": []}


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
