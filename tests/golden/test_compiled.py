"""The hot path is compiled where it can be, and what is compiled counts only as long as the sources are the same.

That it computes what the Python it was made of computes, tests/golden/test_golden.py states.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

from sim.hot_path import PACKAGE, extensions_of_these_sources, is_compiled
from sim.hot_path.sources import compiled_sources, manifest, sources_of_types

CAN_COMPILE = shutil.which(sysconfig.get_config_var("CC").split()[0]) and find_spec("mypyc") and find_spec("setuptools")
compiled = pytest.mark.skipif(not is_compiled(), reason="NOT CHECKED: the hot path is interpreted here")


@pytest.mark.skipif(not CAN_COMPILE, reason="NOT CHECKED: there is no compiler, or no mypy or setuptools")
@pytest.mark.skipif(bool(os.environ.get("SIM_INTERPRETED")), reason="SIM_INTERPRETED is set")
def test_the_hot_path_compiles_where_a_compiler_is_at_hand():
    """These very sources are compiled. If not, the error of the compiler is shown by `make hot-path`."""
    done = subprocess.run([sys.executable, "-m", "sim.hot_path.build"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = extensions_of_these_sources()
    assert folder and (folder / "sources.json").read_text() == manifest()


def test_what_is_compiled_is_found_by_its_mark():
    found = {path.relative_to(PACKAGE).as_posix() for path in compiled_sources()}
    assert {"engine/replica.py", "engine/scheduler.py", "recorder.py", "work.py"} <= found
    assert "simulation.py" not in found


def test_an_import_for_types_only_counts_among_what_is_compiled_in():
    found = {path.relative_to(PACKAGE).as_posix() for path in sources_of_types(compiled_sources())}
    assert "hardware/step_time/protocol.py" in found  # only the type checker needs it
    assert not found & {path.relative_to(PACKAGE).as_posix() for path in compiled_sources()}


def python(*words: str, cwd: Path, interpreted: str = "") -> str:
    environment = os.environ | {"SIM_INTERPRETED": interpreted, "PYTHONPATH": str(cwd)}
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@compiled
def test_an_edited_source_is_interpreted(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "sim")
    program = "import sim.engine.replica, sim.hot_path; print(sim.hot_path.is_compiled(), sim.engine.replica.__file__)"
    is_so, file = python("-c", program, cwd=tmp_path).split()
    assert is_so == "True" and Path(file).suffix == ".so"
    with (tmp_path / "sim/engine/scheduler.py").open("a") as source:
        source.write("# edited\n")
    is_so, file = python("-c", program, cwd=tmp_path).split()
    assert is_so == "False" and Path(file) == tmp_path / "sim/engine/replica.py"
