"""A stranger's machine: a fresh virtual environment from the lock file runs the main job from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests import pythons

ROOT = Path(__file__).resolve().parent.parent


def run(*words: str, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fresh_environment_from_the_lock_file_runs_the_main_job(tmp_path):
    run(sys.executable, "-m", "venv", "fresh", cwd=tmp_path)
    python, lock = str(tmp_path / "fresh/bin/python"), str(ROOT / "requirements.lock")
    uv = Path(sys.executable).parent / "uv"
    install = [str(uv), "pip", "install", "-q", "-p", python] if uv.exists() else [python, "-m", "pip", "install", "-q"]
    run(*install, "--require-hashes", "-r", lock, cwd=tmp_path)
    run(*install, "--no-deps", str(ROOT), cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    home = run(python, "-c", "import sim; print(sim.__file__)", cwd=elsewhere)
    assert home.startswith(str(tmp_path)), "the checkout is in the way of the installed package"
    shorter = ("horizon_s=36000", "arrivals.exact_tasks=200")
    said = run(python, "-m", "sim", "+experiment=shapes_by_fleets", *shorter, cwd=elsewhere)
    assert said.count("is the cheapest that meets the SLO") + said.count("none meets the SLO") == 3
    table = pd.read_csv(elsewhere / "outputs/shapes_by_fleets/results.csv")
    assert len(table) == 15 and (table["status"] == "ok").all()
    assert set(table["tasks"]) == {200}  # every shape and fleet was given the same tasks
    assert len(list((elsewhere / "outputs/shapes_by_fleets/timelines").iterdir())) == 15
    assert "usage" in run(python, "-m", "sim", "reprice", "--help", cwd=elsewhere)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_newest_python_at_hand_gets_the_same_numbers(tmp_path):
    newest = max(pythons.at_hand(), default=sys.version_info[:2])
    if newest <= sys.version_info[:2]:
        pytest.skip(f"no Python newer than {sys.version_info[0]}.{sys.version_info[1]} is at hand, so none is tested")
    inside = pythons.environment(pythons.at_hand()[newest], tmp_path / "newest")
    ran = pythons.play_tests(inside, "tests/golden", "tests/laws")
    assert ran.returncode == 0, ran.stdout + ran.stderr
