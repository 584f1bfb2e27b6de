"""Replay: the arrival times (and by default the tokens and prefixes) of a request log, as recorded or scaled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from sim.moment_zero import MomentZero
from sim.schema import TraceError
from sim.workload.arrivals.base import Arrivals
from sim.workload.arrivals.compaction import Compaction
from sim.workload.arrivals.days import Days
from sim.workload.arrivals.scale import Scale
from sim.workload.arrivals.sharpened import sharpened
from sim.workload.logs.roles import LogOptions

if TYPE_CHECKING:
    from sim.workload.logs.request_log import RequestLog

_BLOCK = 4096
_BLOCKS = 12
"""Blocks of a log that is drawn anew by blocks of no stated length."""


class Arrived(NamedTuple):
    """A block of n replayed arrivals, in order of time."""

    times_s: np.ndarray  # float64[n], simulated seconds
    tasks: np.ndarray  # int64[n], number of the task in the excerpt
    copies: np.ndarray  # int64[n], number of the copy of the log that it belongs to


@dataclass(frozen=True, eq=False)
class Excerpt:
    """The n tasks of a log that arrive in a time window.

    `rows` holds the log rows of all tasks, end to end; task i has rows[offsets[i]:offsets[i + 1]]. `period_s` is the
    window's length, or, where the log ends first, the time until the last call of these tasks plus one mean gap (or
    tick). The factors on calls, contexts and answers are those of the replay's scale, applied where calls are made of
    rows.
    """

    log: RequestLog
    arrived_s: np.ndarray  # float64[n], seconds after the start of the window
    rows: np.ndarray  # int64[calls]
    offsets: np.ndarray  # int64[n + 1]
    period_s: float
    calls_factor: float = 1.0
    context_factor: float = 1.0
    answer_factor: float = 1.0


class Replay(Arrivals, LogOptions):
    """Arrivals from a request log (formats: `sim.workload.logs`). Moment 0 is `start_s` after the log's first row.

    A task is a row, or all rows of one task id; it is in the excerpt if its first call is. `scale` grows or shrinks the
    log (see Scale), `compaction` shortens the contexts of its sessions (see Compaction). A replay is the same in every
    replication, which then tests nothing; with `bootstrap: days` each replication plays days of the log drawn with
    replacement, sessions whole and at their time of day, working days for working days and weekends for weekends where
    the log has two or more of each. A day that is drawn twice is played the second time by other users, who share no
    prefix with the first. `bootstrap: blocks` does the same with blocks of `block_s`, for a log of less than two days:
    what it says holds for hours like those of the log.

    `dequantize_s` spreads each task uniformly over that long after its time stamp (3 for Mooncake's conversation log).
    `loop` repeats the excerpt until the horizon, each time for different users; without it nothing arrives after its
    end. `lengths_from: log` takes tokens, prefix blocks and calls per task from the log as well, and the lengths and
    tasks groups are not used; `lengths_from: config` takes arrival times only.
    """

    kind: Literal["replay"] = "replay"
    is_random: ClassVar[bool] = False  # a log as recorded is the same under every stream
    start_s: float = Field(0.0, ge=0, description="seconds of the log to skip")
    duration_s: float | None = Field(None, gt=0, description="seconds of the log to replay; null: to its end")
    scale: Scale = Scale()
    compaction: Compaction = Compaction()
    bootstrap: Literal["none", "days", "blocks"] = Field(
        "none",
        description="days: each replication plays days of the log drawn anew; blocks: blocks of block_s; none: all "
        "replications play the log as it is",
    )
    block_s: float | None = Field(None, gt=0, description="seconds of a block; null: a twelfth of the log")
    dequantize_s: float = Field(0.0, ge=0, description="seconds over which coarse time stamps are spread")
    loop: bool = Field(False, description="repeat the excerpt until the horizon")
    lengths_from: Literal["log", "config"] = Field("log", description="where tokens and tasks come from")

    @property
    def ends_by_itself(self) -> bool:
        return True

    @property
    def repeats_itself(self) -> bool:
        """Whether every replication plays the same tasks at the same moments."""
        moves_at_random = self.scale.more_users % 1 or (self.scale.more_users > 1 and not self._plays_days)
        return self.bootstrap == "none" and not moves_at_random and not self.dequantize_s

    @property
    def log(self) -> RequestLog:
        """The whole log. Raises TraceError."""
        from sim.workload.logs.request_log import read  # imported on use, so that runs without a log need no pandas

        return read(self)

    @property
    def excerpt(self) -> Excerpt:
        """The tasks of the time window. Raises TraceError if there are none, or no sessions or days to scale by."""
        log = self.log
        if self.scale.more_calls_per_user != 1 and log.task_ids is None:
            raise TraceError(
                f"{log.path}: arrivals.scale.more_calls_per_user = {self.scale.more_calls_per_user:g} needs sessions; "
                "arrivals.columns.session=... says which column names them; arrivals.scale.more_users needs none"
            )
        if self.compaction.at_tokens is not None and log.task_ids is None:
            raise TraceError(
                f"{log.path}: arrivals.compaction.at_tokens = {self.compaction.at_tokens} needs sessions; "
                "arrivals.columns.session=... says which column names them"
            )
        to_last_midnight = self.bootstrap != "blocks" and self._plays_days
        excerpt = _excerpt(log, self.start_s, self.duration_s, self.dequantize_s, to_last_midnight)
        scale = self.scale
        factors = (scale.more_calls_per_user, scale.longer_contexts, scale.longer_answers, scale.sharper_bursts)
        return excerpt if factors == (1, 1, 1, 1) else _scaled(excerpt, *factors)

    @property
    def days(self) -> Days:
        """The whole days of the time window, or its blocks with `bootstrap: blocks`."""
        excerpt = self.excerpt
        if self.bootstrap == "blocks":
            return Days.blocks(excerpt.period_s, self.block_s or excerpt.period_s / _BLOCKS)
        return _days(excerpt, self.start_s)

    @property
    def _plays_days(self) -> bool:
        """Whether days are moved or drawn as blocks. Raises TraceError where they must and cannot."""
        copies, shift = math.ceil(self.scale.more_users), self.scale.shift
        if self.bootstrap == "blocks":
            return True
        if self.bootstrap == "none" and (copies < 2 or shift == "random"):
            return False
        days = _days(_excerpt(self.log, self.start_s, self.duration_s, self.dequantize_s, False), self.start_s)
        if self.bootstrap == "days" and len(days) < 2:
            what = "arrivals.bootstrap = days needs two whole days"
        elif self.bootstrap == "none" and (len(days) < 2 or days.moved(copies) is None):
            what = f"arrivals.scale.shift = days needs as many whole days as copies, {max(copies, 2)}"
        else:
            return True
        if self.bootstrap == "none" and shift == "auto":
            return False
        raise TraceError(f"{self.log.path}: {what}, and the log has {len(days) or 'none'}")

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
        """Seconds that the replay lasts: the excerpt's period, by a clock that may be faster."""
        return self.excerpt.period_s / self.scale.faster_clock

    @property
    def mean_rate_per_s(self) -> float:
        return len(self.excerpt.arrived_s) / self.excerpt.period_s * self.scale.rate_factor

    def index_of_dispersion(self, window_s: float) -> float:
        """Measured on the excerpt's complete windows, then scaled by the laws of Scale (1 if fewer than 2 windows)."""
        copies, part = divmod(self.scale.more_users, 1)
        width = window_s * self.scale.faster_clock
        excerpt, rng = self.excerpt, np.random.default_rng(0)
        spread = rng.random(len(excerpt.arrived_s)) * self.dequantize_s
        windows = math.floor(excerpt.period_s / width)
        if windows < 2:
            return 1.0
        counts, _ = np.histogram(excerpt.arrived_s + spread, bins=windows, range=(0, windows * width))
        measured = float(counts.var(ddof=1) / counts.mean())
        return (copies * measured + part * (1 + part * (measured - 1))) / (copies + part)

    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        for block in self.arrived(rng, horizon_s):
            yield block.times_s

    def arrived(self, rng: np.random.Generator, horizon_s: float) -> Iterator[Arrived]:
        """Sorted blocks of arrivals in [0, horizon_s), each with its task in the excerpt and its copy."""
        excerpt, scale, period_s = self.excerpt, self.scale, self.excerpt.period_s
        days = self.days if self._plays_days else None
        copies, n = math.ceil(scale.more_users), len(excerpt.arrived_s)
        shifts = np.concatenate(([0.0], rng.random(copies - 1) if days is None else [0.0] * (copies - 1))) * period_s
        for cycle in range(math.ceil(horizon_s * scale.faster_clock / period_s) if self.loop else 1):
            which = np.tile(np.arange(n), copies)
            copy = np.repeat(np.arange(copies), n)
            moments = excerpt.arrived_s[which]
            if days is not None:
                which, copy, moments = self._by_days(rng, days)
            if self.dequantize_s > 0 or scale.more_users < 1:  # else no later draw depends on these
                moments = moments + rng.random(len(which)) * self.dequantize_s
            if copies > 1 and days is None:
                moments = np.where(copy > 0, (moments + shifts[copy]) % period_s, moments)
            if part := scale.more_users % 1:
                kept = (copy % copies < copies - 1) | (rng.random(len(which)) < part)
                moments, which, copy = moments[kept], which[kept], copy[kept]
            order = np.argsort(moments, kind="stable")
            times_s = (moments[order] + cycle * period_s) / scale.faster_clock
            n_before = int(np.searchsorted(times_s, horizon_s))
            first_copy = cycle * copies * (1 if days is None else len(days))
            for i in range(0, n_before, _BLOCK):
                part_of = slice(i, min(i + _BLOCK, n_before))
                yield Arrived(times_s[part_of], which[order[part_of]], copy[order[part_of]] + first_copy)

    def _by_days(self, rng: np.random.Generator, days: Days) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(task, copy, moment) of every task: each copy with its days moved, or drawn anew."""
        copies, parts = math.ceil(self.scale.more_users), []
        played = days.moved(copies) if self.bootstrap == "none" else days.drawn(rng, copies)
        assert played is not None, "refused otherwise"
        for copy in range(copies):
            rows, moments, occurrences = days.played(self.excerpt.arrived_s, played[copy])
            parts.append((rows, copy + copies * occurrences, moments))
        which, copy_of, moments_s = zip(*parts, strict=True)
        return np.concatenate(which), np.concatenate(copy_of), np.concatenate(moments_s)

    @property
    def receipt_lines(self) -> tuple[str, ...]:
        """What is played in place of the log as recorded, one sentence each, for its receipt."""
        days = self.days if self._plays_days else None
        found = list(self.scale.receipt_lines("a random time" if days is None else "whole days"))
        if (at_tokens := self.compaction.at_tokens) is not None:
            found.append(
                f"compaction.at_tokens = {at_tokens:,}: a call over it is preceded by a summary of "
                f"{self.compaction.summary_tokens:,} tokens, with which its context begins anew after the session's "
                "first prompt; keeps moments, answers and what each call adds; changes prompts, and adds the summaries"
            )
        if self.bootstrap == "blocks":
            assert days is not None, "blocks need no days"
            length = f"{len(days)} blocks of {days.edges_s[1]:.0f} s"
            found.append(f"bootstrap = blocks: every replication draws from {length}, with replacement")
        if self.bootstrap == "days":
            assert days is not None, "refused otherwise"
            n_weekend = int(days.is_weekend.sum())
            pools = f"{len(days) - n_weekend} weekdays and {n_weekend} days at weekends, each for its own kind"
            pools = pools if len(days.classes) > 1 else f"{len(days)} days"
            found.append(
                f"bootstrap = days: every replication draws from {pools}, "
                "with replacement; what follows the last whole day stays"
            )
        return tuple(found)


def _days(excerpt: Excerpt, start_s: float) -> Days:
    log = excerpt.log
    zero = None if log.begins_at is None else MomentZero(log.begins_at + timedelta(seconds=start_s), log.zone_name)
    return Days.of(excerpt.period_s, zero)


@lru_cache(maxsize=8)
def _scaled(
    excerpt: Excerpt, calls_factor: float, context_factor: float, answer_factor: float, exponent: float
) -> Excerpt:
    arrived_s = excerpt.arrived_s if exponent == 1 else sharpened(excerpt.arrived_s, excerpt.period_s, exponent)
    return replace(
        excerpt, arrived_s=arrived_s, calls_factor=calls_factor, context_factor=context_factor,
        answer_factor=answer_factor,
    )  # fmt: skip


@lru_cache(maxsize=8)
def _excerpt(
    log: RequestLog, start_s: float, duration_s: float | None, spread_s: float, to_last_midnight: bool
) -> Excerpt:
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
    arrived_s = begun[low:high] - start_s if start_s else begun[low:high]  # long logs are not held twice
    rows = rows[offsets[low] : offsets[high]]
    last_call_s = log.arrived_s[rows].max() - start_s
    mean_gap_s = arrived_s[-1] / max(high - low - 1, 1)
    period_s = max(last_call_s + max(mean_gap_s, spread_s), 1e-3)
    if duration_s is not None and (high < len(begun) or duration_s < period_s):
        period_s = max(duration_s, arrived_s[-1] + spread_s)
    offsets = offsets[low : high + 1] - offsets[low] if low else offsets[: high + 1]
    excerpt = Excerpt(log, arrived_s, rows, offsets, float(period_s))
    if to_last_midnight:  # a last day that is nearly whole is played as a whole one
        excerpt = replace(excerpt, period_s=max(excerpt.period_s, float(_days(excerpt, start_s).edges_s[-1])))
    return excerpt
