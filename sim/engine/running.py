"""The running sequences of a batch, in order of admission."""

# Compiled: every request passes through this module (see sim.hot_path).

from __future__ import annotations

from collections.abc import Iterator

from sim.engine.sequence import Sequence


class Running:
    """A chain of sequences, `n` of them, to whose end one is added and from which any one is taken out.

    In place of an ordered dict: of a thousand replicas, each finds its table of hashes no longer in the processor's
    cache, whereas the neighbours of a sequence are two objects.
    """

    __slots__ = ("n", "_first", "_last")

    def __init__(self) -> None:
        self.n = 0
        self._first: Sequence | None = None
        self._last: Sequence | None = None

    def __len__(self) -> int:
        return self.n

    def __contains__(self, sequence: object) -> bool:
        one = self._first
        while one is not None and one is not sequence:
            one = one.admitted_after
        return one is not None

    def __iter__(self) -> Iterator[Sequence]:
        sequence = self._first
        while sequence is not None:
            yield sequence
            sequence = sequence.admitted_after

    def __reversed__(self) -> Iterator[Sequence]:
        sequence = self._last
        while sequence is not None:
            yield sequence
            sequence = sequence.admitted_before

    def append(self, sequence: Sequence) -> None:
        """Add the sequence that was admitted last, which is in no chain."""
        last = self._last
        sequence.admitted_before = last
        if last is None:
            self._first = sequence
        else:
            last.admitted_after = sequence
        self._last = sequence
        self.n += 1

    def remove(self, sequence: Sequence) -> None:
        """Take out a sequence of this chain."""
        before, after = sequence.admitted_before, sequence.admitted_after
        if before is None:
            self._first = after
        else:
            before.admitted_after = after
        if after is None:
            self._last = before
        else:
            after.admitted_before = before
        sequence.admitted_before = sequence.admitted_after = None  # Two that refer to each other would be kept.
        self.n -= 1
