"""A stranger adds a class in a new file and a YAML, and nothing else: its contract is asked of it, and a run uses it.

The classes and the files are in `added/`, laid out as the repository is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.contracts import test_arrivals
from tests.extensions.added.sim.workload.arrivals.gamma_renewal import GammaRenewal

ROOT = Path(__file__).resolve().parents[2]
ADDED = Path(__file__).with_name("added")
CLASSES = sorted(ADDED.glob("sim/**/*.py"))
FILES = {path.parent.name: path.stem for path in sorted(ADDED.glob("conf/*/*.yaml"))}
KINDS_OF_PRICES = ["flat", "one_price", "gateway_fee"]
RUN = [f"{group}={name}" for group, name in FILES.items()]
RUN += ["api=ideal", "horizon_s=120", "model=llama_3_1_8b", "gpu=h100_sxm", "output.figures=false"]


def python(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=300,
        env=variables | {"SIM_INTERPRETED": "1"} | environment,
    )  # fmt: skip


def assert_played(folder: Path) -> None:
    """One run used all that was added."""
    summary = next(folder.glob("**/summary.json"))
    assert json.loads(summary.read_text())["usd_total"] > 0
    config = yaml.safe_load(summary.with_name("config.yaml").read_text())
    for group in set(FILES) - {"prices", "engine"}:
        kind = yaml.safe_load((ADDED / "conf" / group / f"{FILES[group]}.yaml").read_text())["kind"]
        assert config["scaling" if group == "fleet" else group]["kind"] == kind
    assert [config["prices"][part]["kind"] for part in ("gpu", "api", "overhead")] == KINDS_OF_PRICES
    assert config["engine"]["step_time"]["kind"] == "clockwork"
    billed = set(pd.read_csv(summary.with_name("bill.csv"))["item"])
    assert "overhead: gateway" in billed


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository with the new files in it."""
    folder = tmp_path_factory.mktemp("clone")
    ignore = shutil.ignore_patterns("extensions", "outputs")  # What Python has compiled goes with it: it takes long.
    for part in ("sim", "conf", "hydra_plugins", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for part in ("sim", "conf"):
        shutil.copytree(ADDED / part, folder / part, dirs_exist_ok=True)
    return folder


@pytest.mark.slow
def test_contracts_of_a_clone_are_asked_of_what_was_added(clone):
    words = ["-rp", "-p", "no:cacheprovider", "tests/contracts", "-k", " or ".join(set(FILES.values()))]
    asked = python("-m", "pytest", *words, cwd=clone, PYTHONPATH=str(clone))
    assert asked.returncode == 0, asked.stdout[-3000:] + asked.stderr[-1000:]
    passed = [line for line in asked.stdout.splitlines() if line.startswith("PASSED")]
    unasked = [name for name in FILES.values() if not any(f"[{name}" in line or f"{name}]" in line for line in passed)]
    assert not unasked, "some of what was added was asked nothing"


class TooMany(GammaRenewal):
    """Says that half of what comes will come."""

    @property
    def mean_rate_per_s(self) -> float:
        return self.tasks_per_minute / 120

    def times(self, rng, horizon_s):
        return GammaRenewal(tasks_per_minute=self.tasks_per_minute, gap_cv=self.gap_cv).times(rng, horizon_s)


def test_a_process_that_states_a_wrong_rate_fails_the_contract():
    stated = dict(tasks_per_minute=40, gap_cv=2)
    test_arrivals.test_as_many_as_stated(GammaRenewal(**stated))
    with pytest.raises(AssertionError):
        test_arrivals.test_as_many_as_stated(TooMany(**stated))


def test_a_clone_plays_what_was_added(clone):
    played = python("-m", "sim", *RUN, "output.dir=played", cwd=clone, PYTHONPATH=str(clone))
    assert played.returncode == 0, played.stdout + played.stderr
    assert_played(clone / "played")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The same classes as modules of an installed package, which names them as plugins; the files in a folder."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "extras-1.0.dist-info").mkdir()
    (folder / "extras-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: extras\nVersion: 1.0\n")
    lines = ["[llm_traffic_sim.plugins]"]
    for path in CLASSES:
        shutil.copy(path, folder / f"extra_{path.name}")
        lines.append(f"{path.stem} = extra_{path.stem}")
    (folder / "extras-1.0.dist-info/entry_points.txt").write_text("\n".join(lines) + "\n")
    shutil.copytree(ADDED / "conf", folder / "conf")
    return folder


@pytest.mark.slow
def test_an_installed_package_adds_kinds(installed):
    paths = f"{ROOT}{os.pathsep}{installed}"
    played = python("-m", "sim", "--config-dir", "conf", *RUN, "output.dir=played", cwd=installed, PYTHONPATH=paths)
    assert played.returncode == 0, played.stdout + played.stderr
    assert_played(installed / "played")


@pytest.mark.slow
def test_a_mistyped_kind_of_a_plugin_is_refused_in_words(installed):
    paths = f"{ROOT}{os.pathsep}{installed}"
    words = ["placement.kind=in_tern", "horizon_s=60", "output.dir=refused"]
    refused = python("-m", "sim", *words, cwd=installed, PYTHONPATH=paths)
    assert refused.returncode == 2
    assert "placement.kind = 'in_tern': is not one of " in refused.stderr and "did you mean in_turn?" in refused.stderr
    assert not (installed / "refused").exists()
