"""Averages and extremes over a sliding window of time, as scalers remember them."""

from __future__ import annotations

from collections import deque
from math import ceil

from sim.views import FleetView

EPSILON_S = 1e-9
"""Moments closer than this count as equal, because sums of ticks are rounded."""
_ROUNDING = 1e-9


def whole_replicas(n: float) -> int:
    """`n` rounded up, after the rounding error of arithmetic (1e-9) is taken off."""
    return ceil(n - _ROUNDING)


class RequestsInWindow:
    """Mean number of requests in the fleet over the last `window_s` seconds, or since the start if that is later.

    It samples the fleet's integral of requests over time, so the mean is exact whenever the samples are taken; the
    start of the window is interpolated linearly between two samples. A window without requests has a mean of exactly 0.
    """

    __slots__ = ("window_s", "_samples")

    def __init__(self, window_s: float):
        self.window_s = window_s
        self._samples = deque([(0.0, 0.0)])

    def forget(self, view: FleetView) -> None:
        """Restart the window now."""
        self._samples = deque([(view.now_s, view.outstanding_request_seconds)])

    def look(self, view: FleetView) -> float:
        """The mean up to now; the present number of requests if the window has just started."""
        now_s, area, samples = view.now_s, view.outstanding_request_seconds, self._samples
        start_s = now_s - self.window_s
        samples.append((now_s, area))
        while len(samples) > 1 and samples[1][0] <= start_s + EPSILON_S:
            samples.popleft()
        since_s, before = samples[0]
        if since_s < start_s - EPSILON_S and len(samples) > 1:
            next_s, after = samples[1]
            before += (after - before) * (start_s - since_s) / (next_s - since_s)
            since_s = start_s
        span_s = now_s - since_s
        return (area - before) / span_s if span_s > EPSILON_S else float(view.n_outstanding)


class Extreme:
    """The largest (`sign` = 1) or smallest (-1) value recorded within the last `window_s` seconds, in O(1) amortised.

    A value recorded exactly `window_s` seconds ago does not count.
    """

    __slots__ = ("window_s", "_sign", "_candidates")

    def __init__(self, window_s: float, sign: int = 1):
        self.window_s = window_s
        self._sign = sign
        self._candidates: deque[tuple[float, int]] = deque()  # (moment, value), each more extreme than all after it

    def say(self, now_s: float, value: int) -> int:
        """Record `value` now, and return the extreme of the window, which includes it."""
        candidates = self._candidates
        while candidates and (value - candidates[-1][1]) * self._sign >= 0:
            candidates.pop()
        candidates.append((now_s, value))
        while len(candidates) > 1 and candidates[0][0] <= now_s - self.window_s + EPSILON_S:
            candidates.popleft()
        return candidates[0][1]
