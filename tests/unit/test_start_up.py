"""What a command loads before it has done anything: libraries that only some commands need are loaded on use."""

from __future__ import annotations

import subprocess
import sys

import pytest

ON_USE = ("matplotlib", "scipy.sparse", "scipy.stats", "scipy.optimize", "scipy.linalg", "joblib")
PLAYED = """
import sys
import sim
base = sim.scenario("lengths=fixed", horizon_s=60, **{"arrivals.rate_per_s": 0.2})
sim.sweep(base, seed=[1, 2])
print(sorted(set(sys.modules) & set(sys.argv[1:])))
"""


@pytest.mark.slow
def test_a_sweep_of_tiny_scenarios_loads_no_library_of_figures_fits_or_processes(tmp_path):
    words = [sys.executable, "-c", PLAYED, *ON_USE]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
