"""Same seed, same numbers: on every machine, and to the last bit on the same one.

When a change is meant to move them: `python -m tests.golden.scenarios`, and say in the commit why they moved.
"""

import json

import pytest

from sim.hot_path import PACKAGE
from tests.golden.scenarios import GOLDEN, HORIZON_S, SCENARIOS, first_rows, numbers, plain, played
from tests.golden.test_compiled import compiled, python


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_numbers_are_those_on_record(name):
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    found = numbers(name)
    assert found.keys() == expected.keys()
    moved = {key: (expected[key], found[key]) for key in found if not same(key, expected, found)}
    assert not moved


def same(key: str, expected: dict, found: dict) -> bool:
    """Equal to 1e-9; a half-width, which may be nothing but rounding, to 1e-9 of its mean."""
    if isinstance(expected[key], float) and isinstance(found[key], float):
        mean = expected.get(key.removesuffix("_ci95"))
        return found[key] == pytest.approx(expected[key], rel=1e-9, abs=max(1e-12, 1e-9 * abs(mean or 0.0)))
    return found[key] == expected[key]


def test_a_second_run_is_equal_to_the_last_bit():
    assert plain(played("bursty_on_scale_to_zero").summary) == numbers("bursty_on_scale_to_zero")


@compiled
@pytest.mark.parametrize(
    ("horizon_s", "measure_peak"),
    [(600.0, False), pytest.param(HORIZON_S, True, marks=pytest.mark.slow)],  # interpreted, a peak takes longest
)
def test_the_same_numbers_to_the_last_bit(horizon_s, measure_peak):
    """The hot path, compiled, computes what the Python it was made of computes."""
    program = "import json; from tests.golden.scenarios import first_rows; "
    program += f"print(json.dumps(first_rows({horizon_s}, {measure_peak})))"
    interpreted = json.loads(python("-c", program, cwd=PACKAGE.parent, interpreted="1"))
    assert first_rows(horizon_s, measure_peak) == interpreted
