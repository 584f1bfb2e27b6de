"""The course of the rate, without the chance variation that a burst process brings along by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LEVELS = 6
"""A course has 2^6 steps: the shape of an hour in minutes, of a day in quarters and halves of an hour."""
Variance = Callable[[float], float]
"""Of the number of arrivals in a window of this many seconds."""


def shrunk_course(counts: np.ndarray, step_s: float, variance: Variance) -> np.ndarray:
    """Relative rates of 2^k equal steps, mean 1, whose variance is what the counts have beyond `variance`.

    Differences of neighbouring windows of 1, 2, 4, ... steps (Haar wavelets) are each reduced by one factor for all
    differences of a scale, so that their mean square is the measured one less that of the process alone:
    (4 V(w) - V(2 w)) / 4 for half the differences of counts (cf. Kolaczyk 1999). Counts are float64[2^k], mean > 0.
    """
    mean, smooth, details, window_s = counts.mean(), counts.astype(float), [], step_s
    while len(smooth) > 1:
        first, second = smooth[::2], smooth[1::2]
        half_gaps = (first - second) / 2  # of means per step
        steps = window_s / step_s
        by_chance = (4 * variance(window_s) - variance(2 * window_s)) / 4 / steps**2
        measured = float((half_gaps**2).mean())
        kept = np.sqrt(max(1 - by_chance / measured, 0.0)) if measured > 0 else 0.0
        details.append(kept * half_gaps)
        smooth, window_s = (first + second) / 2, 2 * window_s
    for half_gaps in reversed(details):
        smooth = np.stack((smooth + half_gaps, smooth - half_gaps), axis=1).ravel()
    smooth = np.maximum(smooth / mean, 0.0)
    return smooth / smooth.mean()
