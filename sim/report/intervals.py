"""How sure we are: means and 95 % intervals over independent replications.

Each replication gives one number per metric; the numbers are independent and roughly normal, so Student's t applies
(Law, Simulation Modeling and Analysis, ch. 9). Requests within one run are not independent and are never treated so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

CI_SUFFIX = "_ci95"


class Interval(NamedTuple):
    """A mean and the half-width of its 95 % interval; None where there is no such number."""

    mean: float | None
    half_width: float | None

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign is settled: the interval is known and lies on one side of 0."""
        return self.mean is not None and self.half_width is not None and abs(self.mean) > self.half_width


def student_interval(samples: Sequence[float | None], confidence: float = 0.95) -> Interval:
    """Mean and half-width over replications.

    Replications without a value (None) are left out. An infinite value makes the mean infinite and the half-width None;
    so does having fewer than two values for the half-width alone.

    >>> student_interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, half_width=2.484...)
    """
    values = np.array([v for v in samples if v is not None], float)
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(None, None)
    if not np.isfinite(values).all():
        return Interval(float("inf") if (values > 0).any() else float("-inf"), None)
    if len(values) < 2:
        return Interval(float(values[0]), None)
    spread = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(float(values.mean()), float(student_t.ppf((1 + confidence) / 2, len(values) - 1)) * spread)


def over_replications(summaries: Sequence[Mapping[str, float | int | bool | None]]) -> dict[str, float | bool | None]:
    """One row from several replications: `<key>` the mean, `<key>_ci95` the half-width, and `replications`.

    A yes/no metric is yes only if every replication says yes, and has no interval.
    """
    row: dict[str, float | bool | None] = {"replications": len(summaries)}
    for key in summaries[0] if summaries else ():
        values = [summary.get(key) for summary in summaries]
        if any(isinstance(v, bool) for v in values):
            row[key] = all(values)
        elif all(v is None or isinstance(v, (int, float)) for v in values):
            row[key], row[key + CI_SUFFIX] = student_interval(values)
    return row


def paired_difference(a: Sequence[float | None], b: Sequence[float | None]) -> Interval:
    """Interval of the mean of a - b. Replication i of both faced the same traffic: common random numbers.

    Pairs that lack a value on either side are left out.
    """
    if len(a) != len(b):
        raise ValueError(f"paired samples must have equal length: {len(a)} and {len(b)}")
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return student_interval([x - y for x, y in pairs])


def wilson_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a rare event's probability from counts (Wilson 1927); (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    z = float(student_t.ppf((1 + confidence) / 2, np.inf))
    share, scale = hits / trials, 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(centre - half, 0.0), min(centre + half, 1.0)
