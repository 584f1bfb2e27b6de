"""A draw of a fitted workload as calls, to be described as the log was."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from sim.randomness import Streams
from sim.work import Segment
from sim.workload.description.calls import Calls
from sim.workload.fitting.fitted import Fitted
from sim.workload.logs.log import RequestLog
from sim.workload.tasks.base import Drawn


def imitated(fitted: Fitted, seed: int, with_prompts: bool = False) -> Calls:
    """The calls of one draw, as long as the log. Later calls of a session follow after its waits, served at once.

    `with_prompts`: also what prompts begin with, of which there may be very much.
    """
    streams = Streams(seed)
    moments = fitted.arrivals.times(streams.generator("arrivals"), fitted.horizon_s)
    begins_s = np.concatenate([*moments, np.empty(0)])
    prompts: list[tuple[Segment, ...]] | None = [] if with_prompts else None
    drawn = list(_drawn(fitted, streams, len(begins_s), prompts))
    input_tokens, output_tokens = (np.concatenate([each[side] for each in drawn]) for side in (1, 2))
    rows, period_s = np.arange(len(input_tokens)), fitted.horizon_s
    arrived_s, offsets, task_ids, wait_s, order = begins_s, np.arange(len(begins_s) + 1), None, None, rows
    if fitted.tasks.mean_calls_per_task > 1:
        counts = np.concatenate([np.diff(each.offsets) for each in drawn])
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        task_ids = np.repeat(np.arange(len(counts)), counts)
        wait_s = np.concatenate([np.zeros(len(e.input_tokens)) if e.wait_s is None else e.wait_s for e in drawn])
        waited = np.cumsum(wait_s)
        arrived_s = begins_s[task_ids] + waited - waited[offsets[:-1]][task_ids]
        order = np.argsort(arrived_s, kind="stable")
        period_s = max(period_s, float(arrived_s.max()) + 1e-3)
    log = RequestLog(
        path="", sha256="", arrived_s=arrived_s if task_ids is None else begins_s[task_ids], input_tokens=input_tokens,
        output_tokens=output_tokens, lines=rows, task_ids=task_ids, wait_s=wait_s, prefixes=_column(prompts),
    )  # fmt: skip
    in_order = task_ids is None
    return Calls(
        log=log, period_s=period_s, tasks_period_s=fitted.horizon_s,
        arrived_s=arrived_s if in_order else arrived_s[order],
        input_tokens=input_tokens if in_order else input_tokens[order],
        output_tokens=output_tokens if in_order else output_tokens[order],
        rows=order, begins_s=begins_s, task_rows=rows, offsets=offsets, zero=None, notes=(),
    )  # fmt: skip


def _column(prompts: list[tuple[Segment, ...]] | None) -> np.ndarray | None:
    if prompts is None:
        return None
    column = np.empty(len(prompts), object)
    column[:] = prompts
    return column


def _drawn(fitted: Fitted, streams: Streams, n: int, prompts: list[tuple[Segment, ...]] | None) -> Iterator[Drawn]:
    """The first n tasks, block by block, as columns: calls of their own would take twenty times the memory.

    `prompts`, if given, gets what each call begins with.
    """
    tasks, lengths = fitted.tasks.in_order(), fitted.lengths.in_order()
    rng, lengths_rng = streams.generator("tasks"), streams.generator("lengths")
    for first in range(0, n, tasks.largest_block):
        drawn = tasks.draw(rng, lengths_rng, lengths, min(tasks.largest_block, n - first))
        if prompts is not None:
            prompts += islice(tasks.segments(drawn, first), len(drawn.input_tokens))
        yield drawn
