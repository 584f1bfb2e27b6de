"""WeeklyRate: a smooth weekly rate through 168 hourly points, with an exact integral."""

from __future__ import annotations

import numpy as np

from sim.units import HOUR_S, WEEK_S


class WeeklyRate:
    """The periodic monotone cubic through one point per hour of the week, placed in the middle of its hour.

    The slopes are harmonic means of the neighbouring differences, 0 at a local extreme (Fritsch and Butland 1984), so
    the curve is smooth and never overshoots its points. Scaled so that the mean over a week is `mean_per_s`. Times are
    seconds since Monday 0:00, any real number.
    """

    def __init__(self, points: np.ndarray, mean_per_s: float):
        self._y = y = points * (mean_per_s / points.mean())  # over a week, the slopes add nothing to the integral
        before, after = y - np.roll(y, 1), np.roll(y, -1) - y
        same_way = before * after > 0
        self._slope = np.where(same_way, 2 * before * after / np.where(same_way, before + after, 1.0), 0.0)
        pieces = (y + np.roll(y, -1)) / 2 + (self._slope - np.roll(self._slope, -1)) / 12
        self._area = np.concatenate(([0.0], np.cumsum(pieces)))

    def __call__(self, t_s: np.ndarray) -> np.ndarray:
        """Tasks per second at each time."""
        _, i, u = self._locate(t_s)
        a, b, c, d = self._cubic(i)
        return a + u * (b + u * (c + u * d))

    def integral(self, t_s: np.ndarray) -> np.ndarray:
        """Expected tasks from a fixed origin to each time; only differences have a meaning. Exact."""
        weeks, i, u = self._locate(t_s)
        a, b, c, d = self._cubic(i)
        return HOUR_S * (weeks * self._area[-1] + self._area[i] + u * (a + u * (b / 2 + u * (c / 3 + u * d / 4))))

    def _locate(self, t_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        weeks, within = np.divmod(np.asarray(t_s, dtype=float) - HOUR_S / 2, WEEK_S)
        hours = within / HOUR_S
        i = np.minimum(hours.astype(np.int64), len(self._y) - 1)
        return weeks, i, hours - i

    def _cubic(self, i: np.ndarray) -> tuple[np.ndarray, ...]:
        """Hermite coefficients of piece i in u = hours since its left point."""
        j = (i + 1) % len(self._y)
        y0, y1, s0, s1 = self._y[i], self._y[j], self._slope[i], self._slope[j]
        return y0, s0, 3 * (y1 - y0) - 2 * s0 - s1, 2 * (y0 - y1) + s0 + s1
