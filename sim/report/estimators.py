"""How sure we are: estimates over independent replications, with 95 % intervals that stay where the metric can be.

A replication gives one number per metric, or a numerator and a denominator. Replications are independent; requests
within one are not, and are never treated so. Every interval is built from jackknife pseudo-values (for a mean these are
the values themselves; Miller, The jackknife: a review, 1974) in two ways, of which the wider bound counts on each side:

- Student's t on the natural scale of the metric's support: log for [0, inf), logit for [0, 1], plain for a difference;
- Student's t corrected for skewness by Hall's monotone transformation (Hall, On the removal of skewness by
  transformation, 1992), clipped to the support.

Each of the two alone falls short of 95 % somewhere: the first where many replications are alike and few are far off, as
attained fractions are, the second with three to five replications. What they cover together, and what plain t and
three bootstraps (percentile, BCa, studentised) cover, is measured by `make proofs`: docs/why/coverage.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from sim.distributions import normal_quantile, student_t_quantile

CONFIDENCE = 0.95
_ROUNDING = 1e-12
"""Values that differ by less than this fraction of their size are the same number, computed twice."""


class Support(StrEnum):
    """The values that a metric can take; its interval stays inside them."""

    REAL = "real"
    NON_NEGATIVE = "non-negative"
    FRACTION = "fraction"


class Sureness(StrEnum):
    """How much of an estimate's uncertainty is known."""

    ABSENT = "no value"
    UNTESTED = "one replication"
    FEW = "too few replications"
    UNKNOWN = "unknown with so few"
    KNOWN = "known"


FEWEST = {Support.REAL: 2, Support.NON_NEGATIVE: 3, Support.FRACTION: 10}
"""Replications from which on an interval covers as it says (docs/why/coverage.md); of fewer it is not printed."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval; None where there is no such number.

    `low` and `high` lie within the support and need not be equally far from `mean`. `skewness` is that of the
    pseudo-values, 0 where it is undefined.

    >>> interval = Interval(3.0, 2.5, 4.0)
    >>> interval.half_width, interval.excludes_zero, Interval(3.0).half_width is None
    (1.0, True, True)
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    replications: int = 0
    support: Support = Support.NON_NEGATIVE
    skewness: float = 0.0

    @property
    def half_width(self) -> float | None:
        """For printing after ±: the distance to the farther bound."""
        if self.mean is None or self.low is None or self.high is None:
            return None
        return max(self.mean - self.low, self.high - self.mean)

    @property
    def sureness(self) -> Sureness:
        """FEW below FEWEST; UNKNOWN where replications give no bounds, or a half-width above the mean.

        A difference (support REAL) may well be smaller than its half-width: its bounds say that it is near 0.
        """
        if self.mean is None:
            return Sureness.ABSENT
        if self.replications < 2:
            return Sureness.UNTESTED
        if self.replications < FEWEST[self.support]:
            return Sureness.FEW
        width = self.half_width
        if width is None or (self.support is not Support.REAL and width >= self.mean > 0):
            return Sureness.UNKNOWN  # where a bound was cut off at 0, the width is no less than the mean
        return Sureness.KNOWN

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign is settled: both bounds lie on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class PairedDifference(NamedTuple):
    """a - b over pairs of replications with the same traffic, and the reduction of variance by pairing.

    `variance_reduction` = (Var(a) + Var(b)) / Var(a - b): how many times as many unpaired replications would be needed
    for the same interval. 1 means that common random numbers gave nothing; None if the variances are 0 or unknown.
    """

    difference: Interval
    variance_reduction: float | None


def mean(
    values: Sequence[float | None], support: Support = Support.NON_NEGATIVE, confidence: float = CONFIDENCE
) -> Interval:
    """The mean of one number per replication.

    Replications without a value (None, NaN) are left out. An infinite value makes the mean infinite, without bounds.

    >>> mean([1.0, 2.0, 3.0], Support.REAL).mean
    2.0
    """
    found = _numbers(values)
    if not len(found):
        return Interval(None, support=support)
    if not np.isfinite(found).all():
        return Interval(math.inf if (found > 0).any() else -math.inf, replications=len(found), support=support)
    return _interval(float(found.mean()), found, support, confidence)


def ratio_of_sums(
    numerators: Sequence[float | None],
    denominators: Sequence[float | None],
    support: Support = Support.NON_NEGATIVE,
    confidence: float = CONFIDENCE,
) -> Interval:
    """E[numerator] / E[denominator], estimated as sum / sum: what a unit costs in the long run (renewal reward).

    The mean of the replications' own ratios answers another question, and is biased as an answer to this one: it gives
    a replication with few units the weight of one with many. Pairs with a None on either side are left out. None if the
    denominators sum to 0; without bounds if a single replication holds all of the denominator.

    >>> ratio_of_sums([1.0, 9.0], [1.0, 3.0]).mean  # the mean of the ratios would be 2.0
    2.5
    """
    if len(numerators) != len(denominators):
        raise ValueError(f"numerators and denominators must pair up: {len(numerators)} and {len(denominators)}")
    pairs = _pairs(numerators, denominators)
    if not len(pairs) or not np.isfinite(pairs).all() or pairs[:, 1].sum() == 0:
        return Interval(None, support=support)
    ratio = float(pairs[:, 0].sum() / pairs[:, 1].sum())
    pseudo_values = _pseudo_values(pairs, ratio)
    if pseudo_values is None:
        return Interval(ratio, replications=len(pairs), support=support)
    return _interval(ratio, pseudo_values, support, confidence)


def paired_difference(
    a: Sequence[float | None], b: Sequence[float | None], confidence: float = CONFIDENCE
) -> PairedDifference:
    """The mean of a - b. Replication i of both played the same traffic: common random numbers.

    Pairs that lack a finite value on either side are left out.
    """
    if len(a) != len(b):
        raise ValueError(f"paired samples must have equal length: {len(a)} and {len(b)}")
    pairs = _pairs(a, b)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    return _difference(
        float(np.subtract(*pairs.T).mean()) if len(pairs) else None, pairs[:, 0], pairs[:, 1], confidence
    )


def paired_ratio_difference(
    a: tuple[Sequence[float | None], Sequence[float | None]],
    b: tuple[Sequence[float | None], Sequence[float | None]],
    confidence: float = CONFIDENCE,
) -> PairedDifference:
    """The difference of two ratios of sums, each given as (numerators, denominators), pair by pair."""
    lengths = {len(column) for column in (*a, *b)}
    if len(lengths) > 1:
        raise ValueError(f"paired samples must have equal length: {sorted(lengths)}")
    rows = np.array([row for row in zip(*a, *b, strict=True) if None not in row], float).reshape(-1, 4)
    rows = rows[np.isfinite(rows).all(axis=1)]
    sums = rows.sum(axis=0)
    if not len(rows) or sums[1] == 0 or sums[3] == 0:
        return _difference(None, np.empty(0), np.empty(0), confidence)
    ratios = float(sums[0] / sums[1]), float(sums[2] / sums[3])
    first, second = _pseudo_values(rows[:, :2], ratios[0]), _pseudo_values(rows[:, 2:], ratios[1])
    if first is None or second is None:
        unknown = Interval(ratios[0] - ratios[1], replications=len(rows), support=Support.REAL)
        return PairedDifference(unknown, None)
    return _difference(ratios[0] - ratios[1], first, second, confidence)


def wilson_bounds(hits: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Bounds of an event's probability from independent trials (Wilson 1927); (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    z = normal_quantile((1 + confidence) / 2)
    share, scale = hits / trials, 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    found = np.array(values, float)  # None becomes NaN
    return found[~np.isnan(found)]


def _pairs(a: Sequence[float | None], b: Sequence[float | None]) -> np.ndarray:
    """float64[n, 2] of the pairs of which neither is None or NaN."""
    pairs = np.array([(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None], float)
    pairs = pairs.reshape(-1, 2)
    return pairs[~np.isnan(pairs).any(axis=1)]


def _pseudo_values(pairs: np.ndarray, ratio: float) -> np.ndarray | None:
    """Jackknife pseudo-values of a ratio of sums, float64[n]; None where one pair holds all of the denominator.

    The i-th is n * ratio - (n - 1) * (ratio without the i-th pair). `pairs` is float64[n, 2]: numerators, denominators.
    """
    n, (numerator, denominator) = len(pairs), pairs.sum(axis=0)
    without = denominator - pairs[:, 1]
    if n == 1:
        return np.array([ratio])
    if not (without > _ROUNDING * denominator).all():
        return None
    return n * ratio - (n - 1) * (numerator - pairs[:, 0]) / without


def _difference(estimate: float | None, a: np.ndarray, b: np.ndarray, confidence: float) -> PairedDifference:
    if estimate is None:
        return PairedDifference(Interval(None, support=Support.REAL), None)
    interval = _interval(estimate, a - b, Support.REAL, confidence)
    unpaired, paired = (float(np.var(a) + np.var(b)), float(np.var(a - b))) if len(a) > 1 else (0.0, 0.0)
    if unpaired <= (_ROUNDING * (np.abs(a).max() + np.abs(b).max())) ** 2:
        return PairedDifference(interval, None)
    return PairedDifference(interval, unpaired / paired if paired > 0 else math.inf)


def _interval(estimate: float, pseudo_values: np.ndarray, support: Support, confidence: float) -> Interval:
    n = len(pseudo_values)
    if n < 2:
        return Interval(estimate, replications=n, support=support)
    spread = float(pseudo_values.std(ddof=1))
    if spread <= _ROUNDING * float(np.abs(pseudo_values).max()):
        return Interval(estimate, estimate, estimate, n, support)
    quantile = student_t_quantile((1 + confidence) / 2, n - 1)
    error, skewness = spread / math.sqrt(n), _skewness(pseudo_values, spread)
    low, high = zip(
        _on_natural_scale(estimate, quantile * error, support),
        _without_skewness(estimate, error, quantile, skewness / math.sqrt(n)),
        strict=True,
    )
    floor, ceiling = _LIMITS[support]
    return Interval(estimate, max(min(low), floor), min(max(high), ceiling), n, support, skewness)


_LIMITS = {
    Support.REAL: (-math.inf, math.inf),
    Support.NON_NEGATIVE: (0.0, math.inf),
    Support.FRACTION: (0.0, 1.0),
}


def _on_natural_scale(estimate: float, half_width: float, support: Support) -> tuple[float, float]:
    """The t interval by the delta method on the log or logit scale; the plain one where the estimate has no logarithm
    or logit.

    The exponent is capped so that it cannot overflow; bounds that far out are the ends of the support anyway.
    """
    if support is Support.NON_NEGATIVE and estimate > 0:
        factor = math.exp(min(half_width / estimate, 700.0))
        return estimate / factor, estimate * factor
    if support is Support.FRACTION and 0 < estimate < 1:
        odds = estimate / (1 - estimate)
        factor = math.exp(min(half_width / (estimate * (1 - estimate)), 300.0))
        return odds / factor / (1 + odds / factor), odds * factor / (1 + odds * factor)
    return estimate - half_width, estimate + half_width


def _skewness(values: np.ndarray, spread: float) -> float:
    """The unbiased third moment over the cube of the standard deviation; 0 for fewer than three values."""
    n = len(values)
    if n < 3:
        return 0.0
    third = float(((values - values.mean()) ** 3).mean()) * n * n / ((n - 1) * (n - 2))
    return third / spread**3


def _without_skewness(estimate: float, error: float, quantile: float, skewness: float) -> tuple[float, float]:
    """Hall's bounds; `skewness` is that of the values over the root of their number.

    T = t + g t^2 / 3 + g^2 t^3 / 27 + g / 6 is symmetric up to 1/n where t = (estimate - truth) / error is not, and
    monotone: (1 + g t / 3)^3 = 1 + g (T - g / 6) solves it for t.
    """
    if abs(skewness) < 1e-9:
        return estimate - error * quantile, estimate + error * quantile

    def inverse(transformed: float) -> float:
        return 3 / skewness * (float(np.cbrt(1 + skewness * (transformed - skewness / 6))) - 1)

    return estimate - error * inverse(quantile), estimate - error * inverse(-quantile)
