"""Prefix reuse: which prompt tokens an ideal prefix cache would hold, with endless memory and with less."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from sim.work import Segment
from sim.workload.description.calls import Calls
from sim.workload.description.sessions import added_tokens

MOST_SEGMENTS = 1_000_000
"""Of longer logs this many leading segments (prefix blocks, or prompts) are looked at."""
_SIZES = tuple(m * 10**e for e in range(3, 11) for m in (1, 2, 5))
_MOST_SIZES = 9
Prompt = tuple[list[Segment], Segment | None]
"""What a prompt begins with, and the segment (key, tokens) that is held once it is answered, if that is longer."""


@dataclass(frozen=True)
class AtSize:
    """The fraction of all prompt tokens that a cache of this size holds when they come, least recently used out."""

    memory_tokens: int
    hit_fraction: float


@dataclass(frozen=True)
class Reuse:
    """Prompt tokens that were already in an earlier prompt, by the log's blocks, prefixes or sessions.

    `by_memory` is one cache for all calls, in order of their arrival, as if every answer came at once.
    """

    known_by: str  # "prefix blocks", "prefixes" or "sessions"
    calls: int  # looked at
    hit_fraction: float  # with endless memory
    distinct_tokens: int  # memory that holds them all
    by_memory: tuple[AtSize, ...]


def reuse_of(calls: Calls) -> Reuse | None:
    """None where the log says neither what prompts begin with nor which calls belong together."""
    log = calls.log
    if log.hash_ids is not None:
        known_by = "prefix blocks"
    elif log.prefixes is not None:
        known_by = "prefixes"
    elif calls.has_sessions:
        known_by = "sessions"
    else:
        return None
    n = _calls_looked_at(calls)
    input_tokens = int(calls.input_tokens[:n].sum())
    endless = _Cache(None)
    hits = sum(endless.hit(*prompt) for prompt in _prompts(calls, n))
    sizes = [size for size in _SIZES if size < endless.held_tokens][-_MOST_SIZES:]
    by_memory = []
    for size in sizes:
        cache = _Cache(size)
        found = sum(cache.hit(*prompt) for prompt in _prompts(calls, n))
        by_memory.append(AtSize(size, found / input_tokens))
    return Reuse(known_by, n, hits / input_tokens, endless.held_tokens, tuple(by_memory))


class _Cache:
    """Segments of text in memory. A prompt finds the leading ones that are held; then all of its own are held, the
    first ones as the most recently used, because the others are worth nothing without them."""

    def __init__(self, size: int | None):
        self.size = size
        self.held: OrderedDict[Hashable, int] = OrderedDict()
        self.held_tokens = 0

    def hit(self, segments: list[Segment], answered: Segment | None) -> int:
        """How many tokens of the prompt are held. Then its segments are."""
        held, found = self.held, 0
        for key, tokens in segments:
            part = held.get(key, 0)
            if part < tokens:
                found += part
                break
            found += tokens
        for key, tokens in reversed(segments):
            before = held.get(key)
            if before is None:
                held[key] = tokens
                self.held_tokens += tokens
                continue
            held.move_to_end(key)
            if tokens > before:
                held[key] = tokens
                self.held_tokens += tokens - before
        if answered is not None:
            key, tokens = answered
            self.held_tokens += tokens - held[key]
            held[key] = tokens
        if self.size is not None:
            while self.held_tokens > self.size and held:
                self.held_tokens -= held.popitem(last=False)[1]
        return found


def _calls_looked_at(calls: Calls) -> int:
    log = calls.log
    if log.hash_offsets is None:
        return min(len(calls), MOST_SEGMENTS)
    lengths = np.cumsum(np.diff(log.hash_offsets)[calls.rows])
    return max(int(np.searchsorted(lengths, MOST_SEGMENTS, side="right")), 1)


def _prompts(calls: Calls, n: int) -> Iterator[Prompt]:
    log = calls.log
    if log.hash_ids is not None:
        return _of_blocks(calls, n)
    if log.prefixes is not None:
        return ((list(log.prefixes[row]), None) for row in calls.rows[:n].tolist())
    return _of_sessions(calls, n)


def _of_blocks(calls: Calls, n: int) -> Iterator[Prompt]:
    log = calls.log
    size, ids, offsets = log.block_tokens, log.hash_ids, log.hash_offsets
    assert size is not None and ids is not None and offsets is not None, "a log has all three or none"
    rows = calls.rows[:n]
    for tokens, begin, end in zip(
        calls.input_tokens[:n].tolist(), offsets[rows].tolist(), offsets[rows + 1].tolist(), strict=True
    ):
        keys = ids[begin:end].tolist()
        segments = list(zip(keys, repeat(size), strict=False))
        last = tokens - size * (len(keys) - 1)
        if keys and 0 < last < size:
            segments[-1] = (keys[-1], last)
        yield segments, None


def _of_sessions(calls: Calls, n: int) -> Iterator[Prompt]:
    """A prompt begins with the prompt and answer before it, unless it begins anew."""
    log, rows = calls.log, calls.task_rows
    task = np.repeat(np.arange(len(calls.offsets) - 1), calls.calls_per_task)
    context = np.cumsum(added_tokens(calls)[1])
    place = np.empty(len(log), np.int64)
    place[rows] = np.arange(len(rows))
    order = place[calls.rows[:n]]
    inputs, outputs = log.input_tokens[rows[order]].tolist(), log.output_tokens[rows[order]].tolist()
    for key, tokens, answer in zip(
        zip(task[order].tolist(), context[order].tolist(), strict=True), inputs, outputs, strict=True
    ):
        yield [(key, tokens)], (key, tokens + answer)
