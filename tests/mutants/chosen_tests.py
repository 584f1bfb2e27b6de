"""Which tests call which function, and how long each takes: measured once per test file, kept in a file."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from coverage import CoverageData

FOLDERS = ("unit", "laws", "theory", "contracts", "reference")
"""Those under tests/ that state reasons. tests/golden is left out: it says only that a number moved."""
OF_OTHER_ROOMS = {"test_calibrate.py", "test_calibrate_cli.py", "test_hugging_face.py", "test_figures.py"}
"""Long ones, about rooms without planted mistakes or about pictures."""
_SPEAKING = 3
"""Test files to try where it is not known which test calls a function."""
_BATCH = 3
"""Test files that one process runs: importing everything takes as long as many tests do."""


class ChosenTests:
    """Tests by the function they call: `{test file: {"hash": …, "tests": {test: [seconds, [function, …]]}}}`."""

    def __init__(self, root: Path, file: Path):
        self._root, self._file = root, file
        self._measured: dict = json.loads(file.read_text()) if file.exists() else {}

    def measure(self, only: Sequence[str] = ()) -> None:
        """Run every test file that is new or has changed since, with coverage. Keeps what it knows after each batch.

        `only`: names of test files, in the order in which they are run; the others stay as they are known.
        """
        files = [p for folder in FOLDERS for p in sorted((self._root / "tests" / folder).glob("test_*.py"))]
        files = [p for p in files if p.name not in OF_OTHER_ROOMS]
        hashes = {str(p.relative_to(self._root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
        self._measured = {name: known for name, known in self._measured.items() if name in hashes}
        stale = [name for name, content in hashes.items() if self._measured.get(name, {}).get("hash") != content]
        if only:
            stale = sorted((name for name in stale if name in only), key=only.index)
        for begin in range(0, len(stale), _BATCH):
            names = stale[begin : begin + _BATCH]
            print(f"measuring {begin + len(names)} of {len(stale)} test files", flush=True)
            tests = self._run(names)
            for name in names:
                mine = {test: known for test, known in tests.items() if test.startswith(f"{name}::")}
                self._measured[name] = {"hash": hashes[name], "tests": mine}
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(self._measured, indent=0))

    def _run(self, names: list[str]) -> dict[str, tuple[float, list[str]]]:
        data, report = self._file.with_suffix(".coverage"), self._file.with_suffix(".xml")
        for old in (data, report):
            old.unlink(missing_ok=True)
        words = [
            "-q", "-m", "not slow", "-p", "no:cacheprovider", *names, "--cov=sim", "--cov-context=test",
            "--cov-report=", f"--junitxml={report}", "-o", "junit_family=xunit1",
        ]  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "pytest", *words], cwd=self._root, stdout=subprocess.DEVNULL, check=False,
            env=os.environ | {"SIM_INTERPRETED": "1", "COVERAGE_FILE": str(data)},
        )  # fmt: skip
        cases = ET.parse(report).iter("testcase")
        seconds = {f"{case.get('file')}::{case.get('name')}": float(case.get("time", 0)) for case in cases}
        functions = self._functions_by_test(data)
        return {test: (s, sorted(functions[test])) for test, s in seconds.items() if functions[test]}

    def _functions_by_test(self, file: Path) -> dict[str, set[str]]:
        called: dict[str, set[str]] = defaultdict(set)
        data = CoverageData(str(file))
        data.read()
        for path in data.measured_files():
            name = str(Path(path).relative_to(self._root))
            of_line = functions_by_line((self._root / name).read_text(encoding="utf-8"))
            for line, contexts in data.contexts_by_lineno(path).items():
                for context in contexts:
                    if context and line in of_line:
                        called[context.partition("|")[0]].add(f"{name}:{of_line[line]}")
        return called

    def of(self, path: str, function: str, budget_s: float) -> list[str]:
        """Tests that call a function, the quickest first, as many as `budget_s` seconds hold (one at least).

        What runs at import, outside every function, is tried by the tests that call anything of its class or file.
        """
        key = f"{path}:{function}"
        found = self._calling(lambda called: called == key)
        if not found:
            inside = f"{key}." if function else f"{path}:"
            found = self._calling(lambda called: called.startswith(inside)) or self._calling(
                lambda called: called.startswith(f"{path}:")
            )
        if not found:
            return self._by_name(path, function)
        chosen, total_s = [], 0.0
        for s, test in sorted(found):
            total_s += s
            if chosen and total_s > budget_s:
                break
            chosen.append(test)
        return chosen

    def _by_name(self, path: str, function: str) -> list[str]:
        """Where nothing is measured: the test files that speak most of the module, the class and the function."""
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        words = [re.escape(word.strip("_")) for word in (*function.split("."), module.rpartition(".")[2]) if word]
        scores = []
        for folder in FOLDERS:
            for file in sorted((self._root / "tests" / folder).glob("test_*.py")):
                text = file.read_text(encoding="utf-8")
                score = sum(min(len(re.findall(word, text)), 5) for word in words) + 10 * (f"{module} import" in text)
                scores.append((-score, len(text), str(file.relative_to(self._root))))
        return [name for score, _, name in sorted(scores)[:_SPEAKING] if score < 0]  # the shortest of equals first

    def _calling(self, fits) -> list[tuple[float, str]]:
        return [
            (s, test)
            for known in self._measured.values()
            for test, (s, called) in known["tests"].items()
            if any(fits(name) for name in called)
        ]


@cache
def functions_by_line(source: str) -> dict[int, str]:
    """The innermost function around each line of its body, by dotted name; lines outside every function are absent."""
    of_line: dict[int, str] = {}

    def walk(node: ast.AST, scope: tuple[str, ...], is_function: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = (*scope, child.name)
                if not isinstance(child, ast.ClassDef):
                    first = child.body[0].lineno
                    of_line.update(dict.fromkeys(range(first, (child.end_lineno or first) + 1), ".".join(name)))
                walk(child, name, is_function)
            else:
                walk(child, scope, is_function)

    walk(ast.parse(source), (), False)
    return of_line
