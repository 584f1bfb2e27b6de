"""The recipes of docs/recipes in small: each script as its scheduler would run it, for two machines."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sim.__main__ import main
from sim.study.collect import FIGURE
from tests.test_docs import ROOT, blocks
from tests.unit.cli import HERE, TINY

FOUR_TO_TWO = (("--array=1-4", "--array=1-2"), ("completions: 4", "completions: 2"), ("num_nodes: 4", "num_nodes: 2"))
RECORDS = '#!/bin/sh\nprintf "%s\\n" "$@" > "$WORDS"\n'
"""Stands for the program in a script: leaves the words that it was given."""


@pytest.fixture(scope="module", autouse=True)
def no_figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sim.study.collect._draw", lambda named, folder: (folder / FIGURE).touch())
        yield


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def in_small(text: str) -> str:
    for four, two in (*FOUR_TO_TWO, ("/4", "/2")):
        text = text.replace(four, two)
    return text


PAGE = {block.file: in_small(block.text) for block in blocks(ROOT / "docs/recipes/many-machines.md")}


@pytest.fixture(scope="module")
def words_of(tmp_path_factory):
    """`words_of(script, {"SLURM_ARRAY_TASK_ID": "1"})`: what a script gives the program, as a shell reads it."""
    tmp_path = tmp_path_factory.mktemp("scripts")
    program = tmp_path / "bin/llm-traffic-sim"
    program.parent.mkdir()
    program.write_text(RECORDS)
    program.chmod(0o755)

    def words(script: str, environment: dict[str, str]) -> list[str]:
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        own = os.environ | environment | {"PATH": path, "WORDS": str(tmp_path / "words")}
        subprocess.run(["sh", "-c", script], env=own, cwd=tmp_path, check=True, capture_output=True)
        return (tmp_path / "words").read_text().split("\n")[:-1]

    return words


def play(words: list[str], *more: str) -> int:
    return main([*words, *TINY, *more])


@pytest.fixture(scope="module")
def table(tmp_path_factory, words_of, no_figures):
    """The table of a single machine, for the words of the laptops."""
    whole = [word for word in words_of(PAGE["first.sh"], {}) if not word.startswith("shard=")]
    folder = tmp_path_factory.mktemp("alone")
    assert play(whole, *HERE, f"output.dir={folder}") == 0
    return (folder / "mine/results.csv").read_text()


def collected() -> str:
    assert main(["collect", "outputs/mine"]) == 0
    return Path("outputs/mine/results.csv").read_text()


@pytest.mark.slow
def test_a_slurm_array(table, words_of):
    script = PAGE["sweep.sbatch"]
    assert "--array=1-2" in script
    for number in "12":
        job = {"SLURM_ARRAY_TASK_ID": number, "SLURM_CPUS_PER_TASK": "4"}
        assert play(words_of(script, job), "hydra.launcher.n_jobs=1", "output.page=false") == 0
    assert collected() == table


def test_an_indexed_job_of_kubernetes(table, words_of):
    spec = yaml.safe_load(PAGE["sweep.yaml"])["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "-c"]
    for index in range(spec["completions"]):
        words = words_of(container["args"][0], {"JOB_COMPLETION_INDEX": str(index)})
        assert play([word.replace("/results", "outputs") for word in words], *HERE) == 0
    assert collected() == table


def test_skypilot(table, words_of):
    task = yaml.safe_load(PAGE["sweep.sky.yaml"])
    sweep, copy = task["run"].strip().rsplit("\n", 1)
    assert copy == "cp -r outputs/mine /results/"
    for rank in range(task["num_nodes"]):
        node = {"SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": str(task["num_nodes"])}
        assert play(words_of(sweep, node), *HERE) == 0
        shutil.copytree("outputs/mine", "results/mine", dirs_exist_ok=True)
        shutil.rmtree("outputs")
    shutil.copytree("results", "outputs")
    assert collected() == table


def test_two_laptops(table, words_of):
    for script in ("second.sh", "first.sh"):
        assert play(words_of(PAGE[script], {}), *HERE) == 0
        Path("outputs").rename(script)
    shutil.copytree("second.sh", "outputs")
    shutil.copytree("first.sh", "outputs", dirs_exist_ok=True)
    assert collected() == table


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "package, script, more",
    [
        ("submitit", "submit.sh", ["hydra.launcher.cluster=local", "hydra.launcher.n_jobs=1"]),
        ("ray", "ray.sh", ["hydra.launcher.address=null"]),
    ],
)
def test_a_launcher(table, words_of, package, script, more):
    module = pytest.importorskip(package, reason=f"the package {package} is an extra and is not installed")
    assert play(words_of(PAGE[script], {}), *more) == 0
    assert Path("outputs/mine/results.csv").read_text() == table
    if package == "ray":
        module.shutdown()
