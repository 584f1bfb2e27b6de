"""The annotations of sim/ are true: mypy, set up in pyproject.toml, finds nothing to object to."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MYPY = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
STRICT = (
    "schema", "units", "randomness", "work", "views", "records", "recorder", "clock", "hardware", "ledger", "report",
)  # fmt: skip


def mypy(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def overridden(option: str) -> set[str]:
    """The module patterns for which pyproject.toml sets an option of mypy."""
    return {module for override in MYPY["overrides"] if override.get(option) for module in override["module"]}


def test_the_types_of_the_package_are_right_and_a_wrong_one_is_seen(tmp_path):
    """One run for both: the only error is the one planted beside the package, in a function without annotations."""
    (tmp_path / "wrong.py").write_text("def seconds(hours):\n    return hours * '3600' + len(3)\n")
    checked = mypy(*MYPY["files"], str(tmp_path / "wrong.py"))
    *errors, summary = (line for line in checked.stdout.splitlines() if ": note:" not in line)
    assert checked.returncode == 1 and summary.startswith("Found 1 error in 1 file"), checked.stdout + checked.stderr
    assert "wrong.py:2: error" in errors[0]


def test_the_rooms_that_numbers_come_from_are_strict():
    strict = {module.removeprefix("sim.").removesuffix(".*") for module in overridden("disallow_untyped_defs")}
    assert strict >= set(STRICT)
