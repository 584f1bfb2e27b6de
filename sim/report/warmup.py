"""How much of a run's beginning, which was empty, to leave out: MSER-5."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BATCH = 5


class Warmup(NamedTuple):
    """Where a series settles: the `observations` to leave out, and why there is no such number if None."""

    observations: int | None
    reason: str


def mser5(series: np.ndarray, cyclic: bool = False) -> Warmup:
    """The truncation that minimises the standard error of what is left, over means of five observations each.

    sum((Y_i - mean)^2 over i >= d) / (n - d)^2, least over d <= n / 2 (White, An effective truncation heuristic for
    bias reduction in simulation output, 1997; Spratt, An evaluation of contemporary heuristics for the startup problem,
    1998). `series` is float64[n], in order of time: latencies by arrival, or numbers in the system by time bin.

    Refused, with a reason, for a `cyclic` series, which never settles: a whole number of cycles has no warm-up, and
    half a day is none. Refused, too, where the least lies in the second half: then the series has not settled, or is
    too short.

    >>> mser5(np.concatenate([np.linspace(9, 1, 50), np.ones(200)])).observations
    50
    """
    if cyclic:
        return Warmup(None, "traffic has a cycle: leave out no warm-up, but play whole cycles")
    n = len(series) // BATCH
    if n < 4:
        return Warmup(None, f"{len(series)} observations are too few")
    batches = np.asarray(series[: n * BATCH], float).reshape(n, BATCH).mean(axis=1)
    if not np.isfinite(batches).all():
        return Warmup(None, "some observations are infinite: not every request was served")
    left = np.arange(n, 0, -1)
    centred = batches - batches.mean()  # the sums of squares of large numbers would lose digits
    sums, squares = (np.cumsum(values[::-1])[::-1] for values in (centred, centred**2))
    statistic = np.maximum(squares - sums**2 / left, 0.0) / left.astype(float) ** 2
    least = int(np.argmin(statistic[: n - max(n // 10, 2)]))  # the few last batches may be alike by chance
    if least > n // 2:
        return Warmup(None, "the run has not settled: its least varying part begins in its second half")
    return Warmup(least * BATCH, "")
