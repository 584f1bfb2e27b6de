"""Same seed, same numbers: on every machine, and to the last bit on the same one.

When a change is meant to move them: `python -m tests.golden.scenarios`, and say in the commit why they moved.
"""

import json

import pytest

from tests.golden.scenarios import GOLDEN, SCENARIOS, numbers


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_numbers_are_those_on_record(name):
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    found = numbers(name)
    assert found.keys() == expected.keys()
    moved = {key: (expected[key], found[key]) for key in found if not same(expected[key], found[key])}
    assert not moved


def same(expected, found) -> bool:
    if isinstance(expected, float) and isinstance(found, float):
        return found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    return found == expected


def test_a_second_run_is_equal_to_the_last_bit():
    assert numbers("bursty_on_scale_to_zero") == numbers("bursty_on_scale_to_zero")
