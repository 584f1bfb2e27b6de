"""Coverage and overlap of stretches, in whole columns, equal a look at each group by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.columns
from sim.ledger.coverage import Stretches, peak_overlap, uncovered

TOLERANCE_S = 0.25
# Few groups and moments, so that stretches touch, coincide and are empty; in steps of half the tolerance.
A_STRETCH = st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 16))
SOME = st.lists(A_STRETCH, max_size=20)


def stretches(drawn) -> Stretches:
    columns = np.array(drawn, float).reshape(-1, 3)
    start_s = columns[:, 1] / 8
    return Stretches(columns[:, 0].astype(np.int64), start_s, start_s + columns[:, 2] / 8)


def lies_in(start_s: float, end_s: float, others: list[tuple[float, float]]) -> bool:
    """Whether a stretch lies in one of the unions of the others, one merged into the next while they nearly touch."""
    merged: list[list[float]] = []
    for begin_s, until_s in sorted(others):
        if merged and begin_s <= merged[-1][1] + TOLERANCE_S:
            merged[-1][1] = max(merged[-1][1], until_s)
        else:
            merged.append([begin_s, until_s])
    begun = [m for m in merged if m[0] - TOLERANCE_S <= start_s]
    return bool(begun) and end_s <= begun[-1][1] + TOLERANCE_S


@settings(deadline=None, derandomize=True)
@given(SOME, SOME)
def test_uncovered_rows_are_those_that_no_stretch_of_their_group_covers(inner, outer):
    inside, outside = stretches(inner), stretches(outer)
    of_group = [[(s, e) for g, s, e in zip(*outside, strict=True) if g == group] for group in range(4)]
    expected = [i for i, (g, s, e) in enumerate(zip(*inside, strict=True)) if not lies_in(s, e, of_group[g])]
    assert uncovered(inside, outside, TOLERANCE_S).tolist() == expected


@pytest.mark.parametrize("rows_at_once", [1, 5, 1000])
@settings(deadline=None, derandomize=True)
@given(drawn=SOME)
def test_the_peak_is_the_most_stretches_of_one_group_that_hold_one_moment(rows_at_once, drawn):
    found = stretches(drawn)
    peaks = {}
    for group in sorted({row[0] for row in drawn}):
        own = [(s, max(s, e - TOLERANCE_S)) for g, s, e in zip(*found, strict=True) if g == group]
        peaks[group] = max(sum(begin <= at_s < end for begin, end in own) for at_s, _ in own)
    expected = max(peaks.items(), key=lambda peak: peak[1], default=(-1, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sim.columns, "ROWS_AT_ONCE", rows_at_once)
        assert peak_overlap(found, TOLERANCE_S) == (expected[1], expected[0])
