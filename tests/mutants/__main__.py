"""Plant single mistakes in a copy of the project, one at a time, and see which of them no test notices.

Run by `make mutants`. A seeded sample, the same number from each room; each mistake is tried by tests that call its
function, until one fails. tests/golden takes no part: it says that a number moved, not why that is wrong. What was
judged and measured is kept in outputs/mutants: a run that was stopped goes on where it was.

Neither mutmut nor cosmic-ray draws a seeded sample or ends at a bound. mutmut 3 leaves out functions with a decorator
and whatever is outside of functions; cosmic-ray has one test command for all mutants.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

from tests.mutants.chosen_tests import ChosenTests
from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.in_a_fork import LOADED, measured
from tests.mutants.judging import Judge, Verdict
from tests.mutants.mistakes import Mistake, mistakes_in

ROOT = Path(__file__).parents[2]
ROOMS = ("engine", "fleet", "ledger", "report", "routing", "study", "workload")
LEFT_OUT = (
    "sim/report/figures.py",
    "sim/report/labels.py",
    "sim/report/paper_figures.py",
    "sim/study/bench.py",
    "sim/study/benchmark.py",
    "sim/workload/sample_log.py",
)
"""Pictures, which people judge; the timing of the simulator; a shim of the command line."""
_KEPT = ROOT / "outputs" / "mutants"
_MEASURED_S = 20.0
"""CPU seconds of a test file that are measured; tests that come later are not tried."""


def main() -> None:
    """The command."""
    words = _arguments()
    mistakes = sample(words.rooms, words.seed)
    mistakes = [m for m in mistakes if words.named in m.name] if words.named else _first(words.mutants, mistakes)
    for name in LOADED:
        import_module(name)
    until_s = time.monotonic() + 60 * words.minutes
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = _copy_to(Path(folder).resolve() / "tree")
        chosen = ChosenTests(tree, _KEPT / "tests.json", lambda name: _measure(tree, name))
        judge = Judge(tree, chosen, _KEPT / "verdicts.json", words.seconds)
        while True:
            verdicts = []
            for mistake in mistakes:
                if time.monotonic() > until_s:
                    break
                verdicts.append((mistake, judge.verdict(mistake)))
                _tell(len(verdicts), *verdicts[-1])
            if not judge.drop_unsound([verdict for _, verdict in verdicts]):
                break
    report(verdicts, len(mistakes))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants ARGS=…", description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=100, help="how many mistakes to plant")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--rooms", nargs="*", default=ROOMS, help="folders of sim/")
    parser.add_argument("--seconds", type=float, default=30.0, help="of tests, per mistake, as they take unharmed")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so long, and report")
    parser.add_argument("--named", help="instead of a sample, all mistakes whose name contains this")
    return parser.parse_args()


def sample(rooms, seed: int) -> list[Mistake]:
    """All mistakes of the rooms, in a random order in which the rooms take turns.

    The order is that of hashes of names, so that a change somewhere else leaves the sample as it is. Of mistakes with
    one name, on two lines that read the same, the first counts.
    """
    by_room = []
    for room in rooms:
        found: dict[str, Mistake] = {}
        for place in sorted((ROOT / "sim" / room).rglob("*.py")):
            name, source = str(place.relative_to(ROOT)), place.read_text(encoding="utf-8")
            if name not in LEFT_OUT:
                for mistake in mistakes_in(name, source):
                    found.setdefault(mistake.name, mistake)
        drawn = sorted(found.values(), key=lambda m: hashlib.sha256(f"{seed} {m.name}".encode()).digest())
        by_room.append([m for m in drawn if m.name not in EQUIVALENT])
    longest = max(len(drawn) for drawn in by_room)
    return [drawn[i] for i in range(longest) for drawn in by_room if i < len(drawn)]


def _first(n: int, mistakes: list[Mistake]) -> list[Mistake]:
    """The first `n` that compile."""
    return list(itertools.islice((m for m in mistakes if _compiles(m)), n))


def _compiles(mistake: Mistake) -> bool:
    try:
        compile(mistake.plant((ROOT / mistake.path).read_text(encoding="utf-8")), "mutant", "exec")
    except SyntaxError:
        return False
    return True


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


def _measure(tree: Path, test_file: str) -> list[list]:
    began_s = time.monotonic()
    tests = measured(tree, test_file, _MEASURED_S)
    print(f"      measured {len(tests)} tests of {test_file} in {time.monotonic() - began_s:.0f} s", flush=True)
    return tests


def _tell(number: int, mistake: Mistake, verdict: Verdict) -> None:
    print(f"{number:3} {'died' if verdict.killer else 'LIVES'} {verdict.took_s:5.1f} s  {mistake.name}")
    print(f"      {verdict.killer or f'none of {verdict.n_tests} tests noticed'}", flush=True)


def report(verdicts: list[tuple[Mistake, Verdict]], asked: int) -> None:
    """Print who survived, and the share that died."""
    alive = [(mistake, verdict) for mistake, verdict in verdicts if not verdict.killer]
    print(f"\n{len(verdicts) - len(alive)} of {len(verdicts)} mistakes died, {asked} were asked for")
    print("tried, by room:", dict(sorted(Counter(m.path.split("/")[1] for m, _ in verdicts).items())))
    for mistake, verdict in alive:
        print(f"survivor, {verdict.n_tests} tests: line {mistake.line} of {mistake.name}")


if __name__ == "__main__":
    main()
