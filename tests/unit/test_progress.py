"""A sweep says from the first second how much is done, and about how long the rest takes."""

import re
import sys
import time

import pytest

from sim.study import progress as shown
from sim.study.progress import left_s, progress
from tests.unit.cli import TINY


def test_before_anything_is_done_the_expected_work_is_shared_by_the_workers():
    assert left_s([30.0, 30.0], [30.0, 30.0], 0.0, n_at_once=2) == 30.0
    assert left_s([30.0], [30.0], 10.0, n_at_once=8) == 20.0, "one piece is not shared"
    assert left_s([30.0], [30.0], 31.0) is None, "the expectation was wrong"
    assert left_s([None, None], [None, None], 5.0) is None


def test_the_pace_is_what_was_seen():
    assert left_s([1.0] * 4, [1.0] * 3, 10.0) == pytest.approx(30.0)
    assert left_s([None] * 4, [None], 30.0) == pytest.approx(10.0)
    assert left_s([1.0, 9.0], [9.0], 2.0) == pytest.approx(18.0), "the long one is left"
    assert left_s([4.0], [], 10.0) == 0.0


@pytest.mark.parametrize("n_at_once", [1, 2, 4])
def test_work_of_one_pace_is_foretold(n_at_once):
    """With equal pieces and steady workers the time told is right to within a piece."""
    for done in range(n_at_once, 40, n_at_once):
        told = left_s([2.0] * 40, [2.0] * (40 - done), 3.0 * done / n_at_once, n_at_once)
        assert told == pytest.approx(3.0 * (40 - done) / n_at_once, abs=3.0)


def test_the_first_line_comes_at_once_although_the_first_scenario_is_long(capsys):
    with progress([100.0, 20.0], lambda: [100.0, 20.0], "scenarios", n_at_once=2):
        time.sleep(0.3)
    assert capsys.readouterr().err == "scenarios: 0 of 2 done, about 1 min left\n"


def test_lines_follow_and_a_short_block_is_silent(capsys, monkeypatch):
    monkeypatch.setattr(shown, "_PRINT_EVERY_S", 0.05)
    left = [1.0, 1.0]
    with progress([1.0, 1.0], lambda: left, "scenarios"):
        time.sleep(0.1)
        left.pop()
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("scenarios: 0 of 2 done, about") and lines[-1].startswith("scenarios: 1 of 2 done")
    with progress([None], lambda: [None], "checking", quiet_s=30.0):
        pass
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_with_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with progress([60.0, 60.0], lambda: [60.0], "scenarios"):
        time.sleep(0.5)
    assert re.search("scenarios.*1/2", capsys.readouterr().err)


def test_a_sweep_tells_it(play):
    said = play("-m", *TINY, "gpu=l4,l40s", "hydra/launcher=basic", "output.page=false")
    assert said.code == 0 and re.search(r"^scenarios: 0 of 2 done, about .* left$", said.err, re.M)
