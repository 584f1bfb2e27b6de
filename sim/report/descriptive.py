"""One number out of one run's columns: a ratio, a mean, a percentile; None where it is undefined."""

from __future__ import annotations

import math

import numpy as np

Metric = float | int | bool | None
"""The value of one metric of one run; None where it is undefined."""


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None if the whole is zero."""
    return part / whole if whole else None


def mean_of_finite(values: np.ndarray) -> float | None:
    """The mean of the finite ones among `values`, float64[n]; None if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def percentile(values: np.ndarray, percent: float) -> float | None:
    """The percentile of `values`, float64[n], by linear interpolation; None of no values.

    Values may be infinite, for which numpy's own percentile gives NaN.
    """
    return percentiles(values, (percent,))[0]


def percentiles(values: np.ndarray, percents: tuple[float, ...]) -> list[float | None]:
    """Several percentiles of `values`, float64[n], in the order of `percents`, as `percentile` gives each of them."""
    if not len(values):
        return [None] * len(percents)
    ranks = [(len(values) - 1) * percent / 100 for percent in percents]
    neighbours = sorted({whole for rank in ranks for whole in (math.floor(rank), math.ceil(rank))})
    ordered = np.partition(values, neighbours)
    found: list[float | None] = []
    for rank in ranks:
        low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
        found.append(float(low if low == high else high if math.isinf(high) else low + (high - low) * (rank % 1)))
    return found
