"""The calls of a log that are described: those of a time window, in order of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from pydantic import Field

from sim.moment_zero import MomentZero
from sim.workload.arrivals.replay import Replay
from sim.workload.logs.log import RequestLog
from sim.workload.logs.roles import LogOptions


class DescribedLog(LogOptions):
    """A request log and the part of it to describe."""

    start_s: float = Field(0.0, ge=0, description="seconds of the log to skip")
    duration_s: float | None = Field(None, gt=0, description="seconds of the log to describe; null: to its end")
    dequantize_s: float | None = Field(
        None, ge=0, description="seconds over which coarse time stamps are spread; null: the tick that they sit on"
    )

    @property
    def log(self) -> RequestLog:
        """The whole log. Raises TraceError."""
        from sim.workload.logs.request_log import read  # imported on use, because only reading needs pandas

        return read(self)

    def replay(self, **more: float) -> Replay:
        """The arrivals that play this part of the log as it was recorded."""
        keys = {name: getattr(self, name) for name in DescribedLog.model_fields}
        keys["dequantize_s"] = self.spread_s
        return Replay.model_validate({**keys, **more})

    @property
    def spread_s(self) -> float:
        """Seconds over which each stamp is spread: as told, else the visible tick of the log, else 0."""
        if self.dequantize_s is not None:
            return self.dequantize_s
        return self.log.tick_s or 0.0

    def calls(self) -> Calls:
        """The calls of the tasks that begin in the window. Raises TraceError if there are none."""
        return _calls(self)


@dataclass(frozen=True, eq=False)
class Calls:
    """n calls of m tasks. `arrived_s` and what belongs to it is in order of time; rows of tasks lie end to end."""

    log: RequestLog
    period_s: float  # of the calls
    tasks_period_s: float  # in which tasks begin
    arrived_s: np.ndarray  # float64[n], in order of time, seconds after the start of the window
    input_tokens: np.ndarray  # int64[n], in order of time
    output_tokens: np.ndarray  # int64[n], in order of time
    rows: np.ndarray  # int64[n], rows of the log, in order of time
    begins_s: np.ndarray  # float64[m], when each task begins, in order of time
    task_rows: np.ndarray  # int64[n], rows of the log, task by task
    offsets: np.ndarray  # int64[m + 1]: task i has the rows task_rows[offsets[i]:offsets[i + 1]]
    zero: MomentZero | None  # of second 0; None: the log has no dates
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.arrived_s)

    @property
    def has_sessions(self) -> bool:
        """Whether the log says which calls belong together."""
        return self.log.task_ids is not None

    @property
    def calls_per_task(self) -> np.ndarray:
        """int64[m]."""
        return np.diff(self.offsets)


def _calls(options: DescribedLog) -> Calls:
    log, spread_s, notes = options.log, options.spread_s, []
    excerpt = options.replay().excerpt
    rows, offsets = excerpt.rows, excerpt.offsets
    arrived_s = _picked(log.arrived_s, rows)
    if options.start_s:
        arrived_s = arrived_s - options.start_s
    begins_s = excerpt.arrived_s
    period_s = excerpt.period_s
    if log.task_ids is not None and (unstamped := _without_stamps(log, rows, offsets, arrived_s)).any():
        arrived_s = _by_waits(log, rows, offsets, arrived_s, unstamped)
        notes.append(
            f"{int(unstamped.sum()):,} later calls have no time of their own: placed after the waits of their session, "
            "without the time that the answers took"
        )
        period_s = max(period_s, float(arrived_s.max()) + 1e-3)
    if spread_s:
        shifts = np.random.default_rng(0).random(len(begins_s)) * spread_s
        arrived_s = arrived_s + np.repeat(shifts, np.diff(offsets))
        begins_s = begins_s + shifts
        how = f"as a replay does with arrivals.dequantize_s={spread_s:g}"
        notes.append(f"time stamps come in ticks of {spread_s:g} s: spread evenly over that long, {how}")
    order = None if _ascends(arrived_s) else np.argsort(arrived_s, kind="stable")
    zero = None
    if log.begins_at is not None:
        zero = MomentZero(log.begins_at + timedelta(seconds=options.start_s), log.zone_name)
    in_time = rows if order is None else rows[order]
    return Calls(
        log=log, period_s=period_s, tasks_period_s=excerpt.period_s,
        arrived_s=arrived_s if order is None else arrived_s[order],
        input_tokens=_picked(log.input_tokens, in_time), output_tokens=_picked(log.output_tokens, in_time),
        rows=in_time, begins_s=begins_s if _ascends(begins_s) else np.sort(begins_s), task_rows=rows, offsets=offsets,
        zero=zero, notes=tuple(notes),
    )  # fmt: skip


def _picked(column: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The column at some rows, or itself where these are all of them in order: long logs are not held twice."""
    is_whole = len(rows) == len(column) and rows[0] == 0 and rows[-1] == len(rows) - 1 and _ascends(rows)
    return column if is_whole else column[rows]


def _ascends(values: np.ndarray) -> bool:
    return bool((values[1:] >= values[:-1]).all())


def _without_stamps(log: RequestLog, rows: np.ndarray, offsets: np.ndarray, arrived_s: np.ndarray) -> np.ndarray:
    """bool[n]: later calls that have the stamp of their task's first call although they came after a wait."""
    first_s = np.repeat(arrived_s[offsets[:-1]], np.diff(offsets))
    if log.wait_s is None:
        return np.zeros(len(rows), bool)
    return (arrived_s == first_s) & (log.wait_s[rows] > 0)


def _by_waits(
    log: RequestLog, rows: np.ndarray, offsets: np.ndarray, arrived_s: np.ndarray, unstamped: np.ndarray
) -> np.ndarray:
    """Arrivals, in which the calls of tasks with missing stamps follow one another after their waits."""
    assert log.wait_s is not None, "only calls with waits lack stamps"
    counts = np.diff(offsets)
    waited = np.cumsum(log.wait_s[rows])
    since_first = waited - np.repeat(waited[offsets[:-1]], counts)
    lacks = np.logical_or.reduceat(unstamped, offsets[:-1])
    return np.where(np.repeat(lacks, counts), np.repeat(arrived_s[offsets[:-1]], counts) + since_first, arrived_s)
