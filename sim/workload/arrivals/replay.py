"""Replay: the arrival times (and by default the tokens and prefixes) of a request log, as recorded or rescaled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from sim.schema import TraceError
from sim.workload.arrivals.base import Arrivals
from sim.workload.logs.roles import LogOptions

if TYPE_CHECKING:
    from sim.workload.logs.request_log import RequestLog

_BLOCK = 4096


class Arrived(NamedTuple):
    """A block of n replayed arrivals, in order of time."""

    times_s: np.ndarray  # float64[n], simulated seconds
    tasks: np.ndarray  # int64[n], number of the task in the excerpt
    copies: np.ndarray  # int64[n], number of the copy of the log that it belongs to


@dataclass(frozen=True)
class Excerpt:
    """The n tasks of a log that arrive in a time window.

    `rows` holds the log rows of all tasks, end to end; task i has rows[offsets[i]:offsets[i + 1]]. `period_s` is the
    window's length, or, where the log ends first, the time until the last call of these tasks plus one mean gap (or
    tick).
    """

    log: RequestLog
    arrived_s: np.ndarray  # float64[n], seconds after the start of the window
    rows: np.ndarray  # int64[calls]
    offsets: np.ndarray  # int64[n + 1]
    period_s: float


class Replay(Arrivals, LogOptions):
    """Arrivals from a request log (formats: `sim.workload.logs`). Moment 0 is `start_s` after the log's first row.

    A task is a row, or all rows of one task id; it is in the excerpt if its first call is. `rate_scale` multiplies the
    mean rate, in one of three ways that give different answers, so one must be named (D is the log's dispersion):

    - `stretch`: time runs faster; D'(w) = D(rate_scale * w). The span shrinks; daily cycles get shorter.
    - `thin`: each task is kept with probability rate_scale <= 1; D'(w) = 1 + rate_scale (D(w) - 1).
    - `superpose`: rate_scale (a whole number) copies of the log, each rotated by a random shift; D'(w) = D(w) for
      windows much shorter than the log. Copies stand for different users, so they share no prefix.

    `dequantize_s` spreads each task uniformly over that long after its time stamp (3 for Mooncake's conversation log).
    `loop` repeats the excerpt until the horizon, each time for different users; without it nothing arrives after its
    end. `lengths_from: log` takes tokens, prefix blocks and calls per task from the log as well, and the lengths and
    tasks groups are not used; `lengths_from: config` takes arrival times only.
    """

    kind: Literal["replay"] = "replay"
    is_random: ClassVar[bool] = False  # a log without rescaling is the same under every stream
    start_s: float = Field(0.0, ge=0, description="seconds of the log to skip")
    duration_s: float | None = Field(None, gt=0, description="seconds of the log to replay; null: to its end")
    rate_scale: float = Field(1.0, gt=0, description="factor on the mean rate")
    rescale: Literal["stretch", "thin", "superpose"] | None = Field(None, description="how to apply rate_scale")
    dequantize_s: float = Field(0.0, ge=0, description="seconds over which coarse time stamps are spread")
    loop: bool = Field(False, description="repeat the excerpt until the horizon")
    lengths_from: Literal["log", "config"] = Field("log", description="where tokens and tasks come from")

    @model_validator(mode="after")
    def _rescale_is_named(self) -> Replay:
        scale, how = self.rate_scale, self.rescale
        if scale != 1 and how is None:
            raise ValueError(f"rate_scale = {scale:g} needs rescale: stretch, thin or superpose")
        if how == "thin" and scale > 1:
            raise ValueError(f"rescale: thin needs rate_scale <= 1, not {scale:g}")
        if how == "superpose" and scale != int(scale):
            raise ValueError(f"rescale: superpose needs a whole rate_scale, not {scale:g}")
        return self

    @property
    def ends_by_itself(self) -> bool:
        return True

    @property
    def log(self) -> RequestLog:
        """The whole log. Raises TraceError."""
        from sim.workload.logs.request_log import read  # imported on use, so that runs without a log need no pandas

        return read(self)

    @property
    def excerpt(self) -> Excerpt:
        """The tasks of the time window. Raises TraceError if there are none."""
        return _excerpt(self.log, self.start_s, self.duration_s, self.dequantize_s)

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings about the log that a reader of the results should know."""
        log = self.log
        if log.tick_s is None or self.dequantize_s > 0:
            return log.notes
        tick = f"time stamps come in ticks of {log.tick_s:g} s: requests of one tick arrive as one burst; "
        return (*log.notes, f"{tick}spread them with dequantize_s={log.tick_s:g}")

    @property
    def default_horizon_s(self) -> float:
        """Seconds that the replay lasts: the excerpt's period, divided by rate_scale with `stretch`."""
        return self.excerpt.period_s / (self.rate_scale if self.rescale == "stretch" else 1)

    @property
    def mean_rate_per_s(self) -> float:
        return len(self.excerpt.arrived_s) / self.excerpt.period_s * self.rate_scale

    def index_of_dispersion(self, window_s: float) -> float:
        """Measured on the excerpt's complete windows, then rescaled by the laws above (1 if fewer than 2 windows)."""
        scale, how = self.rate_scale, self.rescale
        width = window_s * scale if how == "stretch" else window_s
        excerpt, rng = self.excerpt, np.random.default_rng(0)
        spread = rng.random(len(excerpt.arrived_s)) * self.dequantize_s
        windows = math.floor(excerpt.period_s / width)
        if windows < 2:
            return 1.0
        counts, _ = np.histogram(excerpt.arrived_s + spread, bins=windows, range=(0, windows * width))
        measured = float(counts.var(ddof=1) / counts.mean())
        return 1 + scale * (measured - 1) if how == "thin" else measured

    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        for block in self.arrived(rng, horizon_s):
            yield block.times_s

    def arrived(self, rng: np.random.Generator, horizon_s: float) -> Iterator[Arrived]:
        """Sorted blocks of arrivals in [0, horizon_s), each with its task in the excerpt and its copy."""
        excerpt = self.excerpt
        speed = self.rate_scale if self.rescale == "stretch" else 1.0
        copies = int(self.rate_scale) if self.rescale == "superpose" else 1
        shifts = np.concatenate(([0.0], rng.random(copies - 1))) * excerpt.period_s
        for cycle in range(math.ceil(horizon_s * speed / excerpt.period_s) if self.loop else 1):
            n = len(excerpt.arrived_s)
            which = np.tile(np.arange(n), copies)
            copy = np.repeat(np.arange(copies), n)
            moments = excerpt.arrived_s[which]
            if self.dequantize_s > 0 or self.rescale == "thin":  # else no later draw depends on these
                moments += rng.random(len(which)) * self.dequantize_s
            if copies > 1:
                moments = np.where(copy > 0, (moments + shifts[copy]) % excerpt.period_s, moments)
            if self.rescale == "thin":
                kept = rng.random(len(which)) < self.rate_scale
                moments, which, copy = moments[kept], which[kept], copy[kept]
            order = np.argsort(moments, kind="stable")
            times_s = (moments[order] + cycle * excerpt.period_s) / speed
            n_before = int(np.searchsorted(times_s, horizon_s))
            for i in range(0, n_before, _BLOCK):
                part = slice(i, min(i + _BLOCK, n_before))
                yield Arrived(times_s[part], which[order[part]], copy[order[part]] + cycle * copies)


@lru_cache(maxsize=8)
def _excerpt(log: RequestLog, start_s: float, duration_s: float | None, spread_s: float) -> Excerpt:
    end_s = math.inf if duration_s is None else start_s + duration_s
    if log.task_ids is None:
        offsets = np.arange(len(log) + 1)
        rows = offsets[:-1]
        begun = log.arrived_s
    else:
        rows = np.argsort(log.task_ids, kind="stable")  # tasks are numbered in order of their first call
        offsets = np.searchsorted(log.task_ids[rows], np.arange(log.task_ids.max() + 2))
        begun = log.arrived_s[rows[offsets[:-1]]]
    low, high = np.searchsorted(begun, [start_s, end_s])
    if low == high:
        raise TraceError(f"{log.path}: no request arrives from {start_s:g} s to {min(end_s, log.span_s):g} s")
    arrived_s = begun[low:high] - start_s
    rows = rows[offsets[low] : offsets[high]]
    last_call_s = log.arrived_s[rows].max() - start_s
    mean_gap_s = arrived_s[-1] / max(high - low - 1, 1)
    period_s = max(last_call_s + max(mean_gap_s, spread_s), 1e-3)
    if duration_s is not None and (high < len(begun) or duration_s < period_s):
        period_s = max(duration_s, arrived_s[-1] + spread_s)
    return Excerpt(log, arrived_s, rows, offsets[low : high + 1] - offsets[low], float(period_s))
