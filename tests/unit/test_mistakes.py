"""The mistakes that `make mutants` plants: believable ones, one at a time, and none in what only people read."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.chosen_tests import functions_by_line
from tests.mutants.equivalent import EQUIVALENT
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


def test_tests_are_chosen_by_the_function_around_a_line():
    of_line = functions_by_line(SOURCE)
    assert of_line[12] == of_line[15] == "Queue.push" and of_line[18] == "Queue.__repr__"
    assert 3 not in of_line and 11 not in of_line, "what runs at import is no function's"


def test_what_is_called_equivalent_is_still_there():
    """A reason is given for a line as it reads; once the line has changed, the reason may no longer hold."""
    root = Path(__file__).resolve().parents[2]
    for name in EQUIVALENT:
        path = name.partition(":")[0]
        assert name in {m.name for m in mistakes_in(path, (root / path).read_text(encoding="utf-8"))}
