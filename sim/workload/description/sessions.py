"""Sessions: calls that wait for one another, how long they wait, and how their context grows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.workload.description.calls import Calls
from sim.workload.description.token_lengths import Quantity, quantity

_SHOWN_CALLS = (1, 2, 3, 5, 10, 20, 50, 100)
_MOST_GAPS = 100_000
_LEAST_GAPS = 50
_LEAST_GAP_S = 1e-3


@dataclass(frozen=True)
class TwoKinds:
    """Gaps of two kinds, tools and people: those up to `parted_at_s` lie within a turn, longer ones between turns.

    The two are a mixture of two lognormals, fitted by expectation maximisation; they are parted where both are equally
    likely. Told only where their means lie more than two standard deviations apart (Ashman, Bird and Zepf 1994).
    """

    parted_at_s: float
    within_turn_s: Quantity
    between_turns_s: Quantity
    calls_per_turn: Quantity


@dataclass(frozen=True)
class Growth:
    """The context at the n-th call of the sessions that are so long."""

    call: int
    sessions: int
    median_input_tokens: float


@dataclass(frozen=True)
class Sessions:
    """Chains of calls in which each waits for the one before.

    `calls_dispersion` is E[N^2] / E[N] of N calls per session: the index of dispersion of calls over long windows, if
    sessions arrive as a Poisson process. `new_input_tokens` are what later prompts add to the prompt and answer before
    them; prompts that cannot hold these begin anew.
    """

    sessions: int
    calls_per_session: Quantity
    single_call_fraction: float
    calls_dispersion: float
    gaps_hold_service: bool  # gaps are from start to start; else from the end of an answer
    gap_s: Quantity | None
    two_kinds: TwoKinds | None
    first_input_tokens: Quantity
    new_input_tokens: Quantity | None
    begins_anew_fraction: float  # of the later calls
    growth: tuple[Growth, ...]


def sessions_of(calls: Calls) -> Sessions | None:
    """None where the log does not say which calls belong together."""
    if not calls.has_sessions:
        return None
    counts, log = calls.calls_per_task, calls.log
    later = np.ones(len(calls.task_rows), bool)
    later[calls.offsets[:-1]] = False
    gaps, hold_service = _gaps(calls, later)
    inputs = log.input_tokens[calls.task_rows]
    added, anew = added_tokens(calls)
    continuing = later & ~anew
    n = counts.astype(float)
    return Sessions(
        sessions=len(counts), calls_per_session=quantity(counts), single_call_fraction=float((counts == 1).mean()),
        calls_dispersion=float((n**2).mean() / n.mean()), gaps_hold_service=hold_service,
        gap_s=quantity(gaps) if len(gaps) else None, two_kinds=_two_kinds(gaps, counts, later),
        first_input_tokens=quantity(inputs[calls.offsets[:-1]]),
        new_input_tokens=quantity(added[continuing]) if continuing.any() else None,
        begins_anew_fraction=float(anew[later].mean()) if later.any() else 0.0, growth=_growth(inputs, calls.offsets),
    )  # fmt: skip


def added_tokens(calls: Calls) -> tuple[np.ndarray, np.ndarray]:
    """(int64[n], bool[n]), task by task: input beyond the prompt and answer before, and which prompts begin anew.

    Of first calls and of those that begin anew the first is the whole input; first calls do not begin anew.
    """
    log, rows = calls.log, calls.task_rows
    both = log.input_tokens[rows] + log.output_tokens[rows]
    before = np.concatenate(([0], both[:-1]))
    before[calls.offsets[:-1]] = 0
    anew = log.input_tokens[rows] < before
    if log.begins_anew is not None:
        anew |= log.begins_anew[rows]
    anew[calls.offsets[:-1]] = False
    return log.input_tokens[rows] - np.where(anew, 0, before), anew


def gaps_of(calls: Calls) -> tuple[np.ndarray, bool]:
    """(float64[later calls], whether gaps are from start to start): seconds before each later call, task by task."""
    later = np.ones(len(calls.task_rows), bool)
    later[calls.offsets[:-1]] = False
    return _gaps(calls, later)


def _gaps(calls: Calls, later: np.ndarray) -> tuple[np.ndarray, bool]:
    log, rows = calls.log, calls.task_rows[later]
    wait_s = np.zeros(len(rows)) if log.wait_s is None else log.wait_s[rows]
    if log.least_gap_s is None:
        return wait_s, False
    least = log.least_gap_s[rows]
    return np.maximum(wait_s, least), bool((least > wait_s).mean() > 0.5) if len(rows) else False


def _two_kinds(gaps: np.ndarray, counts: np.ndarray, later: np.ndarray) -> TwoKinds | None:
    parted_at_s = parting(gaps)
    if parted_at_s is None:
        return None
    short = gaps <= parted_at_s
    begins_turn = np.ones(len(later), bool)
    begins_turn[later] = ~short
    turns = np.diff(np.append(np.flatnonzero(begins_turn), len(later)))
    return TwoKinds(parted_at_s, quantity(gaps[short]), quantity(gaps[~short]), quantity(turns))


def parting(gaps: np.ndarray) -> float | None:
    """The gap, in seconds, that parts two kinds; None where there are not clearly two, or fewer than fifty gaps."""
    if len(gaps) < _LEAST_GAPS:
        return None
    x = np.log(np.maximum(gaps[:: -(-len(gaps) // _MOST_GAPS)], _LEAST_GAP_S))
    if x.std() < 1e-9:
        return None
    means, deviations, weights = np.percentile(x, (25, 85)), np.full(2, x.std()), np.array([0.5, 0.5])
    for _ in range(200):
        chances = weights * np.exp(-0.5 * ((x[:, None] - means) / deviations) ** 2) / deviations
        shares = chances / np.maximum(chances.sum(axis=1, keepdims=True), 1e-300)
        weights = shares.mean(axis=0)
        if weights.min() < 0.01:
            return None
        means = (shares * x[:, None]).sum(axis=0) / shares.sum(axis=0)
        deviations = np.sqrt((shares * (x[:, None] - means) ** 2).sum(axis=0) / shares.sum(axis=0)).clip(0.05)
    if abs(means[1] - means[0]) < 2 * np.sqrt((deviations**2).mean()):
        return None
    order = np.argsort(means)
    means, deviations, weights = means[order], deviations[order], weights[order]
    between = np.linspace(means[0], means[1], 1001)[:, None]
    chances = weights * np.exp(-0.5 * ((between - means) / deviations) ** 2) / deviations
    parted = float(np.exp(between[int((chances[:, 1] >= chances[:, 0]).argmax()), 0]))
    return parted if (gaps <= parted).any() and (gaps > parted).any() else None


def _growth(inputs: np.ndarray, offsets: np.ndarray) -> tuple[Growth, ...]:
    counts, found = np.diff(offsets), []
    for call in _SHOWN_CALLS:
        long = counts >= call
        if long.sum() >= 3 or (call == 1 and long.any()):
            found.append(Growth(call, int(long.sum()), float(np.median(inputs[offsets[:-1][long] + call - 1]))))
    return tuple(found)
