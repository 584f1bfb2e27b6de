"""How often intervals contain the truth: of a fixed number of replications, after stopping, and by other methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap
from scipy.stats import t as student_t

from sim.report.attainment import look_sizes
from sim.report.precision import STOPPING_CONFIDENCE, shortfalls
from tests.proofs.worlds import Metric, draws

CAP = 400
TYPICAL = 25
"""The precision asked for is such that plain t, with one look, would need about this many replications."""


class Coverage(NamedTuple):
    """Of `macro_runs`, the share whose interval held the truth, and the median number of replications they took."""

    share: float
    macro_runs: int
    replications: float

    def error(self) -> float:
        """The standard error of the share."""
        return math.sqrt(max(self.share * (1 - self.share), 1e-4) / self.macro_runs)


def fixed(metric: Metric, n: int, macro_runs: int, rng: np.random.Generator) -> Coverage:
    """The project's interval from n replications."""
    hits = 0
    for rows in draws(len(metric.numerators), macro_runs, n, rng):
        hits += _holds(metric.interval(rows), metric.truth)
    return Coverage(hits / macro_runs, macro_runs, n)


def stopped(metric: Metric, macro_runs: int, rng: np.random.Generator) -> Coverage:
    """The project's interval after its own rule has stopped: a few planned looks, until the precision is reached.

    Differences are never what a run stops on: theirs is the plain interval of as many replications as were at hand.
    """
    name = "x_fraction"  # precision is absolute for fractions: one rule for all metrics
    asked = {name: 2 * metric.spread() / math.sqrt(TYPICAL)}
    hits, taken = 0, []
    for rows in draws(len(metric.numerators), macro_runs, CAP, rng):
        for size in look_sizes(CAP):
            interval = metric.interval(rows[:size], STOPPING_CONFIDENCE)
            if not shortfalls({name: interval}, asked):
                break
        hits += _holds(interval, metric.truth)
        taken.append(size)
    return Coverage(hits / macro_runs, macro_runs, float(np.median(taken)))


def impatient(metric: Metric, macro_runs: int, rng: np.random.Generator) -> Coverage:
    """The wrong twin: two replications, then plain Student t after each further one, until it is narrow enough."""
    allowed, hits, taken = 2 * metric.spread() / math.sqrt(TYPICAL), 0, []
    for rows in draws(len(metric.numerators), macro_runs, CAP, rng):
        numerators, denominators = metric.numerators[rows], metric.denominators[rows]
        for n in range(2, CAP + 1):
            low, high = plain_t(numerators[:n], denominators[:n])
            if (high - low) / 2 <= allowed:
                break
        hits += low <= metric.truth <= high
        taken.append(n)
    return Coverage(hits / macro_runs, macro_runs, float(np.median(taken)))


def by_method(
    metric: Metric, method: Callable[..., tuple[float, float]], n: int, macro_runs: int, rng: np.random.Generator
) -> Coverage:
    """Another method's interval from n replications."""
    hits = 0
    for rows in draws(len(metric.numerators), macro_runs, n, rng):
        low, high = method(metric.numerators[rows], metric.denominators[rows])
        hits += low <= metric.truth <= high
    return Coverage(hits / macro_runs, macro_runs, n)


def plain_t(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, float]:
    """Student t by the delta method."""
    n, ratio = len(numerators), numerators.sum() / denominators.sum()
    residuals = (numerators - ratio * denominators) / denominators.mean()
    half = student_t.ppf(0.975, n - 1) * residuals.std(ddof=1) / math.sqrt(n)
    return ratio - half, ratio + half


def mean_of_ratios(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, float]:
    """Student t of the replications' own ratios: what another question's answer would be worth."""
    return plain_t(numerators / denominators, np.ones(len(numerators)))


def percentile_bootstrap(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, float]:
    """Efron's percentile interval, seeded."""
    return _bootstrap(numerators, denominators, "percentile")


def bca_bootstrap(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, float]:
    """Bias-corrected and accelerated, seeded."""
    return _bootstrap(numerators, denominators, "BCa")


def studentised_bootstrap(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, float]:
    """Bootstrap t: resampled t statistics instead of Student's, seeded."""
    n, rng = len(numerators), np.random.default_rng(0)
    rows = rng.integers(0, n, (500, n))
    ratio = numerators.sum() / denominators.sum()
    ratios, errors = _ratio_and_error(numerators[rows], denominators[rows])
    error = _ratio_and_error(numerators[None], denominators[None])[1][0]
    usable = errors > 0
    if not usable.any():
        return ratio, ratio
    low, high = np.quantile((ratios[usable] - ratio) / errors[usable], [0.025, 0.975])
    return ratio - high * error, ratio - low * error


METHODS = {
    "Student t": plain_t,
    "percentile bootstrap": percentile_bootstrap,
    "BCa bootstrap": bca_bootstrap,
    "studentised bootstrap": studentised_bootstrap,
}


def _ratio_and_error(numerators: np.ndarray, denominators: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ratios = numerators.sum(axis=1) / denominators.sum(axis=1)
    residuals = (numerators - ratios[:, None] * denominators) / denominators.mean(axis=1)[:, None]
    return ratios, residuals.std(axis=1, ddof=1) / math.sqrt(numerators.shape[1])


def _bootstrap(numerators: np.ndarray, denominators: np.ndarray, method: str) -> tuple[float, float]:
    ratio = float(numerators.sum() / denominators.sum())
    residuals = (numerators - ratio * denominators) / denominators.mean()
    if residuals.std() <= 1e-12 * max(abs(ratio), 1e-300):
        return ratio, ratio
    found = bootstrap(
        (ratio + residuals,), np.mean, method=method, n_resamples=500, vectorized=True, rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


def _holds(interval, truth: float) -> bool:
    return interval.low is not None and interval.low <= truth <= interval.high
