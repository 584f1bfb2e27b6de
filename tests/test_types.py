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


def mypy(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def overridden(option: str) -> set[str]:
    """The module patterns for which pyproject.toml sets an option of mypy."""
    return {module for override in MYPY["overrides"] if override.get(option) for module in override["module"]}


def test_the_types_of_the_package_are_right():
    checked = mypy()
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_wrong_type_is_seen(tmp_path):
    (tmp_path / "wrong.py").write_text("def seconds(hours):\n    return hours * '3600' + len(3)\n")
    checked = mypy("--cache-dir", str(tmp_path / "cache"), "wrong.py", cwd=tmp_path)
    assert checked.returncode == 1 and "wrong.py:2: error" in checked.stdout  # without annotations, too


def test_the_rooms_that_numbers_come_from_are_strict():
    strict = {module.removeprefix("sim.").removesuffix(".*") for module in overridden("disallow_untyped_defs")}
    assert strict >= set(STRICT)
