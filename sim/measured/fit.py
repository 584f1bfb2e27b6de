"""Moves the few constants until predictions meet measurements; says how sure it is, and what it could not tell.

Least squares on log(predicted / measured), with a soft loss against outliers, inside physical bounds. Each constant is
also drawn, weakly, to where it was: a direction the data do not determine stays put. The closed form (`Balance`) is
what is differentiated; after each round every point is played by the simulator and the closed form is corrected to
meet it, so that the fit ends where the simulator agrees with the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log

import numpy as np
from scipy.optimize import least_squares

from sim.measured.closed_form import Balance
from sim.measured.constants import Constant
from sim.measured.play import play
from sim.measured.points import Figures, Point
from sim.measured.server import Server
from sim.measured.what_points_tell import refuse_impossible, to_fit
from sim.schema import ConfigError

_NOISE = (0.10, 0.03, 0.05)
"""Standard deviation of the logarithm expected of a measured TTFT, TPOT and throughput, with the model's own error:
repeats of one measurement differ by 1 % (TPOT) and 2 to 6 % (mean TTFT); throughput mostly repeats the other two."""

_ROUNDS = 6
_STILL = 0.005
_LEARNED = 0.7  # posterior over prior spread below which the data, not the default, decided
_TIED = 0.9  # correlation from which two constants cannot be separated


@dataclass(frozen=True)
class Fitted:
    """One constant before and after. `sigma` is the standard deviation of its logarithm."""

    constant: Constant
    before: float
    after: float
    sigma: float

    @property
    def learned(self) -> bool:
        """Whether the data decided, rather than the default."""
        return self.sigma < _LEARNED * self.constant.spread

    @property
    def at_bound(self) -> bool:
        return not 1.01 * self.constant.low < self.after < 0.99 * self.constant.high


@dataclass(frozen=True)
class Fit:
    """What a calibration came to. Predictions are the simulator's, one for each point."""

    points: tuple[Point, ...]
    before: tuple[Figures, ...]
    after: tuple[Figures, ...]
    server: Server
    constants: tuple[Fitted, ...]
    tied: tuple[tuple[str, str], ...]  # pairs of which only a combination is known


def fit(server: Server, points: Sequence[Point], held: Sequence[str] = ()) -> Fit:
    """Fit the constants of `server`, but for those `held`, to measured points.

    Raises ConfigError if the points do not determine them, TraceError if a point is impossible on this server.
    """
    refuse_impossible(server, points)
    constants = to_fit(server, points, held)
    problem = _Problem(server, points, constants)
    before = problem.played(problem.start)
    log_values, played = problem.start, before
    best_cost, best_log_values, best_played = inf, log_values, played
    for _ in range(_ROUNDS):
        cost = problem.cost(log_values, played)
        if cost < best_cost:
            best_cost, best_log_values, best_played = cost, log_values, played
        problem.correct(log_values, played)
        solution = problem.solve(log_values)
        moved = float(np.abs(solution.x - log_values).max())
        log_values = solution.x
        played = problem.played(log_values)
        if moved < _STILL:
            break
    if problem.cost(log_values, played) >= best_cost:
        log_values, played = best_log_values, best_played
    problem.correct(log_values, played)
    covariance = problem.covariance(log_values)
    sigmas = np.sqrt(np.diag(covariance))
    fitted = [
        Fitted(c, server.value(c), float(np.exp(x)), float(s))
        for c, x, s in zip(constants, log_values, sigmas, strict=True)
    ]
    return Fit(
        tuple(points), before, played, problem.server_at(log_values), tuple(fitted), _tied(constants, covariance)
    )


def errors(points: Sequence[Point], predicted: Sequence[Figures]) -> Figures:
    """Mean absolute relative error of each figure over the points where it tells something; None if nowhere."""
    means: list[float | None] = []
    for kind in range(3):
        pairs = [(point.informative(kind), figures[kind]) for point, figures in zip(points, predicted, strict=True)]
        off = [abs(after / measured - 1) for measured, after in pairs if measured is not None and after is not None]
        means.append(float(np.mean(off)) if off else None)
    return Figures(*means)


def _tied(constants: Sequence[Constant], covariance: np.ndarray) -> tuple[tuple[str, str], ...]:
    sigmas = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sigmas, sigmas)
    n = len(constants)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n) if abs(correlation[i, j]) > _TIED]
    return tuple((constants[i].name, constants[j].name) for i, j in pairs)


class _Problem:
    """Residuals of the points, and of the pull to the defaults, as a function of the constants' logarithms."""

    def __init__(self, server: Server, points: Sequence[Point], constants: Sequence[Constant]):
        self._server, self._points, self._constants = server, points, constants
        self.start = np.log([server.value(c) for c in constants])
        self._bounds = np.log([c.low for c in constants]), np.log([c.high for c in constants])
        self._spread = np.array([c.spread for c in constants])
        self._factor = np.ones((len(points), 3))  # the simulator over the closed form
        self._waiting = np.zeros((len(points), 2))  # TTFT the closed form lacks, and the prompt time it goes with

    def server_at(self, log_values: np.ndarray) -> Server:
        values = {c.name: float(np.exp(x)) for c, x in zip(self._constants, log_values, strict=True)}
        return self._server.with_values(values)

    def played(self, log_values: np.ndarray) -> tuple[Figures, ...]:
        """The figures of every point by the simulator, at constants whose logarithms are `log_values`, float64[k]."""
        server = self.server_at(log_values)
        return tuple(play(point.on(server), point) for point in self._points)

    def _balances(self, log_values: np.ndarray) -> list[Balance]:
        server = self.server_at(log_values)
        by_layout = {layout: Balance(server.on(*layout)) for layout in {point.layout for point in self._points}}
        return [by_layout[point.layout] for point in self._points]

    def correct(self, log_values: np.ndarray, played: Sequence[Figures]) -> None:
        """Make the closed form meet the simulator at `log_values`.

        TTFT that the closed form lacks is waiting for other prompts, so it goes with the time of a prompt.
        """
        for i, (point, balance, seen) in enumerate(zip(self._points, self._balances(log_values), played, strict=True)):
            form = balance.predict(point)
            for kind, (simulated, predicted) in enumerate(zip(seen, form, strict=True)):
                self._factor[i, kind] = (
                    simulated / predicted if simulated is not None and predicted is not None else 1.0
                )
            self._waiting[i] = 0.0, 1.0
            if seen.ttft_s is not None and form.ttft_s is not None and self._factor[i, 0] > 1:
                self._factor[i, 0] = 1.0
                self._waiting[i] = seen.ttft_s - form.ttft_s, balance.prompt_s(point)

    def _data(self, log_values: np.ndarray) -> np.ndarray:
        residuals = []
        for i, (point, balance) in enumerate(zip(self._points, self._balances(log_values), strict=True)):
            form = balance.predict(point)
            for kind, predicted in enumerate(form):
                measured = point.informative(kind)
                if measured is None or predicted is None:
                    continue
                predicted *= self._factor[i, kind]
                if kind == 0 and self._waiting[i, 0]:
                    predicted += self._waiting[i, 0] * balance.prompt_s(point) / self._waiting[i, 1]
                residuals.append(log(predicted / measured) / _NOISE[kind])
        return np.array(residuals)

    def _residuals(self, log_values: np.ndarray) -> np.ndarray:
        return np.concatenate([_soften(self._data(log_values)), (log_values - self.start) / self._spread])

    def solve(self, log_values: np.ndarray):
        inside = np.clip(log_values, self._bounds[0] + 1e-6, self._bounds[1] - 1e-6)
        return least_squares(self._residuals, inside, bounds=self._bounds, diff_step=1e-3, xtol=1e-5, ftol=1e-6)

    def cost(self, log_values: np.ndarray, played: Sequence[Figures]) -> float:
        """Half the sum of squares with the simulator in place of the closed form."""
        data = [
            log(predicted / measured) / noise
            for point, seen in zip(self._points, played, strict=True)
            for kind, (predicted, noise) in enumerate(zip(seen, _NOISE, strict=True))
            if (measured := point.informative(kind)) is not None and predicted is not None
        ]
        if not data:
            raise ConfigError("no point could be played on this server: it refuses all requests (KV memory, max_queue)")
        pull = (log_values - self.start) / self._spread
        return 0.5 * float(np.square(_soften(np.array(data))).sum() + np.square(pull).sum())

    def covariance(self, log_values: np.ndarray) -> np.ndarray:
        """The covariance of the constants' logarithms, float64[k, k], from the Jacobian; widened where the data scatter
        more than `_NOISE` states."""
        n = len(log_values)
        columns = []
        for k in range(n):
            h = np.zeros(n)
            h[k] = 0.01
            columns.append((self._data(log_values + h) - self._data(log_values - h)) / 0.02)
        jacobian, residuals = np.stack(columns, axis=1), _soften(self._data(log_values))
        pull = np.diag(1 / self._spread**2)
        information = jacobian.T @ jacobian
        used = float(np.trace(np.linalg.solve(information + pull, information)))  # constants that the data decided
        scatter = float(np.square(residuals).sum()) / max(len(residuals) - used, 1.0)
        return np.linalg.inv(information / max(scatter, 1.0) + pull)


def _soften(z: np.ndarray) -> np.ndarray:
    """Residuals whose square is the soft L1 loss of scale 3: beyond three deviations an outlier pulls less."""
    loss = 9 * 2 * (np.sqrt(1 + np.square(z / 3)) - 1)
    return np.sign(z) * np.sqrt(loss)
