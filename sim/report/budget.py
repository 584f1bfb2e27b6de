"""Does a scenario keep within its budget? A sequential judgement over replications, as that of the SLO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sim.distributions import normal_cdf
from sim.report.attainment import Verdict, spending_bounds
from sim.report.estimators import Interval, mean

SURE = 0.995
"""Confidence of the two judgements of a check: each errs one time in 400 at most to either side."""
ZONE = 0.01
"""Costs within this share of the budget are as good as the budget: the check may say either."""


class BudgetJudgement(NamedTuple):
    """A verdict on a budget, and the cost it rests on. MEETS: within it. The interval is one of 95 %."""

    verdict: Verdict
    usd: Interval
    budget_usd: float


def judge_budget(usd: Sequence[float], budget_usd: float) -> BudgetJudgement:
    """The judgement of a cost without any chance in it: that of its first replication."""
    verdict = Verdict.MEETS if usd[0] <= budget_usd else Verdict.MISSES
    return BudgetJudgement(verdict, Interval(usd[0], replications=1), budget_usd)


def judge_budget_at_look(
    usd: Sequence[float], budget_usd: float, sizes: Sequence[int], zone: float = ZONE, confidence: float = SURE
) -> BudgetJudgement:
    """The sequential test: the judgement at a look after len(usd) replications, one of the planned `sizes`.

    As of the SLO (`judge_at_look`), each look spends a part of the error probability: a mean cost above budget x
    (1 + zone) is judged to be within it with a probability of at most (1 - confidence) / 2, and one below budget x
    (1 - zone) to be over it likewise. In between, either is right.
    """
    if len(usd) not in sizes:
        raise ValueError(f"{len(usd)} replications: is not a planned look, which are {list(sizes)}")
    bounds = spending_bounds(tuple(size / sizes[-1] for size in sizes), (1 - confidence) / 2)
    level = float(normal_cdf(bounds[list(sizes).index(len(usd))]))
    found = mean(usd, confidence=2 * level - 1)
    verdict = Verdict.NOT_RESOLVED
    if found.mean is not None and found.low is not None and found.high is not None:
        if found.mean <= budget_usd and found.high < budget_usd * (1 + zone):
            verdict = Verdict.MEETS
        elif found.mean > budget_usd and found.low > budget_usd * (1 - zone):
            verdict = Verdict.MISSES
    return BudgetJudgement(verdict, mean(usd), budget_usd)
