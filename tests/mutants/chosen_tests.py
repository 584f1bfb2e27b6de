"""Which tests to try for a mistake: those that call its function, of the test files that speak most of it first.

A test file is measured when it is first of use: played once without any mistake, with a note of what each test calls,
how long it takes and whether it passes. What was measured is kept in a file and holds until the test file changes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

FOLDERS = ("unit", "laws", "theory", "contracts", "reference")
"""Those under tests/ that state reasons. tests/golden is left out: it says only that a number moved."""
OF_OTHER_ROOMS = {
    "test_calibrate.py", "test_calibrate_cli.py", "test_hugging_face.py", "test_glossary.py",
    "test_mistakes.py",
}  # fmt: skip
"""Long ones, about rooms without planted mistakes, about words, or about this program."""
TAKES_LONG = "tests/theory/"
"""Statistics: measured only if they are among those that speak most of a function."""
SPEAKING = 6
"""Test files that are tried first: those that speak most of a function."""


class ChosenTests:
    """Tests by the function they call.

    The file is `{test file: {"hash": …, "tests": [[test, CPU seconds, passed, [function, …]], …]}}`; `measure` plays a
    test file and returns such tests.
    """

    def __init__(self, tree: Path, file: Path, measure: Callable[[str], list[list]]):
        self._tree, self._file, self._measure = tree, file, measure
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self._known = {name: tests for name, tests in known.items() if tests["hash"] == self.hashes.get(name)}

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Of every test file that may be tried."""
        return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in self._texts.items()}

    @cached_property
    def _texts(self) -> dict[str, str]:
        files = [p for folder in FOLDERS for p in sorted((self._tree / "tests" / folder).glob("test_*.py"))]
        return {
            str(p.relative_to(self._tree)): p.read_text(encoding="utf-8") for p in files if p.name not in OF_OTHER_ROOMS
        }

    def batches(self, path: str, function: str) -> Iterator[list[tuple[float, str]]]:
        """Tests of one file at a time, with the CPU seconds each takes unharmed: those that call the function.

        Files that speak most of it come first, then those that were measured, the shortest first, then all others but
        statistics. Last come the other tests of the same files: they may look at what another test's call has left.
        """
        others: list[list[tuple[float, str]]] = []
        ranked = self._by_name(path, function)
        first = ranked[:SPEAKING]
        known = [name for name in self._known_shortest_first() if name not in first]
        unknown = (name for name in ranked if not name.startswith(TAKES_LONG))
        for name in dict.fromkeys((*first, *known, *unknown)):
            calling, not_calling = [], []
            for test in self._tests_of(name):
                (calling if _calls(test[3], path, function) else not_calling).append(test)
            if calling:
                yield _quickest(calling)
                others.append(_quickest(not_calling))
        if not others and function:  # a constant of a class, or what only another process calls
            yield from self.batches(path, "")
            others = [_quickest(self._tests_of(name)) for name in first]
        yield from (batch for batch in others if batch)

    def _by_name(self, path: str, function: str) -> list[str]:
        """The test files that import the module, or else speak of it and the function; the shortest of equals first."""
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        words = [re.escape(word.strip("_")) for word in (*function.split("."), module.rpartition(".")[2]) if word]
        scores = []
        for name, text in self._texts.items():
            imports = f"{module} import" in text
            calls = bool(function) and f"{function.rpartition('.')[2]}(" in text
            score = sum(min(len(re.findall(word, text)), 5) for word in words) + 2 * (module.rpartition(".")[0] in text)
            scores.append((not (imports and calls), not imports, name.startswith(TAKES_LONG), -score, len(text), name))
        return [name for *_, name in sorted(scores)]

    def _known_shortest_first(self) -> list[str]:
        return sorted(self._known, key=lambda name: sum(test[1] for test in self._known[name]["tests"]))

    def _tests_of(self, name: str) -> list[list]:
        """Tests of a file that pass without any mistake; measured if they are not known."""
        if name not in self._known:
            self._known[name] = {"hash": self.hashes[name], "tests": self._measure(name)}
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(self._known, indent=0), encoding="utf-8")
        return [test for test in self._known[name]["tests"] if test[2]]


def _calls(called: list[str], path: str, function: str) -> bool:
    """Whether a test calls the function, or, of what runs at import, anything of its class or file."""
    key = f"{path}:{function}"
    inside = f"{key}." if function else key
    return any(name == key or name.startswith(inside) for name in called)


def _quickest(tests: list[list]) -> list[tuple[float, str]]:
    return sorted((test[1], test[0]) for test in tests)
