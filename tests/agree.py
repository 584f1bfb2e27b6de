"""Does a simulated quantity agree with theory? Decided by an interval over independent replications, never by eye."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t


class Disagreement(AssertionError):
    """The interval is narrow enough to judge, and does not contain the formula."""


class NotEnoughEvidence(AssertionError):
    """The samples cannot judge the formula: too few, not finite, or too scattered."""


class Interval(NamedTuple):
    """A Student t interval for the mean."""

    mean: float
    half_width: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (int, float, np.number)) and abs(float(value) - self.mean) <= self.half_width


def t_interval(samples: Iterable[float], confidence: float = 0.999) -> Interval:
    """The t interval of the mean of independent samples (one per replication). Raises NotEnoughEvidence."""
    values = np.asarray(list(samples), dtype=float)
    if len(values) < 3:
        raise NotEnoughEvidence(f"{len(values)} samples: at least 3 independent replications are needed")
    if not np.isfinite(values).all():
        raise NotEnoughEvidence(f"samples must be finite: {values}")
    spread = float(values.std(ddof=1)) / math.sqrt(len(values))
    rounding = 1e-12 * abs(float(values.mean()))  # identical samples still carry rounding errors
    quantile = float(student_t.ppf((1 + confidence) / 2, len(values) - 1))
    return Interval(float(values.mean()), quantile * spread + rounding)


def assert_agrees(
    samples: Iterable[float],
    formula: float,
    *,
    within: float = 0.05,
    within_abs: float = 0.0,
    confidence: float = 0.999,
) -> None:
    """Assert that the t interval of the samples' mean contains `formula` and is narrow enough to mean something.

    `samples`: one number per independent replication. Narrow enough: the half-width is at most `within` times
    |formula|, or `within_abs` where that is larger (needed for formulas near 0). Raises Disagreement or
    NotEnoughEvidence, both AssertionErrors.

    >>> assert_agrees([9.9, 10.1, 10.0, 9.95, 10.05], 10.0)
    """
    interval = t_interval(samples, confidence)
    allowed = max(within * abs(formula), within_abs)
    said = f"mean {interval.mean:.6g} ± {interval.half_width:.3g} ({confidence:.1%}), formula {formula:.6g}"
    if interval.half_width > allowed:
        # Far outside even so wide an interval is a judgement, too.
        verdict = NotEnoughEvidence if formula in interval else Disagreement
        raise verdict(f"{said}: half-width must be <= {allowed:.3g}")
    if formula not in interval:
        raise Disagreement(f"{said}: the interval does not contain the formula")


def assert_disagrees(
    samples: Iterable[float],
    wrong_formula: float,
    *,
    within: float = 0.05,
    within_abs: float = 0.0,
    confidence: float = 0.999,
) -> None:
    """The twin of `assert_agrees`: the same evidence must reject a wrong formula, and not for lack of evidence."""
    try:
        assert_agrees(samples, wrong_formula, within=within, within_abs=within_abs, confidence=confidence)
    except Disagreement:
        return
    raise AssertionError(f"the evidence failed to reject the wrong formula {wrong_formula:.6g}")
