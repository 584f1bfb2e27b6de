"""Runs tests of the copy in forks of this process, which has imported what takes long, and hears what became of it."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType, FrameType

LOADED = ("pytest", "hypothesis", "numpy", "pandas", "scipy.stats", "scipy.optimize", "pydantic", "omegaconf", "simpy",
          "pyarrow.parquet", "matplotlib.figure", "hydra", "rich.console")  # fmt: skip
"""Packages that take long to import; every test run is a fork of a process that has imported them."""
_MOST_BYTES = 6 << 30
"""Address space of a fork: a loop without an end may fill the memory before its time is over."""
_OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:cov")
_SLOW_TOO = ("test_any_valid_scenario.py", "test_prefill_first.py", "test_replica_equals_stepping.py")
"""Files whose slow tests are asked as well: searches of hundreds of worlds, which see what no other test does."""
_OWN_NAMES = ("tests", "sim", "conf", "examples", "experiments")


class _Listener:
    """Notes each test that ran as a line `[test, seconds, passed, [function, …]]`, and files that do not import."""

    def __init__(self, tree: Path, said: Path, traces: bool, most_s: float, goes_on: bool = False):
        self.has_failed, self.goes_on = False, goes_on
        self._inside = f"{tree}/sim/"
        self._from = len(str(tree)) + 1
        self._said = said.open("a", encoding="utf-8")
        self._traces, self._until_s = traces, time.process_time() + most_s
        self._called: set[CodeType] = set()

    def tell(self, name: str, seconds: float, passed: bool, functions: list[str]) -> None:
        self.has_failed |= not passed
        self._said.write(json.dumps([name, round(seconds, 3), passed, functions]) + "\n")
        self._said.flush()

    def _trace(self, frame: FrameType, event: str, argument: object) -> None:
        self._called.add(frame.f_code)  # returns None: no lines are traced, only calls

    def pytest_runtest_logstart(self, nodeid, location) -> None:
        self._began_s, self._passed = time.process_time(), True
        if self._traces:
            self._called.clear()
            sys.settrace(self._trace)

    def pytest_runtest_logreport(self, report) -> None:
        self._passed &= not report.failed

    def pytest_runtest_logfinish(self, nodeid, location) -> None:
        sys.settrace(None)
        functions = [code for code in self._called if code.co_flags & CO_OPTIMIZED]  # class bodies run at import
        inside = [code for code in functions if code.co_filename.startswith(self._inside)]
        names = sorted({f"{c.co_filename[self._from :]}:{dotted(c.co_qualname)}" for c in inside})
        self.tell(nodeid, time.process_time() - self._began_s, self._passed, names)

    def pytest_collection_modifyitems(self, items) -> None:
        items[:] = [item for item in items if not item.get_closest_marker("slow") or item.path.name in _SLOW_TOO]

    def pytest_runtest_protocol(self, item, nextitem) -> None:
        if time.process_time() > self._until_s:
            item.session.shouldstop = "measured for long enough"

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.tell(f"import of {report.nodeid}", 0.0, False, [])


def dotted(qualified_name: str) -> str:
    """A code object's qualified name as `Mistake.function` has it: without `<locals>`, `<lambda>` and the like."""
    return ".".join(part for part in qualified_name.split(".") if not part.startswith("<"))


def measured(tree: Path, test_file: str, most_s: float) -> list[list]:
    """`[[test, seconds, passed, [function, …]], …]` of a test file, as far as `most_s` CPU seconds reach."""
    return _in_a_fork(tree, [[test_file]], 2 * most_s + 30, lambda said: _Listener(tree, said, True, most_s))[0]


def failed(tree: Path, batches: list[list[str]], most_s: float) -> str:
    """The first test that fails, of batches of tests that are run in turn; "no end" if they take too long; or "".

    `most_s`: CPU seconds that all together may take.
    """
    told, ended = _in_a_fork(
        tree, [["-x", *batch] for batch in batches], most_s, lambda said: _Listener(tree, said, False, most_s)
    )
    return next((name for name, _, passed, _ in told if not passed), "" if ended else "no end")


def failing(tree: Path, batches: list[list[str]]) -> list[str]:
    """All tests that fail, of batches of tests that are run in turn."""
    most_s = 3600.0
    told, _ = _in_a_fork(tree, batches, most_s, lambda said: _Listener(tree, said, False, most_s, goes_on=True))
    return [name for name, _, passed, _ in told if not passed]


def _in_a_fork(tree: Path, batches, most_s: float, listener: Callable[[Path], _Listener]) -> tuple[list, bool]:
    """What the listener told, and whether the fork came to its end."""
    said = tree.parent / "said.jsonl"
    said.write_text("")
    pid = os.fork()
    if not pid:
        _run_in_child(tree, batches, int(most_s) + 1, lambda: listener(said))
    until_s = time.monotonic() + 20 * most_s  # on a machine with other work the clock on the wall says little
    ended, status = os.waitpid(pid, os.WNOHANG)
    while not ended:
        if time.monotonic() > until_s:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.02)
        ended, status = os.waitpid(pid, os.WNOHANG)
    lines = said.read_text(encoding="utf-8").split("\n")[:-1]  # whoever was killed may have left half a line
    return [json.loads(line) for line in lines], not os.WIFSIGNALED(status)


def _run_in_child(tree: Path, batches: list[list[str]], cpu_s: int, listener: Callable[[], _Listener]) -> None:
    os.setpgrp()
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    for name in [n for n in sys.modules if n.partition(".")[0] in _OWN_NAMES]:
        del sys.modules[name]
    root = Path.cwd()
    sys.path[:] = [str(tree), *(p for p in sys.path if p and Path(p).resolve() != root)]
    sys.dont_write_bytecode = True
    os.environ |= {"SIM_INTERPRETED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    os.chdir(tree)
    try:
        _run_all(batches, listener())
    finally:
        os._exit(0)


def _run_all(batches: list[list[str]], heard: _Listener) -> None:
    import pytest

    for words in batches:
        try:
            code = int(pytest.main([*_OPTIONS, *words], plugins=[heard]))
            if code in (2, 3) and not heard.has_failed:  # 4 and 5: no such test
                heard.tell(f"pytest ended with {code}", 0.0, False, [])
        except BaseException as error:
            heard.tell(type(error).__name__, 0.0, False, [])
        if heard.has_failed and not heard.goes_on:
            return
