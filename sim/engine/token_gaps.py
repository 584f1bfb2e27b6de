"""Gaps between the tokens that a client receives: their histogram, and the longest one of each request.

Every decode step yields one token of each decoding sequence, so its seconds are the gap of all of them: a step with a
long prefill is one long gap for everybody. The steps of a leap last longer one by one, so its last step is its longest
gap, and what lies within a leap need not be looked at. A sequence that was out of the batch, after a preemption or on
its way from a lost or a prefilling replica, has one gap from its last token to its next one.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from bisect import bisect_left

from sim.engine.leap import leap_s, steps_begun
from sim.gap_histogram import GapHistogram


class TokenGaps:
    """The gaps that one replica makes: entered in `histogram`, which many share, and searched for the longest.

    The longest gap since a step is found on a stack: a gap stays on it until one at least as long follows, for no
    sequence that has the later one can have the earlier one as its longest.
    """

    __slots__ = ("histogram", "_steps", "_gaps_s")

    def __init__(self, histogram: GapHistogram):
        self.histogram = histogram
        self._steps: list[int] = []  # numbers of steps, ascending
        self._gaps_s: list[float] = []  # their gaps, descending

    def add(self, gap_s: float, now: float) -> None:
        """Enter the gap of one sequence that was out of the batch, which ends at `now` seconds."""
        if now >= self.histogram.from_s:
            self.histogram.add(gap_s)

    def add_steps(self, n: int, last: int, steps: int, start_s: float, first_s: float, growth_s: float) -> None:
        """Enter the gaps of `n` decoding sequences over `steps` steps, of which the last has the number `last`.

        They begin at `start_s`; the first takes `first_s` seconds, and each `growth_s` more than the one before.
        """
        histogram, longest_s, gaps_s = self.histogram, first_s + growth_s * (steps - 1), self._gaps_s
        while gaps_s and gaps_s[-1] <= longest_s:
            gaps_s.pop()
            self._steps.pop()
        gaps_s.append(longest_s)
        self._steps.append(last)
        if start_s < histogram.from_s:
            if start_s + leap_s(steps, first_s, growth_s) < histogram.from_s:
                return
            too_early = steps_begun(histogram.from_s - start_s, first_s, growth_s) - 1
            first_s += growth_s * too_early
            steps -= too_early
        histogram.add_series(n, steps, first_s, growth_s)

    def longest_since(self, step: int) -> float:
        """Seconds of the longest gap from the step with this number on; 0 without one."""
        i = bisect_left(self._steps, step)
        return self._gaps_s[i] if i < len(self._gaps_s) else 0.0

    def forget(self) -> None:
        """No sequence is left that could ask."""
        self._steps.clear()
        self._gaps_s.clear()
