"""`make test-pythons`: a quick subset of the tests under each other Python at hand that pyproject.toml allows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUICK = ("tests/test_house.py", "tests/golden", "tests/contracts", "tests/laws")
OLDEST = tuple(
    int(part)
    for part in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"][2:].split(".")
)

Version = tuple[int, int]


@cache
def at_hand() -> Mapping[Version, Path]:
    """The supported interpreters on the path and among pyenv's versions, one per minor version, oldest first."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], 20)]
    found: dict[Version, Path] = {}
    for path in (*pyenv.glob("3.*/bin/python3"), *filter(None, named)):
        ran = subprocess.run(
            [str(path), "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"],
            capture_output=True, text=True,
        )  # fmt: skip
        if ran.returncode == 0:  # a shim of pyenv fails unless its version is chosen
            major, minor = map(int, ran.stdout.split())
            if (major, minor) >= OLDEST:
                found.setdefault((major, minor), Path(path))
    return dict(sorted(found.items()))


def environment(python: Path, folder: Path, *package: str) -> Path:
    """A virtual environment with the packages of requirements.lock and this checkout, or that package; its Python."""
    inside, uv = folder / "bin/python", Path(sys.executable).parent / "uv"
    subprocess.run([str(uv), "venv", "-q", "-p", str(python), str(folder)], check=True)
    install = [str(uv), "pip", "install", "-q", "-p", str(inside)]
    subprocess.run([*install, "--require-hashes", "-r", str(ROOT / "requirements.lock")], check=True)
    subprocess.run([*install, "--no-deps", *(package or ("-e", str(ROOT)))], check=True)
    return inside


def play_tests(python: Path, *words: str) -> subprocess.CompletedProcess:
    """Run the fast ones of the named tests under an interpreter that has the packages; the output is kept."""
    command = [str(python), "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider", *words]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"SIM_INTERPRETED": "1"}, capture_output=True, text=True, timeout=900
    )


def main() -> int:
    """Print one line per interpreter and all output of those that fail. Exit code 1 if one fails or none is found."""
    others = {version: python for version, python in at_hand().items() if version != sys.version_info[:2]}
    if not others:
        print("error: no other Python of a supported version is at hand", file=sys.stderr)
        return 1
    failed = 0
    for version, python in others.items():
        folder = ROOT / ".venv/pythons" / "{}.{}".format(*version)
        inside = folder / "bin/python" if (folder / ".ok").exists() else environment(python, folder)
        (folder / ".ok").touch()
        ran = play_tests(inside, "-n", "auto", *QUICK, *sys.argv[1:])
        failed += ran.returncode != 0
        print("Python {}.{}: {}".format(*version, ran.stdout.strip().splitlines()[-1] if ran.stdout else ran.stderr))
        if ran.returncode:
            print(ran.stdout, ran.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
