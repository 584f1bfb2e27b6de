"""Plants mistakes in the copy, one at a time, and lets tests judge; what was judged is kept, so that one may go on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby, islice, repeat
from pathlib import Path

from tests.mutants.chosen_tests import ChosenTests
from tests.mutants.in_a_fork import failed, failing
from tests.mutants.mistakes import Mistake

_STARTS_S = 10.0
"""CPU seconds that a fork may take to import the project and the tests, on a slow day."""
_TRIED_ALONE, _TRIED_TOGETHER = 3, 8
"""Test files that have a fork to themselves, because one of them is likely to notice; and how many share one then."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mistake: the test that failed (or what else ended it), or ""; and how many tests tried.

    `basis`: hash of what the verdict rests on: the module and the test that failed; for one that lives the module, all
    tests, and this program.
    """

    killer: str
    n_tests: int
    took_s: float
    basis: str


class Judge:
    """Judges mistakes by the tests of a copy of the project; `file` keeps the verdicts."""

    def __init__(self, tree: Path, chosen: ChosenTests, file: Path, budget_s: float):
        self._tree, self._chosen, self._file, self._budget_s = tree, chosen, file, budget_s
        kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self._kept = {name: Verdict(**verdict) for name, verdict in kept.items()}
        self._unsound: set[str] = set()

    def verdict(self, mistake: Mistake) -> Verdict:
        """The verdict kept for the mistake, if it rests on the same files, or a new one."""
        kept = self._kept.get(mistake.name)
        if kept and kept.basis == self._basis(mistake, kept.killer):
            return kept
        began_s = time.monotonic()
        killer, n_tests = self._judged(mistake, kept.killer if kept and "::" in kept.killer else "")
        verdict = Verdict(killer, n_tests, round(time.monotonic() - began_s, 1), self._basis(mistake, killer))
        self._kept[mistake.name] = verdict
        self._file.parent.mkdir(parents=True, exist_ok=True)
        said = {name: asdict(v) for name, v in self._kept.items()}
        self._file.write_text(json.dumps(said, indent=0), encoding="utf-8")
        return verdict

    def _basis(self, mistake: Mistake, killer: str) -> str:
        hashes, test_file = self._chosen.hashes, killer.partition("::")[0]
        tests = (
            [hashes.get(test_file, "")] if killer else [*sorted(hashes.values()), *_own_sources(), str(self._budget_s)]
        )
        source = (self._tree / mistake.path).read_text(encoding="utf-8")
        return hashlib.sha256("".join((source, *tests)).encode()).hexdigest()

    def _judged(self, mistake: Mistake, former_killer: str) -> tuple[str, int]:
        """The test that failed, or "", and how many were tried. The one that failed formerly is tried first."""
        tried, left_s = 0, self._budget_s
        if former_killer and self._fails(mistake, [[former_killer]], self._budget_s):
            return former_killer, 1
        batches = self._chosen.batches(mistake.path, mistake.function)
        for size in chain(repeat(1, _TRIED_ALONE), repeat(_TRIED_TOGETHER)):
            group, most_s = [], 0.0
            for batch in islice(batches, size):
                tests, batch_s = _affordable(batch, (left_s - most_s) / 2)
                group.append(tests)
                most_s += batch_s
            tried += sum(map(len, group))
            killer = self._fails(mistake, group, most_s)
            left_s -= most_s
            if killer or left_s <= 0 or not group:
                return killer, tried
        raise AssertionError("the sizes never end")

    def _fails(self, mistake: Mistake, batches: list[list[str]], seconds: float) -> str:
        """The first of the tests that fails with the mistake; or what else ended them, or ""."""
        batches = [left for batch in batches if (left := [test for test in batch if test not in self._unsound])]
        most_s = _STARTS_S + 2 * seconds + len(batches)  # they were measured while calls were traced
        return self._failed_with(mistake, batches, most_s) if batches else ""

    def drop_unsound(self, verdicts: Sequence[Verdict]) -> bool:
        """Whether some of the tests that failed do so without a mistake, too. They say nothing: their verdicts go."""
        killers = sorted({verdict.killer for verdict in verdicts if "::" in verdict.killer} - self._unsound)
        by_file = [list(tests) for _, tests in groupby(killers, key=lambda test: test.partition("::")[0])]
        self._unsound |= (unsound := set(failing(self._tree, by_file)))
        self._kept = {name: verdict for name, verdict in self._kept.items() if verdict.killer not in unsound}
        return bool(unsound)

    def _failed_with(self, mistake: Mistake, batches: list[list[str]], most_s: float) -> str:
        place = self._tree / mistake.path
        source = place.read_text(encoding="utf-8")
        _write(place, mistake.plant(source))
        try:
            return failed(self._tree, batches, most_s)
        finally:
            _write(place, source)


def _own_sources() -> list[str]:
    """How tests are chosen and mistakes judged: a mistake that lives may not live by other rules."""
    return [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]


def _affordable(batch: list[tuple[float, str]], most_s: float) -> tuple[list[str], float]:
    """The first tests of a batch, one at least, as many as `most_s` CPU seconds hold; and the seconds they take."""
    tests, total_s = [], 0.0
    for s, test in batch:
        if not tests or total_s + s <= most_s:
            tests.append(test)
            total_s += s
    return tests, total_s


def _write(place: Path, source: str) -> None:
    """Write a module, and drop its bytecode: a file of the same size and second would be taken for the old one."""
    place.write_text(source, encoding="utf-8")
    for stale in (place.parent / "__pycache__").glob(f"{place.stem}.*.pyc"):
        stale.unlink()
