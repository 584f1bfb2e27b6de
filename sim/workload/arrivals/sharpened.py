"""The bursts of a log made sharper or duller: time is stretched within every hour, tasks keep their order."""

from __future__ import annotations

import numpy as np

from sim.units import HOUR_S, MINUTE_S

_HALF_A_TASK = 0.5
"""An empty window counts as this much, so that it has a rate of which a power can be taken."""


def sharpened(moments_s: np.ndarray, period_s: float, exponent: float) -> np.ndarray:
    """Sorted moments, float64[n], in [0, period_s), with the rate of each minute, over that of its hour, to a power.

    A minute with c tasks becomes c^(1 - exponent) times as long, and all minutes of an hour together stay an hour:
    above 1 busy minutes shrink, 0 makes every minute of the hour alike. Hours keep their tasks, and so do days. A last
    part of an hour is one of its own; a last part of a minute belongs to the minute before.
    """
    out = np.empty_like(moments_s)
    edges = np.append(np.arange(0.0, period_s, HOUR_S), period_s)
    bounds = np.searchsorted(moments_s, edges)
    bounds[-1] = len(moments_s)
    for begin_s, end_s, low, high in zip(edges, edges[1:], bounds, bounds[1:], strict=False):
        minutes = np.linspace(begin_s, end_s, max(1, int((end_s - begin_s) / MINUTE_S)) + 1)
        counts, _ = np.histogram(moments_s[low:high], minutes)
        lengths_s = np.maximum(counts, _HALF_A_TASK) ** (1.0 - exponent)
        later = np.concatenate(([0.0], np.cumsum(lengths_s))) / lengths_s.sum() * (end_s - begin_s) + begin_s
        out[low:high] = np.interp(moments_s[low:high], minutes, later)
    return out
