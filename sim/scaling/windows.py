"""What scalers remember: averages and extremes over the last so many seconds."""

from __future__ import annotations

from collections import deque
from math import ceil

from sim.views import FleetView

EPSILON_S = 1e-9  # two moments closer than this are one: sums of ticks are rounded
_ROUNDING = 1e-9


def whole_replicas(n: float) -> int:
    """Rounded up; an integer that arithmetic left a hair above itself stays that integer."""
    return ceil(n - _ROUNDING)


class RequestsInWindow:
    """Mean number of requests in the fleet over the last `window_s`, or since the beginning if that is later.

    From samples of the fleet's running integral, so the mean is exact at whatever moments the fleet is looked at;
    between two samples the integral is taken as straight. A window in which nothing was there has a mean of exactly 0.
    """

    __slots__ = ("window_s", "_samples")

    def __init__(self, window_s: float):
        self.window_s = window_s
        self._samples = deque([(0.0, 0.0)])

    def forget(self, view: FleetView) -> None:
        """Begin now."""
        self._samples = deque([(view.now_s, view.outstanding_request_seconds)])

    def look(self, view: FleetView) -> float:
        """The mean up to now; the number of this moment if the window has only begun."""
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
    """The largest (`sign` = 1) or smallest (-1) of what was said within the last `window_s`, in O(1) amortised.

    What was said exactly `window_s` ago is out.
    """

    __slots__ = ("window_s", "_sign", "_candidates")

    def __init__(self, window_s: float, sign: int = 1):
        self.window_s = window_s
        self._sign = sign
        self._candidates: deque[tuple[float, int]] = deque()  # each more extreme than all after it

    def say(self, now_s: float, value: int) -> int:
        """Remember `value`; the extreme of the window, `value` included."""
        candidates = self._candidates
        while candidates and (value - candidates[-1][1]) * self._sign >= 0:
            candidates.pop()
        candidates.append((now_s, value))
        while len(candidates) > 1 and candidates[0][0] <= now_s - self.window_s + EPSILON_S:
            candidates.popleft()
        return candidates[0][1]
