"""`llm-traffic-sim compile`: compile the hot path with mypyc (see sim.hot_path).

It needs mypy, setuptools and a C compiler. Uncompiled, the simulator computes the same numbers at a quarter to a half
of the speed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sim.hot_path import CACHE, MANIFEST, PACKAGE, PREFIX
from sim.hot_path.sources import compiled_sources, manifest

# A fused multiply-add rounds once where Python rounds twice, so the numbers would depend on the compiler.
_C_FLAGS = ["-ffp-contract=off"]
if sys.platform == "linux":
    # No function is seen from outside, so that one calls another directly and the compiler may put it in place; those
    # of Python are called by their address. By default every call goes through a table, since it might be replaced.
    # These options are for shared objects of ELF; other systems have no such table, or other compilers.
    _C_FLAGS += ["-fvisibility=hidden", "-fno-semantic-interposition", "-fno-plt"]
_MYPY = ("--ignore-missing-imports", "--check-untyped-defs", "--follow-imports=silent")


def build(into: str) -> None:
    """Run mypyc and the C compiler in this process, and leave the extensions in the folder `into`, a new one.

    Changes the working folder of the process.
    """
    from mypyc.build import mypycify
    from setuptools import setup

    scratch = Path(into) / "scratch"
    shutil.copytree(PACKAGE, scratch / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    # mypy reads every module that lies beside the package. Beside an installed package lie all others, so it is copied.
    os.chdir(scratch)
    sources = [str(source.relative_to(PACKAGE.parent)) for source in compiled_sources()]
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
    """Compile the hot path unless that is done. Exit codes: 0 done; 2 not possible, with the reason on stderr."""
    try:
        with _one_at_a_time():
            sources = manifest()
            done = CACHE / (PREFIX + hashlib.sha256(sources.encode()).hexdigest()[:16])
            if done.is_dir():
                return 0
            if not find_spec("mypyc") or not find_spec("setuptools"):
                return _failed("mypy or setuptools is not installed (pip install 'llm-traffic-sim[compile]')")
            return _compile(done, sources)
    except OSError as error:
        return _failed(str(error))


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait until no other process compiles these sources, so that the second process finds the work done."""
    try:
        import fcntl
    except ImportError:  # Without POSIX locks both processes compile, and the last to finish leaves its result.
        yield
        return
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "hot_path.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # The lock ends with the open file, so a killed process releases it, too.
        yield


def _compile(done: Path, sources: str) -> int:
    """Compile in another process and move the result to `done`, with `sources` as manifest; returns the exit code."""
    with tempfile.TemporaryDirectory() as temporary:
        into = Path(temporary) / "extensions"
        ran = subprocess.run(
            [sys.executable, "-c", f"from sim.hot_path.build import build; build({str(into)!r})"],
            env=os.environ | {"CFLAGS": " ".join(_C_FLAGS), "SIM_INTERPRETED": "1"},
            capture_output=True,
            text=True,
        )
        if ran.returncode:
            output = (ran.stdout + ran.stderr).splitlines() or [f"exit code {ran.returncode}"]
            errors = [line for line in output if "error" in line.lower() and "-Werror" not in line]
            return _failed(errors[0] if errors else output[-1])
        (into / MANIFEST).write_text(sources)
        _put(into, done)
    print(f"compiled {len(compiled_sources())} modules")
    return 0


def _put(made: Path, done: Path) -> None:
    """Move the folder `made` to `done`, whole or not at all, and delete the folders of earlier sources."""
    partial = done.parent / f"partial-{os.getpid()}"
    try:
        shutil.copytree(made, partial)
        if not done.is_dir():
            partial.rename(done)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for stale in set(done.parent.glob(f"{PREFIX}*")) - {done}:
        shutil.rmtree(stale, ignore_errors=True)


def _failed(why: str) -> int:
    """Print the reason and return the exit code."""
    print(f"error: the hot path is not compiled, and so slower: {why.removeprefix('error: ')}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
