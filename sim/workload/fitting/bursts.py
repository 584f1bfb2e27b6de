"""Bursts: a Markov-modulated Poisson process of a few states, by the numbers of arrivals in short windows."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from sim.workload.arrivals.mmpp import Mmpp

_MOST_STATES = 5
_ROUNDS = 150
_MOST_WINDOWS = 20_000
_LEAST_SEQUENCE = 60
_LEAST_SUMS = 20
_SEQUENCES = 64
_STEADY_GAIN = 1e-5
Rates = tuple[np.ndarray, np.ndarray, float]
"""Rates per window, float64[k]; transition matrix from window to window, float64[k, k]; and the log-likelihood."""


def fitted_bursts(counts: np.ndarray, expected: np.ndarray, window_s: float, rate_per_s: float) -> Mmpp | None:
    """The process of which the counts in windows are most likely, given what its average would send there.

    `counts`, int64[n], and `expected`, float64[n] of mean `rate_per_s` times `window_s`. Baum-Welch for Poisson counts
    (Rabiner, A tutorial on hidden Markov models, 1989), for 2 to 5 states, of which the Bayesian information criterion
    chooses; None where one state, a Poisson process, is enough. Long records are looked at in 64 stretches.
    """
    table, mean = _sequences(counts, expected)
    n = table.size
    poisson = float((table * np.log(np.maximum(mean, 1e-300)) - mean - gammaln(table + 1)).sum())
    best, best_score = None, -2 * poisson
    for states in range(2, _MOST_STATES + 1):
        found = _baum_welch(table, mean, states)
        score = -2 * found[2] + (states + states * (states - 1) - 1) * np.log(n)
        if score >= best_score:
            break
        best, best_score = found, score
    return None if best is None else _no_burstier(_as_process(best, window_s, rate_per_s), counts, window_s)


def _no_burstier(process: Mmpp, counts: np.ndarray, window_s: float) -> Mmpp:
    """The process with its stays shortened by one factor until it is no burstier than the counts, at 10 and 60 windows.

    Windows that a change of state falls into look like a state of their own, which lengthens the others.
    """
    limits = {}
    for windows in (10, 60):
        sums = counts[: len(counts) // windows * windows].reshape(-1, windows).sum(axis=1)
        if len(sums) >= _LEAST_SUMS:
            limits[windows * window_s] = sums.var(ddof=1) / sums.mean()
    for factor in np.linspace(1.0, 0.4, 31):
        stays_s = _plain(factor * np.array(process.mean_stays_s))
        shorter = Mmpp(rates_per_s=process.rates_per_s, mean_stays_s=stays_s, next_state=process.next_state)
        if all(shorter.index_of_dispersion(length_s) <= limit for length_s, limit in limits.items()):
            break
    return shorter


def _sequences(counts: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(counts, expected) as equal stretches, (stretches, windows) each, that are taken to be independent."""
    n = len(counts)
    stretches = int(np.clip(n // _LEAST_SEQUENCE, 1, _SEQUENCES))
    length = min(n // stretches, _MOST_WINDOWS // stretches)
    begins = np.linspace(0, n - length, stretches).astype(np.int64)
    places = begins[:, None] + np.arange(length)
    return counts[places].astype(float), expected[places]


def _baum_welch(table: np.ndarray, mean: np.ndarray, states: int) -> Rates:
    """Multipliers of the expected counts, transitions and log-likelihood, after at most 150 rounds."""
    ratios = table.sum() / mean.sum() * _first_guess(table, states)
    moves = np.full((states, states), 0.1 / (states - 1))
    np.fill_diagonal(moves, 0.9)
    shares, likelihood = np.full(states, 1 / states), -np.inf
    log_mean, constant = np.log(np.maximum(mean, 1e-300)), gammaln(table + 1)
    for _ in range(_ROUNDS):
        log_chances = (
            table[..., None] * (log_mean[..., None] + np.log(ratios)) - mean[..., None] * ratios - constant[..., None]
        )
        top = log_chances.max(axis=-1, keepdims=True)
        occupied, moved, scales = _forward_backward(np.exp(log_chances - top), moves, shares)
        before, likelihood = likelihood, float(np.log(scales).sum() + top.sum())
        weights = occupied.reshape(-1, states)
        ratios = np.maximum(weights.T @ table.ravel() / np.maximum(weights.T @ mean.ravel(), 1e-300), 1e-6)
        moves = np.maximum(moved, 1e-300) / np.maximum(moved.sum(axis=1, keepdims=True), 1e-300)
        shares = weights.mean(axis=0)
        if abs(likelihood - before) < _STEADY_GAIN * abs(likelihood):
            break
    return ratios, moves, likelihood


def _first_guess(table: np.ndarray, states: int) -> np.ndarray:
    """Rates over the mean rate that the counts themselves suggest: means of equal parts of them, in order of size."""
    ordered = np.sort(table.ravel())
    means = np.array([part.mean() for part in np.array_split(ordered, states)])
    return np.maximum(means / max(ordered.mean(), 1e-300), 0.02 * (1 + np.arange(states)))


def _forward_backward(
    chances: np.ndarray, moves: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(P(state) of every window, expected numbers of moves, factors whose product is the likelihood)."""
    stretches, length, states = chances.shape
    ahead, scales = np.empty_like(chances), np.empty((stretches, length))
    state = np.broadcast_to(shares, (stretches, states))
    for i in range(length):
        state = (state @ moves if i else state) * chances[:, i]
        scales[:, i] = np.maximum(state.sum(axis=1), 1e-300)
        state = state / scales[:, i, None]
        ahead[:, i] = state
    behind, moved = np.ones((stretches, states)), np.zeros((states, states))
    occupied = ahead.copy()
    for i in range(length - 1, 0, -1):
        arriving = chances[:, i] * behind / scales[:, i, None]
        moved += moves * (ahead[:, i - 1].T @ arriving)
        behind = arriving @ moves.T
        occupied[:, i - 1] *= behind
    return occupied / np.maximum(occupied.sum(axis=-1, keepdims=True), 1e-300), moved, scales


def _as_process(found: Rates, window_s: float, rate_per_s: float) -> Mmpp:
    """In continuous time: a state that is left with probability p at the end of a window lasts -window / ln(1 - p) on
    average. Rates are scaled to the mean."""
    ratios, moves, _ = found
    leaving = np.clip(1 - np.diag(moves), 1e-6, 1 - 1e-6)
    following = moves.copy()
    np.fill_diagonal(following, 0.0)
    following = following / following.sum(axis=1, keepdims=True)
    following = np.round(following, 4)
    following[np.arange(len(following)), following.argmax(axis=1)] += 1 - following.sum(axis=1)
    ratios = np.where(ratios < 1e-3, 0.0, ratios)
    stays_s = np.maximum(-window_s / np.log1p(-leaving), 0.5 * window_s)
    draft = Mmpp(rates_per_s=_plain(ratios), mean_stays_s=_plain(stays_s), next_state=_rows(following))
    rates = _plain(ratios * (rate_per_s / draft.mean_rate_per_s))
    return Mmpp(rates_per_s=rates, mean_stays_s=draft.mean_stays_s, next_state=draft.next_state)


def _plain(values: np.ndarray) -> tuple[float, ...]:
    """In six digits: a file that people read needs no more."""
    return tuple(float(f"{value:.6g}") for value in values.tolist())


def _rows(table: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(np.round(row, 4).tolist()) for row in table)
