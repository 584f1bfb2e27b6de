"""How many gaps between tokens there were of each length: a fixed histogram, whatever the number of tokens.

Bin i holds the gaps of at least `EDGES_S[i]` and less than `EDGES_S[i + 1]` seconds, and each edge is 2 % above the one
before. A gap is reported as the geometric middle of its bin, so that no percentile is more than 1 % off. The first and
the last bin also hold what is shorter than 10 microseconds, or longer than 100,000 s.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, log, sqrt
from typing import Final

_SHORTEST_S: Final = 1e-5
_RATIO: Final = 1.02
_LOG_RATIO: Final = log(_RATIO)

N_BINS: Final = 1163

EDGES_S: Final[list[float]] = [_SHORTEST_S * _RATIO**i for i in range(N_BINS + 1)]


def bin_of(gap_s: float) -> int:
    """The bin of a gap.

    >>> [bin_of(gap_s) for gap_s in (0.0, 1e-5, 1.03e-5, 1e9)]
    [0, 0, 1, 1162]
    """
    if gap_s < _SHORTEST_S:
        return 0
    i = int(log(gap_s / _SHORTEST_S) / _LOG_RATIO)
    if i >= N_BINS:
        return N_BINS - 1
    edges = EDGES_S
    while i > 0 and gap_s < edges[i]:  # Rounding of the logarithm may lead to the neighbour.
        i -= 1
    while i < N_BINS - 1 and gap_s >= edges[i + 1]:
        i += 1
    return i


class GapHistogram:
    """Counts of gaps by bin. `from_s`: gaps that end before this moment of the run are not to be entered."""

    def __init__(self, from_s: float = 0.0):
        self.from_s = from_s
        self.counts = [0] * N_BINS
        # The bin that the last gap was in, with its edges: most gaps are in the same bin as the one before.
        self._bin, self._low_s, self._high_s = 0, 0.0, EDGES_S[1]

    def add(self, gap_s: float, n: int = 1) -> None:
        """Enter `n` gaps of one length."""
        if not self._low_s <= gap_s < self._high_s:
            self._move_to(gap_s)
        self.counts[self._bin] += n

    def add_series(self, n: int, steps: int, first_s: float, growth_s: float) -> None:
        """Enter `n` gaps of each of the lengths first_s, first_s + growth_s, …, `steps` of them; growth_s >= 0.

        >>> histogram = GapHistogram()
        >>> histogram.add_series(2, 3, 1.0, 0.5)
        >>> [(i, n) for i, n in enumerate(histogram.counts) if n] == [(bin_of(s), 2) for s in (1.0, 1.5, 2.0)]
        True
        """
        if not self._low_s <= first_s < self._high_s:
            self._move_to(first_s)
        if first_s + growth_s * (steps - 1) < self._high_s:
            self.counts[self._bin] += n * steps
            return
        entered = 0
        while entered < steps:
            reached = steps
            if self._bin < N_BINS - 1 and first_s + growth_s * (steps - 1) >= self._high_s:
                reached = max(entered + 1, min(steps, ceil((self._high_s - first_s) / growth_s)))
            self.counts[self._bin] += n * (reached - entered)
            entered = reached
            if entered < steps:
                self._move_to(first_s + growth_s * entered)

    def _move_to(self, gap_s: float) -> None:
        self._bin = i = bin_of(gap_s)
        self._low_s = 0.0 if i == 0 else EDGES_S[i]
        self._high_s = EDGES_S[i + 1]


def percentiles_s(counts: Sequence[int], percents: Sequence[float]) -> list[float | None]:
    """Percentiles, in s, of gaps counted by bin, each at most 1 % off (see above); None of no gaps.

    The p-th percentile is the shortest gap that at least p percent of all gaps do not exceed.

    >>> histogram = GapHistogram()
    >>> for n, gap_s in ((98, 0.01), (2, 2.0)):
    ...     histogram.add(gap_s, n)
    >>> [round(gap_s, 2) for gap_s in percentiles_s(histogram.counts, (50, 98, 99))]
    [0.01, 0.01, 2.0]
    """
    reached = list(accumulate(counts))
    total = reached[-1]
    if not total:
        return [None] * len(percents)
    bins = [bisect_left(reached, percent / 100 * total * (1 - 1e-12)) for percent in percents]
    return [sqrt(EDGES_S[i] * EDGES_S[i + 1]) for i in bins]
