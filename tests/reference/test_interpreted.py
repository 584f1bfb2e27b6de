"""What looks inside a replica, or makes it wrong on purpose, is asked of an interpreted one, in a Python of its own.

A compiled replica does not allow it. Where the hot path is interpreted anyway, the two files are asked directly.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.hot_path import is_compiled

HERE = Path(__file__).resolve().parent
LOOK_INSIDE = ("test_replica_equals_stepping.py", "test_prefill_first.py")


@pytest.mark.slow
@pytest.mark.skipif(not is_compiled(), reason="the hot path is interpreted here: the two files are asked directly")
def test_an_interpreted_replica_equals_the_plain_engine_too_and_wrong_ones_are_caught():
    files = [str(HERE / name) for name in LOOK_INSIDE]
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    asked = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *files],
        cwd=HERE.parents[1], capture_output=True, text=True, env=variables | {"SIM_INTERPRETED": "1"},
    )  # fmt: skip
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "passed" in asked.stdout and "skipped" not in asked.stdout, asked.stdout
