"""Tasks that are a chain of calls, each repeating the conversation so far."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator
from itertools import chain, repeat
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from sim.work import SHARED_KEY, Segment, TaskProfile
from sim.workload.lengths.base import Lengths
from sim.workload.spread import Spread
from sim.workload.tasks.base import Drawn, Tasks, expected_calls, listed

MOST_CALLS = 100_000
"""Of one task. What routers know of a kind of task is a number for each call that such a task may make."""


class AgentLoop(Tasks):
    """A chain of calls: each prompt repeats the one before and its answer, and adds new input (of a tool or a user).

    input_1 = first_input; input_(j+1) = input_j + output_j + new_input_(j+1). `wait_s` passes between an answer and the
    next call. Where the input + output of a call would exceed `max_context_tokens`, the context is compacted: the
    prompt starts again as first prompt + `summary_tokens` + the new input of this call, and shares nothing but the
    shared prefix with earlier prompts. The work of writing the summary is not modelled.

    A `rewritten_fraction` of the later prompts is changed near its beginning (old tool results are dropped, a date is
    set anew): it has `rewritten_size` times the tokens of the prompt and answer before it, and shares nothing but the
    shared prefix with them.
    """

    kind: Literal["agent_loop"] = "agent_loop"
    uses_lengths: ClassVar[bool] = False
    extends_prefix: ClassVar[bool] = True
    calls_per_task: Spread = Field(description="calls of a task")
    first_input_tokens: Spread = Field(description="input tokens of the first call")
    new_input_tokens: Spread = Field(description="new input tokens of each later call")
    early_input_tokens: tuple[Spread, ...] = Field(
        (), description="new input tokens of the second call, the third, ...; of those after them: new_input_tokens"
    )
    output_tokens: Spread = Field(description="output tokens of a call")
    wait_s: Spread = Field(Spread(median=0.0), description="seconds between an answer and the next call")
    max_context_tokens: int | None = Field(None, ge=1, description="input + output of any call; null = no limit")
    summary_tokens: int = Field(0, ge=0, description="tokens of the summary that replaces a compacted conversation")
    rewritten_fraction: float = Field(0.0, ge=0, le=1, description="of the later prompts, those that share no prefix")
    rewritten_size: Spread = Field(Spread(median=1.0), description="such a prompt over the prompt and answer before it")

    @model_validator(mode="after")
    def _fits(self) -> AgentLoop:
        if self.calls_per_task.lowest < 1 or self.calls_per_task.highest == math.inf:
            raise ValueError("calls_per_task needs bounds: min >= 1 and a max")
        if self.calls_per_task.highest > MOST_CALLS:
            raise ValueError(f"calls_per_task.max = {self.calls_per_task.highest:g}: must be <= {MOST_CALLS:,}")
        if self.shared_prefix_tokens > self.first_input_tokens.lowest:
            shared, lowest = self.shared_prefix_tokens, self.first_input_tokens.lowest
            raise ValueError(f"shared_prefix_tokens = {shared} must be <= the least first_input_tokens = {lowest:g}")
        if self.max_context_tokens is not None:
            added = max(part.highest for part in (self.new_input_tokens, *self.early_input_tokens))
            most = self.first_input_tokens.highest + added + self.output_tokens.highest + self.summary_tokens
            if most > self.max_context_tokens:
                raise ValueError(
                    f"max_context_tokens = {self.max_context_tokens} must hold the largest first prompt + summary + "
                    f"new input + output = {most:g} (give them a max)"
                )
        return self

    @property
    def mean_calls_per_task(self) -> float:
        return self.calls_per_task.whole_moments[0]

    @property
    def profile(self) -> TaskProfile:
        return TaskProfile(expected_calls=expected_calls(*self.calls_per_task.whole_shares))

    def draw(self, rng: Generator, lengths_rng: Generator, lengths: Lengths | None, n: int) -> Drawn:
        counts = self.calls_per_task.draw_whole(rng, n)
        offsets = np.concatenate(([0], np.cumsum(counts)))
        total, starts = int(offsets[-1]), offsets[:-1]
        first = self.first_input_tokens.draw_whole(rng, n)
        added = self.new_input_tokens.draw_whole(rng, total)
        for call, early in enumerate(self.early_input_tokens, 1):
            rows = starts[counts > call] + call
            added[rows] = early.draw_whole(rng, len(rows))
        output = self.output_tokens.draw_whole(rng, total)
        wait_s = self.wait_s.draw(rng, total)
        wait_s[starts] = 0.0
        added[starts] = first
        grown = np.cumsum(added) + np.concatenate(
            ([0], np.cumsum(output)[:-1])
        )  # as if all tasks were one conversation
        before = np.concatenate(([0], (grown + output)[offsets[1:-1] - 1]))
        input_tokens = grown - np.repeat(before, counts)
        rewritten = self._rewritten(rng, starts, total)
        contexts = self._begun_anew(offsets, first, added, input_tokens, output, rewritten)
        return Drawn(offsets, input_tokens, output, wait_s, contexts)

    def _rewritten(self, rng: Generator, starts: np.ndarray, total: int) -> np.ndarray | None:
        """float64[calls], the size of each rewritten prompt over the context before it; 0 for all others."""
        if not self.rewritten_fraction:
            return None
        chosen = rng.random(total) < self.rewritten_fraction
        chosen[starts] = False
        return np.where(chosen, self.rewritten_size.draw(rng, total), 0.0)

    def _begun_anew(
        self, offsets: np.ndarray, first: np.ndarray, added: np.ndarray, input_tokens: np.ndarray, output: np.ndarray,
        rewritten: np.ndarray | None,
    ) -> np.ndarray | None:  # fmt: skip
        """Rewrite `input_tokens` in place where a prompt is rewritten or a task outgrows the context limit.

        Returns int64[calls], how often the context had begun anew before each call; None if it never did.
        """
        limit = math.inf if self.max_context_tokens is None else self.max_context_tokens
        changed = np.maximum.reduceat(input_tokens + output, offsets[:-1]) > limit
        if rewritten is not None:
            changed |= np.maximum.reduceat(rewritten, offsets[:-1]) > 0
        if not changed.any():
            return None
        contexts, least = np.zeros(len(output), np.int64), self.shared_prefix_tokens + 1
        sizes = np.zeros(len(output)) if rewritten is None else rewritten
        for task in np.flatnonzero(changed).tolist():
            used, times = 0, 0
            for i in range(offsets[task], offsets[task + 1]):
                size = sizes[i]
                used, times = (max(round(size * used), least), times + 1) if size else (used + int(added[i]), times)
                if used + output[i] > limit:
                    used, times = int(first[task]) + self.summary_tokens + int(added[i]), times + 1
                input_tokens[i], contexts[i] = used, times
                used += int(output[i])
        return contexts

    def segments(self, drawn: Drawn, first_task_id: int) -> Iterable[tuple[Segment, ...]]:
        counts, shared = np.diff(drawn.offsets), self.shared_prefix_tokens
        ids = range(first_task_id, first_task_id + len(counts))
        keys: Iterator[Hashable] = chain.from_iterable(map(repeat, ids, counts.tolist()))
        if drawn.contexts is not None:
            compacted = zip(keys, listed(drawn.contexts), strict=True)
            keys = ((key, times) if times else key for key, times in compacted)
        unshared = zip(keys, listed(drawn.input_tokens - shared), strict=True)
        return zip(repeat((SHARED_KEY, shared)), unshared, strict=False) if shared else zip(unshared)
