"""Does a fleet meet its SLO? A judgement with an interval, three-valued, over independent replications.

The attainment of a fleet is pooled: attained calls / all calls, summed over replications. It meets the SLO if its whole
95 % interval is at or above the target, misses it if the interval is below, and is not resolved otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sim.distributions import normal_cdf, normal_density, normal_quantile
from sim.report.estimators import CONFIDENCE, Interval, Support, ratio_of_sums, wilson_bounds

MEETS_FROM = 10
"""Fewer replications cannot show that a fleet meets its SLO (see `judge`)."""

INDIFFERENCE = 0.002
"""Attainments within this of the target are as good as the target: the sequential test may say either."""

MOST_LOOKS = 6
"""Looks of the sequential test at most (see `look_sizes`)."""

TOLERANCE = 1e-9
"""Relative: 99 of 100 calls reach a target of 0.99, whatever the last bit of the quotient."""


class Verdict(StrEnum):
    """The possible judgements of whether a fleet meets its SLO."""

    MEETS = "meets"
    MISSES = "misses"
    NOT_RESOLVED = "not resolved"
    NOT_TESTED = "one replication, not tested"
    NO_CALLS = "no calls"


class Judgement(NamedTuple):
    """A verdict on a target, and the pooled attainment it rests on.

    `reached` is the point judgement, whether pooled attainment is at least the target; None without calls.
    """

    verdict: Verdict
    attainment: Interval
    reached: bool | None
    target: float

    @property
    def meets(self) -> bool | None:
        """True or False where the verdict settles it, or where one replication leaves only the point judgement."""
        if self.verdict is Verdict.NOT_TESTED:
            return self.reached
        return {Verdict.MEETS: True, Verdict.MISSES: False}.get(self.verdict)


def reaches(fraction: float, target: float) -> bool:
    """fraction >= target, up to rounding."""
    return fraction >= target * (1 - TOLERANCE)


def judge(attained: Sequence[int], calls: Sequence[int], target: float, confidence: float = CONFIDENCE) -> Judgement:
    """The judgement over a fixed number of replications, from attained and all calls of each.

    The interval is that of the ratio of sums, and at least as wide as Wilson's would be if all calls were independent
    of each other: calls that share a queue carry less information than independent ones, never more.

    Replications without a spread, such as all at 100 %, have an interval of next to no width, though the next may well
    fall short. So a fleet meets its SLO from MEETS_FROM = 10 replications on: if 31 % or more of the replications of
    this scenario fell short, ten in a row that do not would have a probability of at most 0.69^10 = 2.5 %. Rarer
    failures can hide: what share of replications may fall short unseen is `unseen_fraction`. No method can exclude one
    failure in a hundred with fewer than 300 replications (the rule of three), unless it assumes how bad a bad
    replication can be. That a fleet misses its SLO can be shown by two that are bad enough: with fewer than MEETS_FROM
    the interval must be below the target, and a bet against the SLO must have won (see `_winnings_of_doubt`).

    A single replication has no interval: it gives the point judgement, marked as not tested.
    """
    total = sum(calls)
    if not total:
        return Judgement(Verdict.NO_CALLS, Interval(None, support=Support.FRACTION), None, target)
    pooled = _pooled(attained, calls, confidence)
    reached = pooled.mean is not None and reaches(pooled.mean, target)
    if pooled.replications < 2:
        return Judgement(Verdict.NOT_TESTED, pooled, reached, target)
    verdict = Verdict.NOT_RESOLVED
    if pooled.low is not None and reaches(pooled.low, target) and pooled.replications >= MEETS_FROM:
        verdict = Verdict.MEETS
    elif pooled.high is not None and not reaches(pooled.high, target):
        enough = pooled.replications >= MEETS_FROM or _winnings_of_doubt(attained, calls, target) >= 2 / (
            1 - confidence
        )
        verdict = Verdict.MISSES if enough else Verdict.NOT_RESOLVED
    return Judgement(verdict, pooled, reached, target)


def _winnings_of_doubt(attained: Sequence[int], calls: Sequence[int], target: float) -> float:
    """The wealth that one dollar becomes if half of it is bet, replication by replication, on losses above 1 - target.

    The loss of a replication is the share of its calls that miss the SLO. If the mean loss is at most 1 - target,
    whatever its distribution, the wealth reaches 40 dollars with a probability of at most 1 / 40 (Waudby-Smith and
    Ramdas, Estimating means of bounded random variables by betting, 2024). An interval alone is not enough: three
    replications that all lose 2 % have no spread, yet such a row occurs for a fleet that loses 1 % on average.
    """
    allowed = max(1 - target, TOLERANCE)
    n_mean = sum(calls) / len(calls)
    return math.prod(0.5 + 0.5 * (n - a) / n_mean / allowed for a, n in zip(attained, calls, strict=True))


def unseen_fraction(replications: int, confidence: float = CONFIDENCE) -> float:
    """The share of replications that may fall short though none of these did: 1 - ((1 - confidence) / 2)^(1 / n).

    >>> round(unseen_fraction(10), 2)
    0.31
    """
    return 1 - ((1 - confidence) / 2) ** (1 / replications)


def look_sizes(most: int, first: int = MEETS_FROM, looks: int = MOST_LOOKS) -> list[int]:
    """The numbers of replications at which to look: at most `looks`, from `first` to `most`, in a geometric sequence.

    >>> look_sizes(100)
    [10, 16, 25, 40, 63, 100]
    """
    if most <= first:
        return [most]
    sizes = np.rint(np.geomspace(first, most, looks)).astype(int)
    return sorted(set(sizes.tolist()))


def judge_at_look(
    attained: Sequence[int],
    calls: Sequence[int],
    target: float,
    sizes: Sequence[int],
    zone: float = INDIFFERENCE,
    confidence: float = CONFIDENCE,
) -> Judgement:
    """The sequential test: the judgement at a look after len(calls) replications, one of the planned `sizes`.

    At each look a part of the error probability is spent (O'Brien-Fleming-like, Lan and DeMets, Discrete sequential
    boundaries for clinical trials, 1983), so that looking several times errs no more often than looking once: if the
    attainment is below target - zone, it is judged to meet with a probability of at most (1 - confidence) / 2, and
    likewise the other way round. In between, either is right (an indifference zone), and NOT_RESOLVED means: cannot
    tell yet. What `judge` says of replications that fall short too rarely to be seen holds here, too; since all looks
    share one error probability, the first one is too early to say that a fleet meets its SLO, if others follow.
    """
    if len(calls) not in sizes:
        raise ValueError(f"{len(calls)} replications: is not a planned look, which are {list(sizes)}")
    if not sum(calls) or len(calls) < 2:
        return judge(attained, calls, target, confidence)
    bounds = spending_bounds(tuple(size / sizes[-1] for size in sizes), (1 - confidence) / 2)
    level = float(normal_cdf(bounds[list(sizes).index(len(calls))]))
    pooled = _pooled(attained, calls, 2 * level - 1)
    reached = pooled.mean is not None and reaches(pooled.mean, target)
    verdict = Verdict.NOT_RESOLVED
    enough = len(calls) >= max(MEETS_FROM, sizes[min(1, len(sizes) - 1)])
    if enough and reached and pooled.low is not None and pooled.low > target - zone:
        verdict = Verdict.MEETS
    elif not reached and pooled.high is not None and pooled.high < target + zone:
        verdict = Verdict.MISSES
    return Judgement(verdict, _pooled(attained, calls, confidence), reached, target)


@lru_cache(maxsize=64)
def spending_bounds(fractions: tuple[float, ...], alpha: float, points: int = 801) -> tuple[float, ...]:
    """Upper bounds z_k of a Brownian motion's B(t) / sqrt(t) at the information `fractions` (increasing, the last 1).

    The probability to have crossed by t is 2 - 2 Phi(z_{alpha/2} / sqrt(t)), one-sided. By recursive integration of the
    density of those that have not crossed (Armitage, McPherson and Rowe, 1969) over a grid of `points`.
    """
    spent = 2 * normal_cdf(-normal_quantile(1 - alpha / 2) / np.sqrt(np.array(fractions)))
    bounds = [-normal_quantile(spent[0])]
    grid = np.linspace(-8.0, bounds[0], points) * math.sqrt(fractions[0])
    density = normal_density(grid / math.sqrt(fractions[0])) / math.sqrt(fractions[0])
    for last, now, share in zip(fractions, fractions[1:], np.diff(spent), strict=False):
        scale = math.sqrt(now - last)
        mass = density * _trapezoid_weights(grid)
        low, high = 0.0, 10.0
        for _ in range(60):
            middle = (low + high) / 2
            crossing = float(mass @ normal_cdf((grid - middle * math.sqrt(now)) / scale))
            low, high = (middle, high) if crossing > share else (low, middle)
        bounds.append(high)
        next_grid = np.linspace(-8.0, high, points) * math.sqrt(now)
        density = normal_density((next_grid[:, None] - grid[None, :]) / scale) @ mass / scale
        grid = next_grid
    return tuple(bounds)


def _trapezoid_weights(grid: np.ndarray) -> np.ndarray:
    weights = np.full(len(grid), grid[1] - grid[0])
    weights[[0, -1]] /= 2
    return weights


def _pooled(attained: Sequence[int], calls: Sequence[int], confidence: float) -> Interval:
    """Attained over all calls, with bounds no closer than those of independent calls."""
    ratio = ratio_of_sums(attained, calls, Support.FRACTION, confidence)
    if ratio.low is None or ratio.high is None:
        return ratio
    low, high = wilson_bounds(sum(attained), sum(calls), confidence)
    return Interval(
        ratio.mean, min(ratio.low, low), max(ratio.high, high), ratio.replications, ratio.support, ratio.skewness
    )
