"""How many replications are enough: add them until the named metrics are as sure as asked for, or a cap is reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from sim.report.attainment import Judgement, Verdict
from sim.report.estimators import Interval, Sureness
from sim.report.formatting import number
from sim.report.metrics import is_fraction

ATTAINMENT = "slo_attainment_fraction"
STOPPING_CONFIDENCE = 0.965
"""The nominal confidence of intervals while replications are added, so that they cover the 95 % that they state.

Replications are added until the interval is narrow, which happens a little too often where it is narrow by chance: at
a nominal 95 % such intervals cover 0.88 to 0.95 of the time, at 96.5 % they cover 0.93 to 0.97 (docs/why/coverage.md).
"""

_REPLICATIONS_PER_SKEWNESS = 8.0
"""Below 8 * skewness^2 replications an interval counts as wider, by the root of what is lacking: a skewed sample
without its rare large values looks narrow (after Cochran, Sampling Techniques, 1977, 2.15, who asks for 25 where
nothing corrects the interval for skewness)."""


class Shortfall(NamedTuple):
    """A metric whose interval is wider than asked for: its half-width, and the allowed one, in the metric's unit."""

    metric: str
    half_width: float | None
    allowed: float


def allowed_half_width(metric: str, mean: float, precision: float) -> float:
    """The half-width that `precision` allows: absolute for fractions, relative to the mean for all other metrics."""
    return precision if is_fraction(metric) else precision * abs(mean)


def shortfalls(
    intervals: Mapping[str, Interval], precision: Mapping[str, float], judgement: Judgement | None = None
) -> list[Shortfall]:
    """The metrics of `precision` that need more replications, in its order; none: they may stop here.

    `intervals` are those of all named metrics at STOPPING_CONFIDENCE. Attainment is sure enough once the sequential
    `judgement` of the SLO is decided: how far a fleet that misses it is off is seldom the question; its own half-width
    counts only where attainment is as good as the target, so that nothing can be decided. A metric without a finite
    mean, as a cost per task where no task finished, is not waited for: more replications do not mend that.
    """
    found = []
    for metric, wanted in precision.items():
        interval = intervals[metric]
        if interval.mean is None or abs(interval.mean) == float("inf"):
            continue
        undecided = False
        if metric == ATTAINMENT and judgement is not None:
            if _decided(judgement):
                continue
            undecided = abs((judgement.attainment.mean or 0.0) - judgement.target) > wanted
        allowed, width = allowed_half_width(metric, interval.mean, wanted), interval.half_width
        wanted_for_skewness = _REPLICATIONS_PER_SKEWNESS * interval.skewness**2
        caution = math.sqrt(max(wanted_for_skewness / max(interval.replications, 1), 1.0))
        if width is None or width * caution > allowed or undecided:
            found.append(Shortfall(metric, width, allowed))
    return found


def reason(replications: int, before: list[Shortfall], now: list[Shortfall], intervals: Mapping[str, Interval]) -> str:
    """Why no more replications are added, in one line: which metric was the last to be sure, or which are not.

    `before` are the shortfalls at the look before, `now` those at this last one.
    """
    if now:
        unsure = ", ".join(_unsure(shortfall, intervals[shortfall.metric]) for shortfall in now)
        return f"{replications} replications, the most allowed: {unsure}"
    if not before:
        return f"{replications} replications: every metric of study.precision was sure enough at once"
    last, were = " and ".join(shortfall.metric for shortfall in before), "was" if len(before) == 1 else "were"
    return f"{replications} replications: {last} {were} the last to be sure enough"


def _decided(judgement: Judgement) -> bool:
    return judgement.verdict in (Verdict.MEETS, Verdict.MISSES)


def _unsure(shortfall: Shortfall, interval: Interval) -> str:
    if interval.sureness is not Sureness.KNOWN:
        return f"{shortfall.metric} is {interval.sureness}"
    if shortfall.half_width is not None and shortfall.half_width <= shortfall.allowed:
        open_question = shortfall.metric == ATTAINMENT
        return "whether the SLO is met is not decided" if open_question else f"{shortfall.metric} is skewed"
    wanted = number(shortfall.allowed, 2)
    return f"{shortfall.metric} is known to ±{number(shortfall.half_width, 2)}, not to ±{wanted}"
