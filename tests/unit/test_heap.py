"""Heaps give what a plain sort gives, whatever the order of what is put in, moved and taken out."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.heap import CAN_MOVE, Entry, Heap, LinedHeap

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


# None takes one out, a number alone is pushed, one below 0 removes one of three entries, and (which, key) puts one of
# these in, or moves it.
KEYS = st.integers(-3, 6)
MOVES_OF_ENTRIES = st.lists(st.one_of(st.none(), KEYS, st.tuples(st.integers(0, 2), st.integers(0, 6))), max_size=80)


@pytest.mark.skipif(not CAN_MOVE, reason="entries are moved where the heap is compiled")
@settings(deadline=None, derandomize=True)
@given(MOVES_OF_ENTRIES)
def test_an_entry_that_is_moved_leaves_as_if_it_had_been_taken_out_and_pushed_last(moves):
    heap, plain, entries = Heap(), [], [Entry(0.0, rank, 0, f"entry {rank}") for rank in range(3)]
    for n, move in enumerate(moves):
        if move is None and plain:
            key, rank, number, item = min(plain)
            plain.remove((key, rank, number, item))
            taken = heap.pop()
            assert (taken.key, taken.rank, taken.item) == (key, rank, item)
        elif isinstance(move, int) and move < 0:
            heap.remove(entries[-move - 1].item)
            plain = [one for one in plain if one[3] != entries[-move - 1].item]
        elif isinstance(move, int):
            heap.push(float(move), move % 3, str(n))
            plain.append((float(move), move % 3, n, str(n)))
        elif move is not None:
            entry, key = entries[move[0]], float(move[1])
            heap.put(entry, key)
            plain = [one for one in plain if one[3] != entry.item] + [(key, entry.rank, n, entry.item)]
        assert heap.least == min(plain, default=(inf,))[0] and len(heap.entries) == len(plain)
