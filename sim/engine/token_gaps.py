"""Gaps between the tokens that a client receives: their histogram, and the longest one of each request.

Every decode step yields one token of each decoding sequence, so its seconds are the gap of all of them: a step with a
long prefill is one long gap for everybody. The steps of a leap last longer one by one, so its last step is its longest
gap, and what lies within a leap need not be looked at. Where steps compute prompts or decode, an answer's first gap
after steps of prompts contains them (`Standstill`). A sequence that was out of the batch, after a preemption or on
its way from a lost or a prefilling replica, has one gap from its last token to its next one.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from sim.engine.leap import leap_s, steps_begun
from sim.engine.sequence import Sequence
from sim.gap_histogram import GapHistogram


class Standstill:
    """Steps that compute prompts only, one after another: the answers under way get no token until they are over.

    `since_s`: when those who decoded before got their last token. `joined`: who has got a first token since then, and
    is still in the batch, with its `last_token_s`.
    """

    __slots__ = ("since_s", "joined")

    def __init__(self, since_s: float):
        self.since_s = since_s
        self.joined: list[Sequence] = []


class _Gap:
    """The longest gap of a series of steps, of which the last has the number `last`."""

    __slots__ = ("last", "gap_s")

    def __init__(self, last: int, gap_s: float):
        self.last = last
        self.gap_s = gap_s


class TokenGaps:
    """The gaps that one replica makes: entered in `histogram`, which many share, and searched for the longest.

    The longest gap since a step is found on a stack: a gap stays on it until one at least as long follows, for no
    sequence that has the later one can have the earlier one as its longest. A search begins where the last one ended:
    answers of one length end in the order in which they began, and so each finds its gap a place or two further on,
    whereas the way from the top was 30 gaps long in a fleet of a thousand. The gaps are objects with numbers of their
    own, since numbers in a list would be objects spread over memory: a thousand replicas wait for each of them.
    """

    __slots__ = ("histogram", "standstill", "_stack", "_found")

    def __init__(self, histogram: GapHistogram):
        self.histogram = histogram
        self.standstill: Standstill | None = None  # one that has not ended, where a step computes prompts or decodes
        self._stack: list[_Gap] = []  # the last and shortest at the end
        self._found = 0  # the place that the last search has found

    def add(self, gap_s: float, now: float) -> None:
        """Enter the gap of one sequence that was out of the batch, which ends at `now` seconds."""
        if now >= self.histogram.from_s:
            self.histogram.add(gap_s)

    def add_steps(self, n: int, last: int, steps: int, start_s: float, first_s: float, growth_s: float) -> None:
        """Enter the gaps of `n` decoding sequences over `steps` steps, of which the last has the number `last`.

        They begin at `start_s`; the first takes `first_s` seconds, and each `growth_s` more than the one before.
        """
        histogram, longest_s = self.histogram, first_s + growth_s * (steps - 1)
        if self.standstill is not None:
            self._end_standstill(n, last - steps, start_s + first_s)
            self._push(last, longest_s)
            if steps == 1:
                return
            steps, start_s, first_s = steps - 1, start_s + first_s, first_s + growth_s
        else:
            self._push(last, longest_s)
        if start_s < histogram.from_s:
            if start_s + leap_s(steps, first_s, growth_s) < histogram.from_s:
                return
            too_early = steps_begun(histogram.from_s - start_s, first_s, growth_s) - 1
            first_s += growth_s * too_early
            steps -= too_early
        histogram.add_series(n, steps, first_s, growth_s)

    def _push(self, last: int, longest_s: float) -> None:
        """Remember the longest gap of the steps up to the one with the number `last`."""
        stack = self._stack
        n = len(stack)
        if n:
            top = stack[n - 1]
            if top.gap_s <= longest_s:
                while n > 1 and stack[n - 2].gap_s <= longest_s:
                    stack.pop()
                    n -= 1
                top = stack[n - 1]
                top.last, top.gap_s = last, longest_s
                return
        stack.append(_Gap(last, longest_s))

    def _end_standstill(self, n: int, step_before: int, now: float) -> None:
        """All `n` decoding sequences get a token at `now` seconds, the first since the step `step_before`.

        The gap of those who decoded in that step is remembered as one of that step, since who joined has not had it.
        """
        standstill = self.standstill
        assert standstill is not None
        self.standstill = None
        for sequence in standstill.joined:
            assert sequence.last_token_s is not None
            gap_s = now - sequence.last_token_s
            sequence.last_token_s = None
            self.add(gap_s, now)
            sequence.request.longest_gap_s = max(sequence.request.longest_gap_s, gap_s)
        n_stood = n - len(standstill.joined)
        if n_stood:
            gap_s = now - standstill.since_s
            if now >= self.histogram.from_s:
                self.histogram.add(gap_s, n_stood)
            self._push(step_before, gap_s)

    def longest_since(self, step: int) -> float:
        """Seconds of the longest gap from the step with this number on; 0 without one."""
        stack = self._stack
        n, place = len(stack), self._found
        if n == 0:
            return 0.0
        if place >= n:
            place = n - 1
        while place > 0 and stack[place - 1].last >= step:
            place -= 1
        while place < n and stack[place].last < step:
            place += 1
        self._found = place
        return stack[place].gap_s if place < n else 0.0

    def forget(self) -> None:
        """No sequence is left that could ask."""
        self.standstill = None
        self._stack.clear()
        self._found = 0
