"""Calls as a request log recorded them: tokens, waits, and which prompts share what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

import numpy as np

from sim.work import Call, Segment
from sim.workload.arrivals.replay import Arrived, Excerpt
from sim.workload.tasks.base import Drawn, build_calls


def draw_recorded(excerpt: Excerpt, block: Arrived) -> tuple[Drawn, np.ndarray]:
    """The calls of the block's tasks, and the log row of each call."""
    begin = excerpt.offsets[block.tasks]
    counts = excerpt.offsets[block.tasks + 1] - begin
    offsets = np.concatenate(([0], np.cumsum(counts)))
    rows = excerpt.rows[np.repeat(begin - offsets[:-1], counts) + np.arange(offsets[-1])]
    log, first = excerpt.log, offsets[:-1]
    input_tokens, wait_s, contexts = log.input_tokens[rows], None, None
    if log.task_ids is not None:
        wait_s = np.diff(log.arrived_s[rows], prepend=0.0) if log.wait_s is None else log.wait_s[rows].copy()
        wait_s[first] = 0.0
        shrunk = np.diff(input_tokens, prepend=0) < 0
        shrunk[first] = False
        contexts = np.cumsum(shrunk)
        contexts -= np.repeat(contexts[first], counts)
    return Drawn(offsets, input_tokens, log.output_tokens[rows], wait_s, contexts), rows


def priorities_of(excerpt: Excerpt, block: Arrived) -> Iterable[int]:
    """The priority of each task of the block: that of its first call in the log."""
    priorities = excerpt.log.priorities
    return repeat(0) if priorities is None else priorities[excerpt.rows[excerpt.offsets[block.tasks]]].tolist()


def recorded_calls(
    excerpt: Excerpt, block: Arrived, first_task_id: int, quantiles: Iterable | None = None, waits: bool = True
) -> Iterator[tuple[Call, ...]]:
    """The calls of each task of the block.

    With prefix blocks in the log, prompts share what their block ids share, within one copy of the log; with a prefix
    column, the texts it names, and nothing else. With task ids and neither, each prompt of a task
    is taken to repeat the one before and its answer, unless it is shorter than that prompt: then it starts anew.
    Otherwise prompts share nothing.
    """
    drawn, rows = draw_recorded(excerpt, block)
    if not waits:
        drawn = drawn._replace(wait_s=None)
    log, counts = excerpt.log, np.diff(drawn.offsets)
    if log.hash_ids is not None:
        segments = _block_segments(excerpt, drawn.input_tokens, rows, np.repeat(block.copies, counts))
        return build_calls(drawn, segments, repeat(False), quantiles)
    if log.prefixes is not None:
        copies = np.repeat(block.copies, counts).tolist()
        return build_calls(drawn, map(_of_copy, log.prefixes[rows], copies), repeat(False), quantiles)
    if drawn.contexts is None:
        return build_calls(drawn, repeat(()), repeat(False), quantiles)
    ids = np.repeat(np.arange(first_task_id, first_task_id + len(counts)), counts)
    keys = zip(ids.tolist(), drawn.contexts.tolist(), strict=True)
    return build_calls(drawn, zip(zip(keys, drawn.input_tokens.tolist(), strict=True)), repeat(True), quantiles)


def _of_copy(segments: tuple[Segment, ...], copy: int) -> tuple[Segment, ...]:
    """Copies of a log are other users: they share nothing with one another."""
    return segments if copy == 0 else tuple(((copy, key), tokens) for key, tokens in segments)


def _block_segments(
    excerpt: Excerpt, input_tokens: np.ndarray, rows: np.ndarray, copies: np.ndarray
) -> Iterator[tuple[Segment, ...]]:
    log = excerpt.log
    size, ids, per_copy = log.block_tokens, log.hash_ids, int(np.ptp(log.hash_ids)) + 1
    columns = (input_tokens, log.hash_offsets[rows], log.hash_offsets[rows + 1], copies * per_copy)
    for tokens, begin, end, shift in zip(*(c.tolist() for c in columns), strict=True):
        keys = (ids[begin:end] + shift).tolist()
        segments = [(key, size) for key in keys]
        last = tokens - size * (len(keys) - 1)
        if keys and last < size:
            segments[-1] = (keys[-1], last)
        yield tuple(segments)
