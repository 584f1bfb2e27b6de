"""Plant single mistakes in a copy of the project, one at a time, and see which of them no test notices.

Run by `make mutants`. A seeded sample, the same number from each room; each mistake is tried by the tests that call its
function, the quickest first, until one fails. tests/golden takes no part: it says that a number moved, not why that is
wrong. The first run measures which test calls what, which takes as long as the suite, and keeps it in outputs/mutants.

Neither mutmut nor cosmic-ray draws a seeded sample or ends at a bound. mutmut 3 leaves out functions with a decorator
and whatever is outside of functions; cosmic-ray has one test command for all mutants.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from tests.mutants.chosen_tests import ChosenTests
from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.mistakes import Mistake, mistakes_in

ROOT = Path(__file__).parents[2]
ROOMS = ("engine", "fleet", "ledger", "report", "routing", "study", "workload")
LEFT_OUT = (
    "sim/report/figures.py",
    "sim/report/labels.py",
    "sim/study/bench.py",
    "sim/study/benchmark.py",
    "sim/workload/sample_log.py",
)
"""Pictures, which people judge; the timing of the simulator; a shim of the command line."""
LOADED = ("pytest", "hypothesis", "numpy", "pandas", "scipy.stats", "scipy.optimize", "pydantic", "omegaconf", "simpy",
          "pyarrow.parquet", "matplotlib.figure", "hydra", "rich.console")  # fmt: skip
"""Packages that take long to import; every test run is a fork of a process that has imported them."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mistake: the test that failed (or what else ended it), or ""; and how many tests tried."""

    killer: str
    n_tests: int
    took_s: float


def main() -> None:
    """The command."""
    words = _arguments()
    for name in LOADED:
        import_module(name)
    chosen = ChosenTests(ROOT, ROOT / "outputs" / "mutants" / "tests.json")
    chosen.measure(words.files)
    if words.measure:
        return
    mistakes = sample(words.rooms, words.seed)[words.skip : words.skip + words.mutants]
    if words.named:
        mistakes = [m for m in sample(words.rooms, words.seed) if words.named in m.name]
    until_s = time.monotonic() + 60 * words.minutes
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = _copy_to(Path(folder) / "tree")
        verdicts = judge(tree, mistakes, chosen, words.seconds, until_s)
    report(verdicts, len(mistakes))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants ARGS=…", description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=100, help="how many mistakes to plant")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many of the sample: to go on after a stop")
    parser.add_argument("--rooms", nargs="*", default=ROOMS, help="folders of sim/")
    parser.add_argument("--seconds", type=float, default=15.0, help="of tests, per mistake, as they take unharmed")
    parser.add_argument("--minutes", type=float, default=45.0, help="stop after so long, and report")
    parser.add_argument("--named", help="instead of a sample, all mistakes whose name contains this")
    parser.add_argument(
        "--files", nargs="*", default=(), help="measure only these test files, as tests/unit/test_bill.py"
    )
    parser.add_argument("--measure", action="store_true", help="only measure which test calls what")
    return parser.parse_args()


def sample(rooms, seed: int) -> list[Mistake]:
    """All mistakes of the rooms, in a random order in which the rooms take turns."""
    by_room = []
    for room in rooms:
        rng = random.Random(f"{seed} {room}")
        files = sorted((ROOT / "sim" / room).rglob("*.py"))
        names = [name for name in map(str, (p.relative_to(ROOT) for p in files)) if name not in LEFT_OUT]
        found = [m for name in names for m in mistakes_in(name, (ROOT / name).read_text(encoding="utf-8"))]
        by_room.append(rng.sample(found, len(found)))
    longest = max(len(found) for found in by_room)
    in_turn = [found[i] for i in range(longest) for found in by_room if i < len(found)]
    return [m for m in in_turn if m.name not in EQUIVALENT]


def judge(tree: Path, mistakes: list[Mistake], chosen: ChosenTests, budget_s: float, until_s: float):
    """[(mistake, verdict), …], as far as time allows."""
    verdicts: dict[Mistake, Verdict] = {}
    for mistake in mistakes:
        if time.monotonic() > until_s:
            break
        source = (ROOT / mistake.path).read_text(encoding="utf-8")
        if not _compiles(mistake.plant(source)):
            continue
        tests = chosen.of(mistake.path, mistake.function, budget_s)
        verdicts[mistake] = _judged(tree, mistake, source, tests, budget_s)
        _tell(len(verdicts), mistake, verdicts[mistake])
    # A test that fails in the copy without any mistake, too, says nothing.
    killers = sorted({verdict.killer for verdict in verdicts.values() if verdict.killer and "::" in verdict.killer})
    unsound = set(run(tree, killers, 10 * budget_s, first_only=False).killer.splitlines()) if killers else set()
    for mistake, verdict in verdicts.items():
        if verdict.killer in unsound:
            source = (ROOT / mistake.path).read_text(encoding="utf-8")
            tests = [t for t in chosen.of(mistake.path, mistake.function, budget_s) if t not in unsound]
            verdicts[mistake] = _judged(tree, mistake, source, tests, budget_s)
            _tell(0, mistake, verdicts[mistake])
    return list(verdicts.items())


def _tell(number: int, mistake: Mistake, verdict: Verdict) -> None:
    print(f"{number:3} {'died' if verdict.killer else 'LIVES'} {verdict.took_s:5.1f} s  {mistake.name}")
    print(f"      {verdict.killer or f'none of {verdict.n_tests} tests noticed'}", flush=True)


def _judged(tree: Path, mistake: Mistake, source: str, tests: list[str], budget_s: float) -> Verdict:
    place = tree / mistake.path
    _write(place, mistake.plant(source))
    try:
        verdict = run(tree, tests, budget_s)
    finally:
        _write(place, source)
    # Whole files, whose length is not known, may take too long without any mistake, too.
    is_known = verdict.killer != "no end" or all("::" in test for test in tests)
    return verdict if is_known else replace(verdict, killer="")


def run(tree: Path, tests: list[str], budget_s: float, first_only: bool = True) -> Verdict:
    """Run tests of the copy in a fork of this process, until one fails or they take far longer than they should.

    With `first_only` False all are run, and `killer` has a line for each that failed.
    """
    began_s = time.monotonic()
    if not tests:
        return Verdict("", 0, 0.0)
    said, says = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(said)
        cpu_s = int(20 + 3 * budget_s)  # on a machine with other work the clock on the wall says little
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        _run_in_child(tree, ["-x", *tests] if first_only else tests, says)
    os.close(says)
    ended, status = os.waitpid(pid, os.WNOHANG)
    while not ended:
        if time.monotonic() > began_s + 20 * budget_s:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.02)
        ended, status = os.waitpid(pid, os.WNOHANG)
    with os.fdopen(said, encoding="utf-8") as pipe:
        killer = "no end" if os.WIFSIGNALED(status) else pipe.read()
    return Verdict(killer, len(tests), time.monotonic() - began_s)


def _run_in_child(tree: Path, words: list[str], says: int) -> None:
    os.setpgrp()
    os.chdir(tree)
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    for name in [n for n in sys.modules if n.partition(".")[0] in ("tests", "sim")]:
        del sys.modules[name]
    sys.path[:] = [str(tree), *(p for p in sys.path if p and Path(p).resolve() != ROOT)]
    sys.dont_write_bytecode = True
    os.environ |= {"SIM_INTERPRETED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    listener = _Listener()
    try:
        import pytest

        code = pytest.main(
            ["-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:cov", *words], plugins=[listener]
        )
        if code in (2, 3) and not listener.failed:  # 4 and 5: no such test
            listener.failed = [f"pytest ended with {int(code)}"]
    except BaseException as error:
        listener.failed = listener.failed or [type(error).__name__]
    finally:
        os.write(says, "\n".join(listener.failed).encode())
        os._exit(0)


class _Listener:
    """Remembers the tests that failed, and files that could not be imported."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.failed.append(f"import of {report.nodeid}")


def _copy_to(tree: Path) -> Path:
    """A copy of what git knows or could know, without anything compiled."""
    listed = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "sim"], cwd=tree, check=True)
    return tree


def _write(place: Path, source: str) -> None:
    """Write a module, and drop its bytecode: a file of the same size and second would be taken for the old one."""
    place.write_text(source, encoding="utf-8")
    for stale in (place.parent / "__pycache__").glob(f"{place.stem}.*.pyc"):
        stale.unlink()


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def report(verdicts, asked: int) -> None:
    """Print who survived, and the share that died."""
    alive = [(mistake, verdict) for mistake, verdict in verdicts if not verdict.killer]
    print(f"\n{len(verdicts) - len(alive)} of {len(verdicts)} mistakes died, {asked} were asked for")
    for mistake, verdict in alive:
        print(f"survivor, {verdict.n_tests} tests: line {mistake.line} of {mistake.name}")


if __name__ == "__main__":
    main()
