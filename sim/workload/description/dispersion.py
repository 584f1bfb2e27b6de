"""How bursty arrivals are: variation of gaps, and index of dispersion of counts from seconds to hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.distributions import chi_squared_quantile

SCALES_S = (1.0, 10.0, 60.0, 600.0, 3600.0)
LEAST_WINDOWS = 5
"""Of fewer windows than this no index of dispersion is told."""
SILENCES_S = (10.0, 30.0, 60.0, 300.0, 600.0, 3600.0)


@dataclass(frozen=True)
class Dispersion:
    """Variance / mean of the numbers of arrivals in windows of one length, laid end to end."""

    window_s: float
    windows: int
    index: float | None  # None: too few windows
    poisson_low: float | None  # of a Poisson process, 95 % of measurements lie between these two
    poisson_high: float | None


@dataclass(frozen=True)
class Silence:
    """A stretch without an arrival."""

    begins_s: float
    length_s: float
    begins: str | None  # local date and time; None: the log has none


@dataclass(frozen=True)
class Silences:
    """Stretches without an arrival that are longer than `over_s`."""

    over_s: float
    number: int
    beyond_fraction: float  # of all time, what lies more than `over_s` after an arrival
    poisson_number: float  # expected number of a Poisson process of the same rate: n e^(-rate over_s)


def index_of_dispersion(times_s: np.ndarray, period_s: float, window_s: float) -> tuple[float | None, int]:
    """(variance / mean of counts, windows) over the whole windows in [0, period_s). `times_s` are sorted.

    Memory is that of the arrivals, however long the period is.
    """
    windows = int(period_s / window_s)
    if windows < LEAST_WINDOWS:
        return None, windows
    places = (times_s / window_s).astype(np.int64)
    places = places[places < windows]
    if not len(places):
        return None, windows
    edges = np.flatnonzero(np.diff(places)) + 1
    counts = np.diff(np.concatenate(([0], edges, [len(places)]))).astype(float)  # of windows that are not empty
    mean = len(places) / windows
    squares = float(((counts - mean) ** 2).sum()) + mean**2 * (windows - len(counts))
    return squares / (windows - 1) / mean, windows


def dispersions(times_s: np.ndarray, period_s: float) -> tuple[Dispersion, ...]:
    """At each scale. The band is that of a Poisson process: (windows - 1) index ~ chi squared (Fisher 1950)."""
    found = []
    for window_s in SCALES_S:
        index, windows = index_of_dispersion(times_s, period_s, window_s)
        low = high = None
        if index is not None:
            low, high = (chi_squared_quantile(p, windows - 1) / (windows - 1) for p in (0.025, 0.975))
        found.append(Dispersion(window_s, windows, index, low, high))
    return tuple(found)


def gap_cv(times_s: np.ndarray) -> float | None:
    """Standard deviation / mean of the gaps between arrivals (1 for Poisson); None of fewer than three arrivals."""
    gaps = np.diff(times_s)
    return float(gaps.std() / gaps.mean()) if len(gaps) > 1 and gaps.mean() > 0 else None


def silences(times_s: np.ndarray, period_s: float) -> tuple[Silences, ...]:
    """How often and how much of the time nothing arrives, for each length of SILENCES_S below the period."""
    gaps = np.diff(np.append(times_s, max(period_s, float(times_s[-1]))))
    rate = len(times_s) / period_s
    found = []
    for over_s in SILENCES_S:
        if over_s < period_s:
            longer = gaps[gaps > over_s]
            beyond = float((longer - over_s).sum()) / period_s
            expected = len(times_s) * float(np.exp(-rate * over_s))
            found.append(Silences(over_s, len(longer), beyond, expected))
    return tuple(found)
