"""A draw of a fitted workload as calls, to be described as the log was."""

from __future__ import annotations

from itertools import chain

import numpy as np

from sim.randomness import Streams
from sim.work import Task
from sim.workload.description.calls import Calls
from sim.workload.fitting.fitted import Fitted
from sim.workload.logs.log import RequestLog
from sim.workload.workload import Workload


def imitated(fitted: Fitted, seed: int) -> Calls:
    """The calls of one draw, as long as the log. Later calls of a session follow after its waits, served at once."""
    workload = Workload(fitted.arrivals, fitted.lengths, fitted.tasks)
    tasks = list(chain.from_iterable(workload.task_blocks(Streams(seed), fitted.horizon_s)))
    begins_s = np.array([task.arrived_s for task in tasks])
    counts = np.array([len(task.calls) for task in tasks])
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    has_sessions = fitted.tasks.mean_calls_per_task > 1
    log, wait_s = _as_log(tasks, counts, has_sessions), _waits(tasks)
    waited = np.cumsum(wait_s)
    arrived_s = log.arrived_s + waited - np.repeat(waited[offsets[:-1]], counts)
    order = np.argsort(arrived_s, kind="stable")
    return Calls(
        log=log, period_s=max(fitted.horizon_s, float(arrived_s.max()) + 1e-3), tasks_period_s=fitted.horizon_s,
        arrived_s=arrived_s[order], input_tokens=log.input_tokens[order], output_tokens=log.output_tokens[order],
        rows=order, begins_s=begins_s, task_rows=np.arange(len(order)), offsets=offsets, zero=None, notes=(),
    )  # fmt: skip


def _as_log(tasks: list[Task], counts: np.ndarray, has_sessions: bool) -> RequestLog:
    calls = [call for task in tasks for call in task.calls]
    return RequestLog(
        path="", sha256="", arrived_s=np.repeat([task.arrived_s for task in tasks], counts),
        input_tokens=np.array([call.input_tokens for call in calls]),
        output_tokens=np.array([call.output_tokens for call in calls]), lines=np.arange(1, len(calls) + 1),
        task_ids=np.repeat(np.arange(len(tasks)), counts) if has_sessions else None, wait_s=_waits(tasks),
    )  # fmt: skip


def _waits(tasks: list[Task]) -> np.ndarray:
    return np.array([call.wait_s for task in tasks for call in task.calls])
