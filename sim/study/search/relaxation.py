"""What would have to give where nothing meets the SLO: longer time limits, or a smaller share of calls."""

from __future__ import annotations

import math
from typing import NamedTuple

from sim.report.estimators import Interval
from sim.report.formatting import number
from sim.study.search.evidence import Candidate, Evidence


class Relaxation(NamedTuple):
    """One relaxed SLO, and the cheapest candidate that was seen to keep it."""

    what: str
    candidate: Candidate
    cost: Interval


def relaxations(evidence: Evidence) -> list[Relaxation]:
    """The least factor on all time limits, and the least fall of the attainment, at which a played candidate meets.

    With applications, the factor is that at which each meets its own SLO, and no single share is named.

    Both are read off the replications played: in every one of them the candidate would meet the relaxed SLO. A factor
    is missing where in some replication of every candidate too few requests finished at all.
    """
    found = []
    factors = {c: max(s.slo_factor for s in samples) for c, samples in evidence.samples.items()}
    factors = {c: factor for c, factor in factors.items() if math.isfinite(factor)}
    if factors:
        least = min(factors, key=lambda c: (factors[c], evidence.cost(c).mean))
        rounded = math.ceil(100 * factors[least]) / 100
        found.append(Relaxation(f"all time limits x {rounded:.2f}", least, evidence.cost(least)))
    shares = {
        c: min(s.attained / s.calls for s in samples if s.calls)
        for c, samples in evidence.samples.items()
        if any(s.calls for s in samples) and not any(s.by_application for s in samples)
    }
    if shares:
        most = max(shares, key=lambda c: (shares[c], -(evidence.cost(c).mean or 0.0)))
        share = math.floor(1000 * shares[most]) / 1000
        found.append(Relaxation(f"slo.attainment_fraction={number(share)}", most, evidence.cost(most)))
    return found
