"""Prompts of a run of this program, written out: which text each of them repeats."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from sim.work import SHARED_KEY, Segment
from sim.workload.arrivals.replay import Arrived, Excerpt

if TYPE_CHECKING:
    from sim.workload.logs.log import RequestLog


def kept_segments(
    excerpt: Excerpt, block: Arrived, rows: np.ndarray, offsets: np.ndarray, first_task_id: int
) -> Iterator[tuple[Segment, ...]]:
    """The leading segments of each prompt of the block's tasks; `rows` are log rows, task by task (`offsets`).

    A prompt repeats as much of the call that it goes on from as that one left for it, and then has text of its own. The
    text that prompts of several tasks begin with is taken to be the same within an application, but for calls that do
    not share it with the call before them: those of sub-agents, which have one of their own.
    """
    log = excerpt.log
    kept = log.kept
    assert kept is not None, "a log of this program"
    columns = (log.input_tokens, log.output_tokens, kept.returning, kept.shared, kept.prefix, kept.repeated)
    inputs, outputs, returning, shared, prefix, repeated = (column[rows].tolist() for column in columns)
    applications = [0] * len(rows) if log.applications is None else log.applications[rows].tolist()
    before, bounds = calls_before(log, rows, offsets).tolist(), offsets.tolist()
    for low, high, task, copy in zip(bounds, bounds[1:], count(first_task_id), block.copies.tolist(), strict=False):
        made: list[tuple[Segment, ...]] = []
        kinds: list[int] = []  # 0: the text that the first call of the task begins with; 1: another
        for i in range(low, high):
            last, goes_on = before[i], False
            begun: tuple[Segment, ...] = ()
            if last >= 0 and returning[i]:
                answer = outputs[last] - 1 if repeated[last] else 0  # the last token of an answer is never computed
                goes_on = bool(answer) and returning[i] == inputs[last] + answer
                begun = _cut(made[last - low], returning[i], answer)
                kinds.append(kinds[last - low])
            else:
                kinds.append(0 if last < 0 or not shared[i] else 1 - kinds[last - low])
                if shared[i]:
                    begun = (((copy, applications[i], kinds[-1], SHARED_KEY), shared[i]),)
            rest = prefix[i] - sum(tokens for _, tokens in begun)
            if goes_on and rest > 0:
                begun = (*begun[:-1], (begun[-1][0], begun[-1][1] + rest))
            elif rest > 0:
                begun = (*begun, ((task, i - low), rest))
            made.append(begun)
            yield begun


def calls_before(log: RequestLog, rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """int64[calls]: the place among `rows` of the call that each one goes on from; -1 for the first of a task."""
    before = np.arange(-1, len(rows) - 1)
    before[offsets[:-1]] = -1
    if log.awaited is not None:
        place = dict(zip(rows.tolist(), range(len(rows)), strict=True))
        for i in np.flatnonzero(before >= 0).tolist():
            before[i] = place.get(log.awaited[rows[i]][0], -1)
    return before


def _cut(segments: tuple[Segment, ...], tokens: int, answer_tokens: int) -> tuple[Segment, ...]:
    """The first `tokens` tokens of a prompt with these segments and of `answer_tokens` that continue the last one."""
    found: list[Segment] = []
    for i, (key, size) in enumerate(segments):
        size += answer_tokens if i + 1 == len(segments) else 0
        found.append((key, min(size, tokens)))
        tokens -= found[-1][1]
        if not tokens:
            break
    return tuple(found)
