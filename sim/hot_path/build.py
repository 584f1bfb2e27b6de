"""`python -m sim.compile`: compile the hot path with mypyc (see sim.hot_path). Needs mypy, setuptools and a C compiler.

Without it the simulator computes the same numbers, a half to two thirds as fast.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from sim.hot_path import HOT_PATH, PACKAGE, folder, source_of

_C_FLAGS = "-ffp-contract=off"  # a fused multiply-add rounds once where Python rounds twice
_MYPY = ("--ignore-missing-imports", "--check-untyped-defs", "--follow-imports=silent")


def build(into: str) -> None:
    """Run mypyc and the C compiler in this process; the extensions end up in the folder `into`."""
    from mypyc.build import mypycify
    from setuptools import setup

    scratch = Path(into) / "scratch"
    shutil.copytree(PACKAGE, scratch / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    os.chdir(scratch)  # mypy takes what lies beside a package for part of it, and beside an installed one lies much
    sources = [str(source_of(module).relative_to(PACKAGE.parent)) for module in HOT_PATH]
    extensions = mypycify(
        [*_MYPY, f"--cache-dir={scratch}", *sources], opt_level="2", target_dir=str(scratch), group_name="sim_hot_path"
    )
    setup(
        name="sim_hot_path",
        packages=[],
        py_modules=[],
        ext_modules=extensions,
        script_args=["build_ext", f"--build-lib={into}", f"--build-temp={scratch}"],
    )
    os.chdir(into)
    shutil.rmtree(scratch)


def main() -> int:
    done = folder()
    if done.is_dir():
        return 0
    if not find_spec("mypyc") or not find_spec("setuptools"):
        return _failed("mypy or setuptools is not installed (pip install 'llm-traffic-sim[compile]')")
    try:
        return _compile(done)
    except OSError as error:
        return 0 if done.is_dir() else _failed(str(error))  # somebody else was faster


def _compile(done: Path) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        into = Path(temporary) / "extensions"
        ran = subprocess.run(
            [sys.executable, "-c", f"from sim.hot_path.build import build; build({str(into)!r})"],
            env=os.environ | {"CFLAGS": _C_FLAGS, "SIM_INTERPRETED": "1"},
            capture_output=True,
            text=True,
        )
        if ran.returncode:
            said = (ran.stdout + ran.stderr).splitlines() or [f"exit code {ran.returncode}"]
            return _failed(next((line for line in said if "error" in line.lower() and "-Werror" not in line), said[-1]))
        _put(into, done)
    print(f"compiled {len(HOT_PATH)} modules")
    return 0


def _put(made: Path, done: Path) -> None:
    """Move a folder to its place, whole or not at all, and those of earlier sources away."""
    partial = done.parent / f"partial-{os.getpid()}"
    try:
        shutil.copytree(made, partial)
        partial.rename(done)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for stale in set(done.parent.glob(f"{done.name.rpartition('-')[0]}-*")) - {done}:
        shutil.rmtree(stale)


def _failed(why: str) -> int:
    print(f"error: the hot path is not compiled, and so slower: {why.removeprefix('error: ')}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
