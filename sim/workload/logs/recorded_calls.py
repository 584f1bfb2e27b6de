"""Calls as a request log recorded them: tokens, waits, and which prompts share what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.work import Call, Graph, Segment
from sim.workload.arrivals.replay import Arrived, Excerpt
from sim.workload.logs.kept_prompts import kept_segments
from sim.workload.logs.waits import contexts_of
from sim.workload.tasks.base import Drawn, build_calls

if TYPE_CHECKING:
    from sim.workload.logs.request_log import RequestLog


def draw_recorded(excerpt: Excerpt, block: Arrived) -> tuple[Drawn, np.ndarray]:
    """The calls of the block's tasks, and the log row of each call, int64[m calls].

    Calls that the scale adds follow the call that they repeat, on the same context; waits are shorter by the factor.
    """
    begin = excerpt.offsets[block.tasks]
    counts = excerpt.offsets[block.tasks + 1] - begin
    offsets = np.concatenate(([0], np.cumsum(counts)))
    rows = excerpt.rows[np.repeat(begin - offsets[:-1], counts) + np.arange(offsets[-1])]
    log, first = excerpt.log, offsets[:-1]
    input_tokens, wait_s, contexts = log.input_tokens[rows], None, None
    if log.task_ids is not None:
        wait_s = None if log.wait_s is None else log.wait_s[rows]
        of_graph = log.awaited is not None
        contexts = contexts_of(log, rows, offsets) if of_graph else _contexts(log, rows, first, counts)
    least_gap_s = None if log.least_gap_s is None else log.least_gap_s[rows]
    if excerpt.context_factor != 1:
        input_tokens = np.maximum(np.rint(input_tokens * excerpt.context_factor).astype(np.int64), 1)
    output_tokens = log.output_tokens[rows]
    if excerpt.answer_factor != 1:
        output_tokens = np.maximum(np.rint(output_tokens * excerpt.answer_factor).astype(np.int64), 1)
    drawn = Drawn(offsets, input_tokens, output_tokens, wait_s, contexts, least_gap_s=least_gap_s)
    if excerpt.calls_factor == 1:
        return drawn, rows
    again = np.repeat(np.arange(len(rows)), _times_made(excerpt, rows))
    return _more_often(drawn, again, excerpt.calls_factor), rows[again]


def _times_made(excerpt: Excerpt, rows: np.ndarray) -> np.ndarray:
    """How often each call is made, int64 as `rows`: evenly over the log, so that the sum is the factor's."""
    times = np.floor(excerpt.calls_factor * (rows + 1)) - np.floor(excerpt.calls_factor * rows)
    return times.astype(np.int64)


def calls_per_task(excerpt: Excerpt) -> np.ndarray:
    """int64[n]: the calls of each task of the excerpt, with those that its scale adds."""
    if excerpt.calls_factor == 1:
        return np.diff(excerpt.offsets)
    return np.add.reduceat(_times_made(excerpt, excerpt.rows), excerpt.offsets[:-1])


def _more_often(drawn: Drawn, again: np.ndarray, factor: float) -> Drawn:
    """The calls `again`, numbers of drawn calls in order; what lies between two calls is divided by the factor."""
    waits = {"wait_s": drawn.wait_s, "least_gap_s": drawn.least_gap_s}
    shorter: dict[str, Any] = {n: None if wait is None else wait[again] / factor for n, wait in waits.items()}
    first = np.searchsorted(again, drawn.offsets[:-1])
    for wait in shorter.values():
        if wait is not None:
            wait[first] = 0.0
    contexts = None if drawn.contexts is None else drawn.contexts[again]
    return drawn._replace(
        offsets=np.searchsorted(again, drawn.offsets), input_tokens=drawn.input_tokens[again],
        output_tokens=drawn.output_tokens[again], contexts=contexts, **shorter,
    )  # fmt: skip


def _contexts(log: RequestLog, rows: np.ndarray, first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How often the context of its task had begun anew before each call: where the prompt cannot hold the one before
    and its answer, or where the log says so."""
    both = log.input_tokens[rows] + log.output_tokens[rows]
    anew = log.input_tokens[rows] < np.concatenate(([0], both[:-1]))
    if log.begins_anew is not None:
        anew |= log.begins_anew[rows]
    anew[first] = False
    contexts = np.cumsum(anew)
    return contexts - np.repeat(contexts[first], counts)


def graphs_of(excerpt: Excerpt) -> list[Graph | None]:
    """The graph of each task of an excerpt; None for chains, and for all where the scale adds calls."""
    awaited = excerpt.log.awaited
    bounds = excerpt.offsets.tolist()
    if awaited is None or excerpt.calls_factor != 1:
        return [None] * (len(bounds) - 1)
    found: list[Graph | None] = []
    for low, high in zip(bounds, bounds[1:], strict=False):
        rows = excerpt.rows[low:high].tolist()
        place = {row: i for i, row in enumerate(rows)}
        graph = tuple(tuple(place[before] for before in awaited[row] if before in place) for row in rows)
        is_chain = all(earlier == (i - 1,) for i, earlier in enumerate(graph) if i)
        found.append(None if is_chain else graph)
    return found


def applications_of(excerpt: Excerpt, block: Arrived) -> np.ndarray | None:
    """The application of each task of the block, int64[n tasks]: that of its first call. None if the log has none."""
    applications = excerpt.log.applications
    return None if applications is None else applications[excerpt.rows[excerpt.offsets[block.tasks]]]


def priorities_of(excerpt: Excerpt, block: Arrived) -> Iterable[int]:
    """The priority of each task of the block: that of its first call in the log."""
    priorities = excerpt.log.priorities
    return repeat(0) if priorities is None else priorities[excerpt.rows[excerpt.offsets[block.tasks]]].tolist()


def recorded_calls(
    excerpt: Excerpt, block: Arrived, first_task_id: int, quantiles: Iterable | None = None, waits: bool = True
) -> Iterator[tuple[Call, ...]]:
    """The calls of each task of the block.

    With prefix blocks in the log, prompts share what their block ids share, within one copy of the log; with a prefix
    column, the texts it names, and nothing else. With task ids and neither, each prompt of a task is taken to repeat
    the one before and its answer, unless it is too short to hold them: then it starts anew. A prompt that neither
    repeats one nor is repeated shares nothing.
    A log of this program says what each prompt shares. Otherwise prompts share nothing.
    """
    drawn, rows = draw_recorded(excerpt, block)
    if not waits:
        drawn = drawn._replace(wait_s=None, least_gap_s=None)
    log, counts = excerpt.log, np.diff(drawn.offsets)
    if log.hash_ids is not None:
        segments = _block_segments(excerpt, drawn.input_tokens, rows, np.repeat(block.copies, counts))
        return build_calls(drawn, segments, repeat(False), quantiles)
    if log.prefixes is not None:
        copies = np.repeat(block.copies, counts).tolist()
        factor = excerpt.context_factor
        texts = log.prefixes[rows] if factor == 1 else [_longer(prefix, factor) for prefix in log.prefixes[rows]]
        return build_calls(drawn, map(_of_copy, texts, copies), repeat(False), quantiles)
    if drawn.contexts is None:
        return build_calls(drawn, repeat(()), repeat(False), quantiles)
    if log.kept is not None and excerpt.calls_factor == excerpt.context_factor == 1:
        told = kept_segments(excerpt, block, rows, drawn.offsets, first_task_id)
        return build_calls(drawn, told, (log.kept.repeated[rows] == 1).tolist(), quantiles)
    ids = np.repeat(np.arange(first_task_id, first_task_id + len(counts)), counts)
    is_alone = _alone_in_context(ids, drawn.contexts)
    if log.awaited is not None:  # calls of one conversation need not stand side by side
        _, which, times = np.unique(ids * (len(ids) + 1) + drawn.contexts, return_inverse=True, return_counts=True)
        is_alone = times[which] == 1
    columns = (ids.tolist(), drawn.contexts.tolist(), drawn.input_tokens.tolist(), is_alone.tolist())
    own = (() if alone else (((task, context), n),) for task, context, n, alone in zip(*columns, strict=True))
    return build_calls(drawn, own, (~is_alone).tolist(), quantiles)


def _alone_in_context(tasks: np.ndarray, contexts: np.ndarray) -> np.ndarray:
    """Which calls go on from no other and are gone on from by none: their prompts have nothing to share."""
    differs = np.concatenate(([True], (np.diff(tasks) != 0) | (np.diff(contexts) != 0), [True]))
    return differs[:-1] & differs[1:]


def _longer(segments: tuple[Segment, ...], factor: float) -> tuple[Segment, ...]:
    """Segments with their tokens times `factor`; rounded down, so that a prompt can still hold them."""
    return tuple((key, max(int(tokens * factor), 1)) for key, tokens in segments)


def _of_copy(segments: tuple[Segment, ...], copy: int) -> tuple[Segment, ...]:
    """Copies of a log are other users: they share nothing with one another."""
    return segments if copy == 0 else tuple(((copy, key), tokens) for key, tokens in segments)


def _block_segments(
    excerpt: Excerpt, input_tokens: np.ndarray, rows: np.ndarray, copies: np.ndarray
) -> Iterator[tuple[Segment, ...]]:
    """The runs of blocks of each call's prompt as segments, as far as the prompt reaches; int64[m calls] each."""
    size, runs = excerpt.log.block_tokens, excerpt.log.block_runs
    assert size is not None and runs is not None, "a log has both or none"
    counts = runs.offsets[rows + 1] - runs.offsets[rows]
    offsets = np.concatenate(([0], np.cumsum(counts)))
    calls = np.repeat(np.arange(len(rows)), counts)
    places = np.arange(offsets[-1]) + (runs.offsets[rows] - offsets[:-1])[calls]
    ends = np.rint(size * excerpt.context_factor * runs.ends[places]).astype(np.int64)
    until = np.minimum(ends, input_tokens[calls])
    before = np.concatenate(([0], until))[:-1]
    before[offsets[:-1][counts > 0]] = 0
    kept = until > before
    keys = runs.ids[places] + (copies * excerpt.log.n_blocks)[calls]
    segments = zip(keys[kept].tolist(), (until - before)[kept].tolist(), strict=True)
    return (tuple(islice(segments, n)) for n in np.bincount(calls[kept], minlength=len(rows)).tolist())
