"""The hot path, compiled, computes what the Python it was made of computes; and only as long as it is made of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sim.hot_path import HOT_PATH, PACKAGE, is_compiled, source_of
from tests.golden.scenarios import SCENARIOS, numbers

if not is_compiled():
    pytest.skip("NOT CHECKED: the hot path is interpreted here (see sim.hot_path)", allow_module_level=True)


def python(*words: str, cwd: Path, interpreted: str = "") -> str:
    environment = os.environ | {"SIM_INTERPRETED": interpreted, "PYTHONPATH": str(cwd)}
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def interpreted() -> dict[str, dict]:
    program = "import json; from tests.golden.scenarios import SCENARIOS, numbers; " + (
        "print(json.dumps({name: numbers(name) for name in SCENARIOS}))"
    )
    return json.loads(python("-c", program, cwd=PACKAGE.parent, interpreted="1"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_numbers_to_the_last_bit(name, interpreted):
    assert json.loads(json.dumps(numbers(name))) == interpreted[name]


def test_an_edited_source_is_interpreted(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "sim")
    program = "import sim.engine.replica, sim.hot_path; print(sim.hot_path.is_compiled(), sim.engine.replica.__file__)"
    compiled, file = python("-c", program, cwd=tmp_path).split()
    assert compiled == "True" and Path(file).suffix == ".so"
    with (tmp_path / "sim/engine/scheduler.py").open("a") as source:
        source.write("# edited\n")
    compiled, file = python("-c", program, cwd=tmp_path).split()
    assert compiled == "False" and Path(file) == tmp_path / "sim/engine/replica.py"


def test_every_module_of_the_hot_path_has_a_source():
    assert all(source_of(module).is_file() for module in HOT_PATH)
