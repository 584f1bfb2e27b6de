"""Worlds whose truth is known, as populations of independent replications: macro-runs draw theirs from them.

A metric of a world has a numerator and a denominator per replication, and the truth E[numerator] / E[denominator].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from sim.report.estimators import Interval, Support, mean, ratio_of_sums
from sim.scenarios import Scenario, compose_config, parse
from sim.study.replicate import replicate

HYBRID = (
    "arrivals=bursty", "arrivals.rate_per_s=1", "arrivals.mean_burst_s=10", "horizon_s=600", "lengths=fixed",
    "fleet=hybrid_overflow", "scaling.n_replicas=1", "slo.ttft_s=0.5",
)  # fmt: skip
"""Ten minutes with a dozen bursts, on one replica; what would wait goes to an API: 30 ms of computing."""

RARE_BURSTS = "arrivals.mean_burst_s=60"
"""With bursts of a minute and quiet times of four, 0.8 exp(-600 / 240) = 1 run in 15 has none, and is like no other."""


@dataclass(frozen=True)
class Metric:
    """One metric of a world. `numerators`, `denominators`: float64[population]; the latter all 1 for a mean."""

    name: str
    kind: str
    numerators: np.ndarray
    denominators: np.ndarray
    truth: float
    support: Support = Support.NON_NEGATIVE

    @property
    def is_mean(self) -> bool:
        return bool((self.denominators == 1).all())

    def spread(self) -> float:
        """The standard deviation of one replication's contribution, in units of the metric."""
        return float((self.numerators - self.truth * self.denominators).std() / self.denominators.mean())

    def interval(self, rows: np.ndarray, confidence: float = 0.95) -> Interval:
        """The project's interval from these replications."""
        numerators, denominators = self.numerators[rows].tolist(), self.denominators[rows].tolist()
        if self.is_mean:
            return mean(numerators, self.support, confidence)
        return ratio_of_sums(numerators, denominators, self.support, confidence)


def m_m_1(population: int, rng: np.random.Generator, rate_per_s: float = 0.7, horizon_s: float = 400.0) -> list[Metric]:
    """One server, service of a second on average, started in its steady state: the time in system is exponential.

    Its mean is 1 / (1 - rate), P(> x) = exp(-(1 - rate) x) (Kleinrock, Queueing Systems I, 1975). A replication counts
    who arrives within the horizon, so its denominator is random. The p99 of a run has no formula: its truth is the
    population's mean. The rival serves 10 % faster, at the same arrivals and with the same work.
    """
    chunks = [_m_m_1(min(5_000, population - i), rng, rate_per_s, horizon_s) for i in range(0, population, 5_000)]
    customers, total_s, p99_s, attained, rival_s, limit_s = (
        np.concatenate(column) for column in zip(*chunks, strict=True)
    )
    idle, ones = 1 - rate_per_s, np.ones(population)
    limit, rival_idle = float(limit_s[0]), 1.1 - rate_per_s
    return [
        Metric("customers", "mean", customers, ones, rate_per_s * horizon_s),
        Metric("p99 of time in system", "mean of p99", p99_s, ones, float(p99_s.mean())),
        Metric("mean time in system", "ratio of sums", total_s, customers, 1 / idle),
        Metric("attained", "fraction", attained, customers, 1 - math.exp(-idle * limit), Support.FRACTION),
        Metric("not attained", "fraction", customers - attained, customers, math.exp(-idle * limit), Support.FRACTION),
        Metric(
            "total time less the rival's", "paired difference", total_s - rival_s, ones,
            rate_per_s * horizon_s * (1 / idle - 1 / rival_idle), Support.REAL,
        ),
    ]  # fmt: skip


def _m_m_1(runs: int, rng: np.random.Generator, rate_per_s: float, horizon_s: float) -> tuple[np.ndarray, ...]:
    """Lindley's recursion, all runs at once."""
    n = int(rate_per_s * horizon_s + 7 * math.sqrt(rate_per_s * horizon_s)) + 10
    gaps_s, work = rng.exponential(1 / rate_per_s, (runs, n)), rng.exponential(1, (runs, n))
    inside = np.cumsum(gaps_s, axis=1) < horizon_s
    assert not inside[:, -1].any()
    own_s, rival_s = (_time_in_system(gaps_s, work / speed, rate_per_s, speed, rng) for speed in (1.0, 1.1))
    own_s, limit_s = np.where(inside, own_s, np.nan), math.log(40) / (1 - rate_per_s)
    return (
        inside.sum(axis=1).astype(float),
        np.nansum(own_s, axis=1),
        np.nanquantile(own_s, 0.99, axis=1),
        (own_s <= limit_s).sum(axis=1).astype(float),
        np.where(inside, rival_s, 0.0).sum(axis=1),
        np.full(runs, limit_s),
    )


def _time_in_system(gaps_s, service_s, rate_per_s, speed, rng) -> np.ndarray:
    runs, n = gaps_s.shape
    times_s, wait_s = np.empty((runs, n)), np.zeros(runs)
    busy = rng.random(runs) < rate_per_s / speed  # an arrival sees the steady state (PASTA)
    wait_s[busy] = rng.exponential(1 / (speed - rate_per_s), int(busy.sum()))
    for i in range(n):
        if i:
            wait_s = np.maximum(wait_s + service_s[:, i - 1] - gaps_s[:, i], 0.0)
        times_s[:, i] = wait_s + service_s[:, i]
    return times_s


def hybrid_scenario(replications: int, *words: str) -> Scenario:
    """The bursty hybrid, by the program itself."""
    return parse(compose_config(*HYBRID, f"replications={replications}", *words))


def hybrid(
    replications: int, *words: str, on_progress: Callable[[int, int], None] = lambda done, of: None
) -> list[Metric]:
    """Metrics of the bursty hybrid; the truth is that of all its replications, from which macro-runs draw theirs."""
    rows = replicate(hybrid_scenario(replications, *words), on_progress=on_progress).per_replication

    def column(key: str) -> np.ndarray:
        return np.array([row[key] for row in rows], float)

    requests, ones = column("requests"), np.ones(len(rows))
    mtok = (column("input_tokens") + column("output_tokens")) / 1e6
    attained, at_api = column("slo_attainment_fraction") * requests, column("api_request_fraction") * requests
    return [
        _of_population("usd_api", "mean", column("usd_api"), ones),
        _of_population("ttft_p99_s", "mean of p99", column("ttft_p99_s"), ones),
        _of_population("usd_per_mtok_total", "ratio of sums", column("usd_total"), mtok),
        _of_population("slo_attainment_fraction", "fraction", attained, requests, Support.FRACTION),
        _of_population("api_request_fraction", "fraction", at_api, requests, Support.FRACTION),
    ]


def _of_population(name, kind, numerators, denominators, support=Support.NON_NEGATIVE) -> Metric:
    return Metric(name, kind, numerators, denominators, float(numerators.sum() / denominators.sum()), support)


def draws(population: int, macro_runs: int, size: int, rng: np.random.Generator) -> Iterable[np.ndarray]:
    """For every macro-run the replications it sees, in order, int64[size]."""
    for _ in range(macro_runs):
        yield rng.choice(population, size, replace=False)
