"""A binary heap of entries with numbers of their own, which need no boxes and no tuples to be compared."""

# Compiled: every event and every sequence passes through this module (see sim.hot_path).

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import Any, Final, NamedTuple

from mypy_extensions import i64, mypyc_attr


@mypyc_attr(free_list_len=1)  # An entry that is taken out is most often followed by one that is put in.
class Entry:
    """An item with its key; `rank` and then `number`, the order of `push`, decide between equal keys.

    `place`: where in its heap it is; -1 while it is in none.
    """

    __slots__ = ("key", "rank", "number", "item", "place", "behind")

    def __init__(self, key: float, rank: int, number: int, item: Any):
        self.key = key
        self.rank = rank
        self.number = number
        self.item = item
        self.place: i64 = -1
        self.behind: Entry | None = None  # the next entry of a line (see `LinedHeap`)

    def is_before(self, other: Entry) -> bool:
        """Whether this entry leaves the heap before the other."""
        if self.key != other.key:
            return self.key < other.key
        if self.rank != other.rank:
            return self.rank < other.rank
        return self.number < other.number


_IS_INTERPRETED: Final = "__mypyc_attrs__" not in vars(Entry)

CAN_MOVE: Final = not _IS_INTERPRETED
"""Whether `Heap.put` can be called."""


class _TupleEntry(NamedTuple):
    """An entry that compares as a tuple."""

    key: float
    rank: int
    number: int
    item: Any


class Heap:
    """Entries of which the first is at hand, `least` its key: infinity without one.

    In place of `heapq`, whose comparisons of tuples cost a fleet of a thousand replicas a sixth of its time. Where this
    module is interpreted, `heapq` is faster, and the entries are tuples.
    """

    __slots__ = ("entries", "least", "_n_pushed")

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.least = inf
        self._n_pushed = 0

    def push(self, key: float, rank: int, item: Any) -> None:
        """Put an item in."""
        entries, number = self.entries, self._n_pushed
        self._n_pushed = number + 1
        if key < self.least:
            self.least = key
        if _IS_INTERPRETED:
            heappush(entries, tuple.__new__(_TupleEntry, (key, rank, number, item)))
            return
        entry = Entry(key, rank, number, item)
        entries.append(entry)
        self._rise(entry, len(entries) - 1)

    def put(self, entry: Entry, key: float) -> None:
        """Put an entry in with this key, or move it there, as the last one that was pushed.

        Cannot be called where this module is interpreted, as the entries are then tuples (see `CAN_MOVE`).
        """
        entries = self.entries
        entry.key, entry.number = key, self._n_pushed
        self._n_pushed += 1
        place = entry.place
        if place < 0:
            entries.append(entry)
            place = len(entries) - 1
        self._rise(entry, place)
        if entry.place == place:
            self._sink(entry, place)
        first: Entry = entries[0]
        self.least = first.key

    def _rise(self, entry: Entry, place: i64) -> None:
        """Let an entry take this place, or the place of an entry above it that leaves later."""
        entries = self.entries
        while place > 0:
            above: i64 = (place - 1) >> 1
            parent: Entry = entries[above]
            if not entry.is_before(parent):
                break
            entries[place] = parent
            parent.place = place
            place = above
        entries[place] = entry
        entry.place = place

    def _sink(self, entry: Entry, place: i64) -> None:
        """Let an entry take this place, or the place of an entry below it that leaves earlier."""
        entries = self.entries
        n: i64 = len(entries)
        below: i64 = 2 * place + 1
        while below < n:
            child: Entry = entries[below]
            if below + 1 < n:
                right: Entry = entries[below + 1]
                if right.is_before(child):
                    child = right
                    below += 1
            if not child.is_before(entry):
                break
            entries[place] = child
            child.place = place
            place = below
            below = 2 * place + 1
        entries[place] = entry
        entry.place = place

    def pop(self) -> Entry:
        """Take out the first entry. IndexError without one."""
        entries = self.entries
        if _IS_INTERPRETED:
            found: Any = heappop(entries)
            self.least = entries[0].key if entries else inf
            return found
        last: Entry = entries.pop()
        if not entries:
            self.least = inf
            last.place = -1
            return last
        first: Entry = entries[0]
        self._sink(last, 0)
        first.place = -1
        next_one: Entry = entries[0]
        self.least = next_one.key
        return first

    def remove(self, item: Any) -> None:
        """Take out all entries of an item: a look at each."""
        found, self.entries = self.entries, [entry for entry in self.entries if entry.item is not item]
        self.entries.sort(key=_order)
        if CAN_MOVE:
            for entry in found:
                entry.place = -1
            for place, entry in enumerate(self.entries):
                entry.place = place
        self.least = self.entries[0].key if self.entries else inf


class LinedHeap:
    """Items that mostly come in the order of their keys: those stand in a line, where none need be compared, and the
    others in a heap. `least` is the key of the first: infinity without one. Of equal keys, the first in is the first
    out.

    Answers of one length end in the order in which they began, so that of a thousand replicas each looks at the first
    entry of its line and not at a path through a heap, which has left the processor's cache since its last step.
    """

    __slots__ = ("least", "_first", "_last", "_others")

    def __init__(self) -> None:
        self.least = inf
        self._first: Entry | None = None
        self._last: Entry | None = None  # of the line, as long as there is one
        self._others: Heap | None = None

    def push(self, key: float, item: Any) -> None:
        """Put an item in."""
        last, others = self._last, self._others
        if self._first is None:
            if others is not None and others.entries:
                # A line begun now would be younger than entries of the heap, and the line goes first among equals.
                others.push(key, 0, item)
                self.least = others.least
                return
            self._first = self._last = Entry(key, 0, 0, item)
            self.least = key
            return
        assert last is not None
        if key >= last.key:
            last.behind = self._last = Entry(key, 0, 0, item)
            return
        if others is None:
            self._others = others = Heap()
        others.push(key, 0, item)
        if key < self.least:
            self.least = key

    @property
    def first(self) -> Any:
        """The first entry, which stays in. IndexError without one."""
        line, others = self._first, self._others
        if line is not None and line.key == self.least or others is None:
            if line is None:
                raise IndexError("nothing is in this heap")
            return line
        return others.entries[0]

    def pop(self) -> Any:
        """Take out the first entry. IndexError without one."""
        first, others = self.first, self._others
        line = self._first
        if line is not None and first is line:
            behind = line.behind
            line.behind = None  # An entry that is kept does not keep those behind it.
            self._first = line = behind
            if line is None:
                self._last = None
        else:
            assert others is not None
            others.pop()
        self.least = line.key if line is not None else inf
        if others is not None and others.least < self.least:
            self.least = others.least
        return first

    def remove(self, item: Any) -> None:
        """Take out all entries of an item: a look at each."""
        entry, others = self._first, self._others
        last: Entry | None = None
        self._first = None
        self.least = inf
        while entry is not None:
            behind = entry.behind
            entry.behind = None
            if entry.item is not item:
                if last is None:
                    self._first, self.least = entry, entry.key
                else:
                    last.behind = entry
                last = entry
            entry = behind
        self._last = last
        if others is not None:
            others.remove(item)
            if others.least < self.least:
                self.least = others.least


def _order(entry: Any) -> tuple[float, int, int]:
    return entry.key, entry.rank, entry.number
