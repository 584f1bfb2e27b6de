"""Errors before and after: the list's constants beside those of an overlay, on one file of measured runs."""

from __future__ import annotations

import json

import pytest
import yaml

from sim.cli.fidelity import main as fidelity
from sim.hardware.gpu import gpu_named
from sim.schema import ConfigError
from sim.study.folder import write_text
from tests.fidelity.test_any_file import POINT, as_csv

SLOW = {"weight_read_efficiency": 0.5 * gpu_named("h100_sxm").weight_read_efficiency}


@pytest.fixture
def overlay(tmp_path):
    """H100 SXM that reads weights at half the pace, as a card of a user's own, calibrated with an engine."""

    def write(folder: str = "mine/gpu", **engine):
        gpu = tmp_path / folder / "my_h100.yaml"
        gpu.parent.mkdir(parents=True)
        beside = (
            gpu.parents[1] / "engine" / gpu.name if gpu.parent.name == "gpu" else gpu.with_name("my_h100_engine.yaml")
        )
        beside.parent.mkdir(exist_ok=True)
        write_text(gpu, "# From other.csv\n" + yaml.safe_dump(gpu_named("h100_sxm").model_dump() | SLOW))
        write_text(beside, yaml.safe_dump(engine))
        return gpu

    return write


def predictions(file, *words) -> dict[str, dict[str, float]]:
    out = file.with_suffix(".out")
    assert fidelity([str(file), "--replications", "1", "--out", str(out), *map(str, words)]) == 0
    found: dict[str, dict[str, float]] = {}
    for row in json.loads(out.read_text()):
        columns = ("predicted", "before")
        found.setdefault(row["metric"], {}).update({f"{row['stage']} {c}": row[c] for c in columns if c in row})
    return found


@pytest.mark.parametrize("folder", ["mine/gpu", "elsewhere"])
def test_a_run_is_played_with_the_list_and_with_the_overlay(tmp_path, capsys, overlay, folder):
    """A card that reads weights at half the pace takes about twice as long a token; a run on another card does not."""
    file = tmp_path / "points.csv"
    file.write_text(as_csv([POINT, POINT | {"gpu": "A100-SXM-80GB"}]))
    listed = predictions(file)
    capsys.readouterr()
    both = predictions(file, "--overlay", overlay(folder, request_overhead_s=0.5, max_num_seqs=1))
    said = capsys.readouterr().out.splitlines()
    tpot, ttft = both["tpot_mean_s"], both["ttft_mean_s"]
    assert {k: tpot[f"{k} before"] for k in (0, 1)} == {k: listed["tpot_mean_s"][f"{k} predicted"] for k in (0, 1)}
    assert tpot["1 predicted"] == tpot["1 before"] and ttft["1 predicted"] == ttft["1 before"]
    assert 1.6 < tpot["0 predicted"] / tpot["0 before"] < 2.0
    assert 0.48 < ttft["0 predicted"] - ttft["0 before"] < 0.55  # two clients: one sequence at a time would double it
    means = [line for line in said if line.startswith("mean absolute error, vllm Llama-3.1-8B H100-SXM (1)")]
    assert [line.split(")")[1].split()[1] for line in means] == ["before", "after"]
    assert said[0].startswith("before: constants of conf/gpu; after: of ") and "note" not in said[1]


def test_results_of_a_load_generator_are_played_as_if_the_overlay_were_the_card(tmp_path, capsys, overlay):
    file = tmp_path / "r.csv"
    file.write_text("concurrency,input_tokens,output_tokens,tpot_ms\n4,500,100,8\n")
    gpu = overlay(step_overhead_us=1000.0)
    described = [file, "--model", "llama_3_1_8b"]
    chosen = predictions(*described, "--gpu", "my_h100", "--engine", "my_h100", "--config-dir", tmp_path / "mine")
    both = predictions(*described, "--gpu", "h100_sxm", "--overlay", gpu)
    assert both["tpot_mean_s"]["0 predicted"] == chosen["tpot_mean_s"]["0 predicted"]
    gpu.write_text(gpu.read_text().replace("other.csv", "r.csv, 1 points"))
    capsys.readouterr()
    predictions(*described, "--gpu", "l4", "--overlay", gpu)
    said = capsys.readouterr().out
    assert "no prediction changes: the overlay is of h100_sxm" in said and "was fitted to r.csv itself" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "--overlay .*bad.yaml: cannot be read: No such file"),
        ("gemm_efficiency: [", "--overlay .*bad.yaml: is not YAML: "),
        ("name: h100_sxm", "--overlay .*bad.yaml: gpu.bf16_dense_tflops: is required"),
        ("- 1", "--overlay .*bad.yaml: gpu = "),
    ],
)
def test_what_is_no_card_is_refused_in_one_line(tmp_path, text, words):
    (tmp_path / "points.csv").write_text(as_csv([POINT]))
    if text:
        (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words) as refused:
        fidelity([str(tmp_path / "points.csv"), "--overlay", str(tmp_path / "bad.yaml")])
    assert "\n" not in str(refused.value)
