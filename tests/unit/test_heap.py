"""A line before a heap gives what a plain sort gives, whatever the order of what is put in."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.heap import LinedHeap

# None takes one out, a negative number removes an item, and small keys make for equal ones.
MOVES = st.lists(st.one_of(st.none(), st.integers(-12, 6)), max_size=60)


@settings(deadline=None, derandomize=True)
@given(MOVES)
def test_a_lined_heap_gives_the_least_key_and_of_equal_ones_the_first_that_was_put_in(moves):
    heap, plain, n = LinedHeap(), [], 0
    for move in moves:
        if move is None and plain:
            key, number = min(plain)
            plain.remove((key, number))
            assert (heap.first.key, heap.first.item) == (key, number)
            taken = heap.pop()
            assert (taken.key, taken.item) == (key, number)
        elif move is not None and move < 0:
            heap.remove(-move)
            plain = [entry for entry in plain if entry[1] != -move]
        elif move is not None:
            n += 1
            heap.push(float(move), n)
            plain.append((float(move), n))
        assert heap.least == min(plain, default=(inf, 0))[0]


@pytest.mark.parametrize("take", [lambda heap: heap.pop(), lambda heap: heap.first])
def test_nothing_comes_out_of_an_empty_one(take):
    heap = LinedHeap()
    heap.push(1.0, "only")
    heap.pop()
    with pytest.raises(IndexError):
        take(heap)
