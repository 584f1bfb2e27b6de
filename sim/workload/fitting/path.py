"""The path of the rate of a record: its bursts and silences at their own moments, where no process explains them."""

from __future__ import annotations

import numpy as np

from sim.workload.arrivals.base import Arrivals
from sim.workload.arrivals.course import Course
from sim.workload.arrivals.renewal import Renewal
from sim.workload.arrivals.steady import Steady

_WINDOWS, _WINDOWS_PER_ARRIVAL = 2**15, 16
_COST_OF_A_STEP = 5.0
"""In log-likelihood, of its two parameters; a choice between Akaike's criterion, 2, and the Bayesian one, ln n."""
_ARRIVALS_IN_WINDOW, _LEAST_CV = 5, 0.3
_DRAWS = 20
_APART = 0.25
_LOAD = 0.7
_SILENCE_S = 60.0
"""A silence that serverless replicas do not outlive: their idle timeouts are about a minute."""
LEAST_SILENT = 0.05
"""Of the time: below, silences are too rare to be compared."""


def path_of_rate(times_s: np.ndarray, period_s: float) -> Course:
    """Arrivals whose rate is constant between the changes that the record shows; the path begins again after a period.

    Changes are those of the least cost, -log-likelihood and five for each step, found exactly (Killick, Fearnhead and
    Eckley, Optimal detection of changepoints with a linear computational cost, 2012). They lie between 2^15 windows, or
    sixteen to an arrival where those are fewer: the time of the search grows with their square where the rate hardly
    changes. The rate of each step is its arrivals over its length. Some chance is taken for changes of the rate, and is
    not drawn a second time: gaps along the path have the variance that is left over windows of five arrivals, at most
    that of a Poisson process.
    """
    windows = min(_WINDOWS, _WINDOWS_PER_ARRIVAL * len(times_s))
    width_s = period_s / windows
    places = np.minimum((times_s / width_s).astype(np.int64), windows - 1)
    reached = np.concatenate(([0.0], np.cumsum(np.bincount(places, minlength=windows))))
    cuts = _changes(reached)
    rate = len(times_s) / period_s
    lengths_s = np.diff(cuts) * width_s
    relative = np.diff(reached[cuts]) / lengths_s / rate
    steps_s, rates = tuple(np.round(lengths_s, 3).tolist()), tuple(np.round(relative, 4).tolist())
    path = Course(step_s=steps_s, relative_rates=rates, process=Steady(rate_per_s=rate))
    left = np.bincount((path.operational_s(times_s) * rate / _ARRIVALS_IN_WINDOW).astype(np.int64))
    cv = float(np.clip(np.round(np.sqrt(left.var() / left.mean()), 2), _LEAST_CV, 1.0))
    return path.model_copy(update={"process": Renewal(rate_per_s=rate, cv=cv)})


def _changes(reached: np.ndarray) -> np.ndarray:
    """Edges of the steps, as windows, from 0 to the last; `reached` counts the arrivals before each edge."""
    n = len(reached) - 1
    best, last, open_edges = np.zeros(n + 1), np.zeros(n + 1, np.int64), np.zeros(1, np.int64)
    for edge in range(1, n + 1):
        inside = reached[edge] - reached[open_edges]
        likelihood = inside * np.log(np.maximum(inside, 1.0) / (edge - open_edges))
        found = best[open_edges] + likelihood
        chosen = int(found.argmax())
        best[edge], last[edge] = found[chosen] - _COST_OF_A_STEP, open_edges[chosen]
        open_edges = np.append(open_edges[found >= best[edge]], edge)
    cuts = [n]
    while cuts[-1]:
        cuts.append(int(last[cuts[-1]]))
    return np.array(cuts[::-1])


def is_like(arrivals: Arrivals, times_s: np.ndarray, period_s: float) -> bool:
    """Whether the record could be one of twenty draws of the arrivals, by its waits and silences.

    Compared are `wait_p95`, and `silent_fraction` where that is a twentieth or more. A figure is unlike if it is beyond
    those of all draws, and more than a quarter from their mean.
    """
    drawn = []
    for seed in range(_DRAWS):
        blocks = list(arrivals.times(np.random.default_rng(seed), period_s))
        drawn.append(_figures(np.concatenate([*blocks, np.empty(0)]), period_s))
    of_log, of_draws = np.array(_figures(times_s, period_s)), np.array(drawn)
    is_beyond = (of_log < of_draws.min(axis=0)) | (of_log > of_draws.max(axis=0))
    is_far = np.abs(of_draws.mean(axis=0) - of_log) > _APART * of_log
    return not (is_beyond & is_far & (of_log >= (0.0, LEAST_SILENT))).any()


def _figures(times_s: np.ndarray, period_s: float) -> tuple[float, float]:
    return wait_p95(times_s, np.ones(len(times_s)), period_s), silent_fraction(times_s, period_s)


def wait_p95(times_s: np.ndarray, work: np.ndarray, period_s: float) -> float:
    """Seconds that 95 % of the arrivals wait at most, where one after the other is served and 70 % of the time is busy.

    `work`, float64[n], is in any unit: service times in proportion to it fill 70 % of the period (Lindley 1952).
    """
    if not len(times_s):
        return 0.0
    done_s = np.cumsum(work) * (_LOAD * period_s / work.sum())
    ahead_s = np.concatenate(([0.0], done_s[:-1])) - times_s
    return float(np.quantile(ahead_s - np.minimum.accumulate(ahead_s), 0.95))


def silent_fraction(times_s: np.ndarray, period_s: float) -> float:
    """Fraction of the period in silences of more than a minute."""
    gaps_s = np.diff(np.concatenate(([0.0], times_s, [period_s])))
    return float(gaps_s[gaps_s > _SILENCE_S].sum() / period_s)
