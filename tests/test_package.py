"""What is shipped works elsewhere: wheel and sdist, on a fresh environment from the lock file, on other Pythons."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pandas as pd
import pytest

import sim
from tests import pythons

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).parent / "uv"


def run(*words: str, cwd: Path, **variables: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    environment = kept | variables
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist of this checkout, and the wheel made from that sdist alone."""
    folder = tmp_path_factory.mktemp("built")
    run(str(UV), "build", "-q", "--out-dir", str(folder), str(ROOT), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def fresh(built) -> Path:
    """A fresh environment: the newest Python at hand, the packages of the lock file, the wheel; its interpreter."""
    newest = pythons.at_hand()[max(pythons.at_hand())]
    return pythons.environment(newest, built / "fresh", str(next(built.glob("*.whl"))))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_in_a_fresh_environment_from_the_lock_file_runs_the_main_job(fresh, tmp_path):
    python, program, elsewhere = str(fresh), str(fresh.parent / "llm-traffic-sim"), tmp_path
    home = run(python, "-c", "import sim; print(sim.__file__)", cwd=elsewhere)
    assert home.startswith(str(fresh.parent.parent)), "the checkout is in the way of the installed package"
    assert run(program, "--version", cwd=elsewhere).split() == ["llm-traffic-sim", sim.__version__]
    assert (Path(home.strip()).parent / "py.typed").exists()
    shorter = ("horizon_s=1800", "arrivals.exact_tasks=10", "replications=1")
    printed = run(program, "+experiment=shapes_by_fleets", *shorter, cwd=elsewhere)
    assert printed.count("is the cheapest that") + printed.count(": none ") == 3
    table = pd.read_csv(elsewhere / "outputs/shapes_by_fleets/results.csv")
    assert len(table) == 15 and (table["status"] == "ok").all()
    assert set(table["tasks"]) == {10}  # every shape and fleet was given the same tasks
    assert len(list((elsewhere / "outputs/shapes_by_fleets/timelines").iterdir())) == 15
    repriced = run(program, "reprice", "outputs/shapes_by_fleets", "prices=market_2026", cwd=elsewhere)
    assert "market_2026" in repriced
    from_python = "import sim; print(sim.replicate(sim.parse(sim.compose_config('horizon_s=600'))).summary['requests'])"
    assert float(run(python, "-c", from_python, cwd=elsewhere)) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_newest_python_at_hand_gets_the_same_numbers(fresh):
    newest = max(pythons.at_hand())
    if newest <= sys.version_info[:2]:
        pytest.skip(f"no Python newer than {sys.version_info[0]}.{sys.version_info[1]} is at hand, so none is tested")
    ran = pythons.play_tests(fresh, "tests/golden/test_golden.py", "-k", "limits")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_sdist_holds_what_its_own_tests_need(built, tmp_path):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    for name in ("LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "experiments/README.md", "conf/config.yaml"):
        assert (unpacked / name).is_file(), name
    assert not [path for path in unpacked.rglob("*") if path.name in (".venv", "__pycache__")]
    few = ("tests/experiments/test_claims.py",)
    run(sys.executable, "-m", "pytest", "-q", "-x", *few, cwd=unpacked, SIM_INTERPRETED="1")


def test_the_version_is_written_in_one_place():
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[{re.escape(sim.__version__)}\]", changes, flags=re.MULTILINE), "no entry in CHANGELOG.md"
    others = [ROOT / "pyproject.toml", *(path for path in ROOT.glob("sim/**/*.py") if path.name != "_version.py")]
    assert not [path for path in others if f'"{sim.__version__}"' in path.read_text()]
