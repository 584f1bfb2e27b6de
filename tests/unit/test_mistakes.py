"""The mistakes that `make mutants` plants: believable ones, one at a time, and none in what only people read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.mutants.chosen_tests import ChosenTests
from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.in_a_fork import dotted
from tests.mutants.mistakes import mistakes_in

SOURCE = '''"""Text: 1 + 1 < 3."""

LIMIT: int = 3


class Queue:
    """A queue with 2 ends."""

    __slots__ = ("n", "peak")

    def push(self, n: int = 1) -> None:
        if self.n + n > LIMIT and not self.closed:
            raise ValueError(f"{n + 1} are too many")
        self.n += n
        self.peak = max(self.peak, self.n)  # é

    def __repr__(self):
        return "x" * 3
'''


def test_every_kind_of_mistake_is_made_once_and_in_its_place():
    found = [(m.function, m.line, m.old, m.new) for m in mistakes_in("queue.py", SOURCE)]
    condition = "self.n + n > LIMIT and not self.closed"
    assert found == [
        ("", 3, "3", "4"),
        ("Queue.push", 11, "1", "2"),
        ("Queue.push", 12, condition, f"not ({condition})"),
        ("Queue.push", 12, "+", "-"),
        ("Queue.push", 12, ">", ">="),
        ("Queue.push", 12, "and", "or"),
        ("Queue.push", 12, "not ", ""),
        ("Queue.push", 13, 'raise ValueError(f"{n + 1} are too many")', "pass"),
        ("Queue.push", 14, "+", "-"),
        ("Queue.push", 15, "self.peak = max(self.peak, self.n)", "pass"),
        ("Queue.push", 15, "max", "min"),
    ]


def test_twice_a_number_is_a_mistake_and_twice_a_tolerance_against_rounding_is_none():
    found = [m.new for m in mistakes_in("a.py", "close = abs(x - 0.5) < 1e-9 * y + 0.0")]
    assert found == ["+", "1.0", "<=", "0.001", "/", "-", "1.0"]


def test_what_only_guards_against_a_programmer_is_left_alone():
    assert not mistakes_in("a.py", "for x, y in zip(a, b, strict=True):\n    assert x < 3")


def test_a_planted_mistake_is_the_only_difference():
    for mistake in mistakes_in("queue.py", SOURCE):
        planted = mistake.plant(SOURCE)
        compile(planted, "queue.py", "exec")
        assert planted != SOURCE
        differs = [i for i, (a, b) in enumerate(zip(SOURCE.split("\n"), planted.split("\n"), strict=True)) if a != b]
        assert differs == [mistake.line - 1]


def test_a_name_stays_when_lines_move():
    moved = mistakes_in("queue.py", SOURCE.replace("LIMIT: int", "\n\nLIMIT: int"))
    assert [m.name for m in moved] == [m.name for m in mistakes_in("queue.py", SOURCE)]


def test_a_function_is_named_alike_where_it_is_written_and_where_it_runs():
    def inner():
        return [dotted(frame.f_code.co_qualname) for frame in (sys._getframe(),)]

    assert inner() == ["test_a_function_is_named_alike_where_it_is_written_and_where_it_runs.inner"]


@pytest.fixture
def chosen(tmp_path):
    """Three test files, of which the second speaks of the queue most; and how often each was measured."""
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    for name, text in (("a", "queue"), ("b", "from sim.fleet.queue import Queue  # push"), ("c", "")):
        (tmp_path / f"tests/unit/test_{name}.py").write_text(text)
    measured = []

    def measure(name):
        measured.append(name)
        tests = [
            ("slow", 2.0, True, "Queue.push"),
            ("quick", 0.1, True, "Queue.push"),
            ("broken", 0.1, False, "Queue.push"),
        ]
        tests += [("other", 0.1, True, "Queue.pop")]
        return [[f"{name}::{test}", s, passed, [f"sim/fleet/queue.py:{called}"]] for test, s, passed, called in tests]

    return ChosenTests(tmp_path, tmp_path / "tests.json", measure), measured


def test_tests_that_call_the_function_come_first_and_no_file_is_measured_before_it_is_of_use(chosen):
    tests, measured = chosen
    batches = tests.batches("sim/fleet/queue.py", "Queue.push")
    assert next(batches) == [(0.1, "tests/unit/test_b.py::quick"), (2.0, "tests/unit/test_b.py::slow")]
    assert measured == ["tests/unit/test_b.py"]
    assert [test for batch in batches for _, test in batch] == [
        f"tests/unit/test_{test}" for test in (
            "a.py::quick", "a.py::slow", "c.py::quick", "c.py::slow", "b.py::other", "a.py::other", "c.py::other",
        )
    ], "what fails without a mistake is left out"  # fmt: skip


def test_what_was_measured_is_kept_until_the_test_file_changes(chosen, tmp_path):
    tests, measured = chosen
    list(tests.batches("sim/fleet/queue.py", "Queue.push"))
    (tmp_path / "tests/unit/test_a.py").write_text("queue, changed")
    again = ChosenTests(tmp_path, tmp_path / "tests.json", tests._measure)
    list(again.batches("sim/fleet/queue.py", "Queue.push"))
    assert sorted(measured) == [f"tests/unit/test_{name}.py" for name in "aabc"]


def test_what_is_called_equivalent_is_still_there():
    """A reason is given for a line as it reads; once the line has changed, the reason may no longer hold."""
    root = Path(__file__).resolve().parents[2]
    for name in EQUIVALENT:
        path = name.partition(":")[0]
        assert name in {m.name for m in mistakes_in(path, (root / path).read_text(encoding="utf-8"))}
