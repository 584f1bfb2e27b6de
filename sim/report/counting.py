"""How many stretches of time are open, as a curve: from columns of starts and ends to one number per bin."""

from __future__ import annotations

import numpy as np

import sim.columns


def mean_in_bins(start_s: np.ndarray, end_s: np.ndarray, edges_s: np.ndarray) -> np.ndarray:
    """Time-average number of stretches [start, end) open in each bin; float64[len(edges) - 1]. Exact, not sampled.

    `start_s` and `end_s` are float64[n] in s, one entry per stretch; `edges_s` is float64[bins + 1] in s, increasing.
    """
    elapsed = _elapsed(start_s, edges_s) - _elapsed(end_s, edges_s)
    return np.diff(elapsed) / np.diff(edges_s)


def peak_in_bins(start_s: np.ndarray, end_s: np.ndarray, edges_s: np.ndarray) -> np.ndarray:
    """Most stretches [start, end) open at any one time in each bin; int64[len(edges) - 1]. Arguments as above."""
    real = end_s > start_s
    start_s, end_s = np.sort(start_s[real]), np.sort(end_s[real])
    # The number open is a step function that rises only at starts: look there, and at the left edge of each bin.
    peak = np.zeros(len(edges_s) - 1, np.int64)
    n, step = len(start_s), sim.columns.ROWS_AT_ONCE
    for at_s in (edges_s[:-1], *(start_s[first : first + step] for first in range(0, n, step))):
        open_now = np.searchsorted(start_s, at_s, "right") - np.searchsorted(end_s, at_s, "right")
        where = np.searchsorted(edges_s, at_s, "right") - 1
        inside = (where >= 0) & (where < len(peak))
        np.maximum.at(peak, where[inside], open_now[inside])
    return peak


def _elapsed(moments_s: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """At each time of `at_s`, float64[m] in s: the summed seconds since those of `moments_s`, float64[n], that have
    passed. It is the integral over time of the number of moments passed."""
    moments_s = np.sort(moments_s)
    passed = np.searchsorted(moments_s, at_s, "right")
    sums_s = np.cumsum(moments_s, out=moments_s)
    return passed * at_s - np.where(passed > 0, sums_s[passed - 1] if len(sums_s) else 0.0, 0.0)
