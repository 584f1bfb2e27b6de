"""`python -m sim.compile`: compile the hot path with mypyc (see sim.compiled). Needs mypy, setuptools and a C compiler.

Without it the simulator computes the same numbers, about half as fast.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sim.compiled import HOT_PATH, PACKAGE, folder, source_of

_C_FLAGS = "-ffp-contract=off"  # a fused multiply-add rounds once where Python rounds twice
_MYPY = ("--ignore-missing-imports", "--check-untyped-defs", "--follow-imports=silent")
_SHOWN_LINES = 15


def build(into: Path) -> None:
    """Run mypyc and the C compiler in this process; the extensions end up in `into`."""
    from mypyc.build import mypycify
    from setuptools import setup

    os.chdir(PACKAGE.parent)
    sources = [str(source_of(module).relative_to(PACKAGE.parent)) for module in HOT_PATH]
    scratch = into / "scratch"
    extensions = mypycify(
        [*_MYPY, f"--cache-dir={scratch}", *sources], opt_level="1", target_dir=str(scratch), group_name="sim_hot_path"
    )
    setup(
        name="sim_hot_path",
        packages=[],
        py_modules=[],
        ext_modules=extensions,
        script_args=["build_ext", f"--build-lib={into}", f"--build-temp={scratch}"],
    )
    shutil.rmtree(scratch)


def main() -> int:
    done = folder()
    if done.is_dir():
        return 0
    done.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=done.parent) as temporary:
        into = Path(temporary) / "extensions"
        ran = subprocess.run(
            [sys.executable, "-c", f"from sim.compile import build, Path; build(Path({str(into)!r}))"],
            env=os.environ | {"CFLAGS": _C_FLAGS, "SIM_INTERPRETED": "1"},
            capture_output=True,
            text=True,
        )
        if ran.returncode:
            print(*(ran.stdout + ran.stderr).splitlines()[-_SHOWN_LINES:], sep="\n", file=sys.stderr)
            print("error: the hot path was not compiled (see above): the simulator is slower", file=sys.stderr)
            return 2
        for stale in done.parent.glob(f"{done.name.rpartition('-')[0]}-*"):
            shutil.rmtree(stale)
        into.rename(done)
    print(f"compiled {len(HOT_PATH)} modules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
