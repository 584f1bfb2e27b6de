"""A sweep on Ray and on Slurm: the table of one machine, also where a worker or a job is killed in the middle.

Ray and submitit are extras. Slurm's part is played by submitit's executor of processes, which gets the same jobs.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sim.study import launchers
from sim.study.collect import FIGURE
from tests.unit.cli import HERE, TINY, files_below

SWEEP = ["-m", *TINY, "seed=1,2,3", "output.study=mine"]
RAY = ["hydra/launcher=ray", "hydra.launcher.n_jobs=2"]
SLURM = ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.n_jobs=2"]


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr("sim.study.collect._draw", lambda named, folder: (folder / FIGURE).touch())


@pytest.fixture
def ray():
    module = pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'llm-traffic-sim[ray]'")
    yield module
    module.shutdown()


@pytest.fixture
def submitit():
    return pytest.importorskip("submitit", reason="an extra is not installed: pip install 'llm-traffic-sim[slurm]'")


def killed_once(play):
    """The same, but the first process that gets so far is killed: no error can be caught there, nothing is cleaned."""

    def dies(working_folder, folder, *rest):
        try:
            Path(working_folder, folder, "died").touch(exist_ok=False)
        except FileExistsError:
            return play(working_folder, folder, *rest)
        os.kill(os.getpid(), signal.SIGKILL)

    return dies


def table(folder):
    return (folder / "outputs/mine/results.csv").read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ray_loses_nothing_if_a_worker_is_killed(ray, play, tmp_path, monkeypatch):
    monkeypatch.setattr(launchers, "_play_here", killed_once(launchers._play_here))
    said = play(*SWEEP, *RAY)
    assert said.code == 0 and (tmp_path / "outputs/mine/died").is_file(), said.err
    on_ray = table(tmp_path)
    assert "3 of 3 scenarios are already done" in play(*SWEEP, *HERE).err and table(tmp_path) == on_ray


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:port"])
def test_a_cluster_that_is_not_there_is_told_at_once(ray, play, tmp_path, address):
    said = play(*SWEEP, "hydra/launcher=ray", f"hydra.launcher.address='{address}'")
    assert said.code == 2 and "no Ray cluster listens there" in said.err


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("cores", [1, 2])
def test_slurm_loses_nothing_if_a_job_is_killed(submitit, play, tmp_path, monkeypatch, cores):
    monkeypatch.setattr(launchers, "_play_part", killed_once(launchers._play_part))
    said = play(*SWEEP, *SLURM, f"hydra.launcher.cpus_per_task={cores}")
    assert said.code == 0 and "are left by jobs that ended early" in said.err, said.err
    on_slurm = table(tmp_path)
    assert "3 of 3 scenarios are already done" in play(*SWEEP, *HERE).err and table(tmp_path) == on_slurm


def test_a_machine_without_the_folder_of_results_is_named(tmp_path):
    refused = launchers._play_part(str(tmp_path), "outputs/mine", [], 1)
    assert refused.endswith("all machines of a cluster must share the folder of results")


@pytest.mark.parametrize("extra, words", [("ray", RAY), ("slurm", SLURM)])
def test_what_is_not_installed_is_named_with_the_words_to_type(play, tmp_path, monkeypatch, extra, words):
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    said = play(*SWEEP, *words)
    assert said.code == 2 and f"pip install 'llm-traffic-sim[{extra}]'" in said.line and not files_below(tmp_path)


@pytest.mark.parametrize(
    "words, law",
    [
        (["hydra/launcher=slurm", "hydra.launcher.cluster=lsf"], "must be slurm, or local to try it"),
        (["hydra/launcher=slurm"], "there is no sbatch here"),
        ([*SLURM, "hydra.launcher.n_jobs=0"], "must be a whole number of at least 1"),
        ([*SLURM, "hydra.launcher.partition='a\\nb'"], "must be a name in Slurm"),
        ([*SLURM, "hydra.launcher.mem_gb=much"], "must be a number"),
        ([*RAY, "hydra.launcher.n_jobs=some"], "must be a whole number of at least 1"),
    ],
)
def test_a_launcher_that_makes_no_sense_is_refused_in_one_line(play, tmp_path, monkeypatch, words, law):
    monkeypatch.setattr(launchers, "find_spec", lambda name: name)
    monkeypatch.setattr(launchers.shutil, "which", lambda name: None)
    said = play(*SWEEP, *words)
    assert said.code == 2 and law in said.line and not files_below(tmp_path)


def test_no_configuration_file_chooses_the_machines(play, tmp_path, monkeypatch):
    """A cluster can send back whatever it likes: it must be one that the person at the keyboard named."""
    monkeypatch.setattr(launchers, "find_spec", lambda name: name)
    (tmp_path / "mine/hydra/launcher").mkdir(parents=True)
    (tmp_path / "mine/hydra/launcher/theirs.yaml").write_text("defaults: [ray, _self_]\naddress: 'h:6379'\n")
    said = play("--config-dir", "mine", *SWEEP, "hydra/launcher=theirs")
    assert said.code == 2 and "is taken from the command line only" in said.line
