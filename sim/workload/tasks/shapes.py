"""Task shapes: how many calls a task makes, with what tokens, waits and shared prefixes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice, repeat
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from pydantic import Field, field_validator, model_validator

from sim.schema import Choice
from sim.work import Call, Segment, TaskProfile
from sim.workload.lengths.lengths import Lengths
from sim.workload.spread import Spread

SHARED_KEY = "shared"
"""The stream of the prompt text that all tasks begin with. Streams of single tasks are keyed by numbers or tuples."""


class Drawn(NamedTuple):
    """The calls of n tasks as columns, end to end: task i owns [offsets[i]:offsets[i + 1]]."""

    offsets: np.ndarray
    input_tokens: np.ndarray
    output_tokens: np.ndarray
    wait_s: np.ndarray | None  # None = 0 throughout
    contexts: np.ndarray | None  # how often the task's context had been compacted before the call; None = never
    application: np.ndarray | None = None  # of each task, by number; None = 0 throughout


def expected_calls(n_calls: np.ndarray, shares: np.ndarray) -> tuple[float, ...]:
    """Mean number of calls of the tasks that make more than 0, 1, 2, ... calls: sum(n p(n)) / sum(p(n)) over n > i.

    >>> [round(mean, 3) for mean in expected_calls(np.array([1, 5]), np.array([0.5, 0.5]))]
    [3.0, 5.0, 5.0, 5.0, 5.0]
    """
    beyond = [n_calls > made for made in range(int(n_calls.max()))]
    return tuple(float(n_calls[more] @ shares[more] / shares[more].sum()) for more in beyond)


class Tasks(Choice):
    """What a task consists of: its calls, one after the other.

    The contract of every kind (tests/contracts/test_tasks.py):

    1. `draw(rng, lengths_rng, lengths, n)` returns the calls of n tasks as columns (`Drawn`). All chance comes from the
       two generators: the same streams give the same tasks. If the tasks of one draw differ from each other, those of
       another stream differ from them.
    2. Every task has at least one call. Input and output tokens are >= 1. Waits are >= 0, those of first calls 0.
    3. Where `extends_prefix` holds, each later prompt has more tokens than the prompt and the answer before it
       together, or its context was compacted and the last of its segments has another key.
    4. The segments of a prompt (key, tokens) hold at most its input tokens, exactly so many where `extends_prefix`
       holds. No two tasks share a key, but for `SHARED_KEY`: the text that all tasks begin with.
    5. `mean_calls_per_task` is the mean of what `draw` returns; 160 000 tasks come within 10 %.
    6. Optional: with a field `max_context_tokens` no call has more input and output tokens together.
    """

    uses_lengths: ClassVar[bool]
    """Whether the lengths group says how many tokens a call has."""
    extends_prefix: ClassVar[bool]
    """Whether answers become part of later prompts (see Call)."""

    shared_prefix_tokens: int = Field(0, ge=0, description="leading prompt tokens common to all tasks (system prompt)")
    priority_shares: dict[int, float] | None = Field(
        None, description="share of the tasks by priority, lower = more urgent; None: all have priority 0"
    )

    @field_validator("priority_shares")
    @classmethod
    def _shares_make_a_whole(cls, shares: dict[int, float] | None) -> dict[int, float] | None:
        if shares is not None and (min(shares.values(), default=0) <= 0 or abs(sum(shares.values()) - 1) > 1e-9):
            raise ValueError("each share must be > 0, and their sum 1")
        return shares

    @property
    @abstractmethod
    def mean_calls_per_task(self) -> float:
        """Mean number of calls."""

    @property
    def application_names(self) -> tuple[str, ...]:
        """Names of the applications, by number; empty where there is only one."""
        return ()

    @property
    @abstractmethod
    def profile(self) -> TaskProfile:
        """What routers may know of such a task beforehand."""

    def profiles(self, drawn: Drawn) -> Iterable[TaskProfile]:
        """What they may know of each drawn task."""
        return repeat(self.profile)

    @abstractmethod
    def draw(self, rng: Generator, lengths_rng: Generator, lengths: Lengths | None, n: int) -> Drawn:
        """The calls of the next n tasks."""

    @abstractmethod
    def segments(self, drawn: Drawn, first_task_id: int) -> Iterable[tuple[Segment, ...]]:
        """The shareable leading segments of each drawn prompt."""

    def calls(self, drawn: Drawn, first_task_id: int, quantiles: Iterable | None = None) -> Iterator[tuple[Call, ...]]:
        """The drawn tasks as tuples of calls. `quantiles`: a pair per call (Call.api_quantiles); None = (0.5, 0.5)."""
        return build_calls(drawn, self.segments(drawn, first_task_id), self.extended(drawn), quantiles)

    def extended(self, drawn: Drawn) -> Iterable[bool]:
        """Whether the answer of each drawn call becomes part of later prompts."""
        return repeat(self.extends_prefix)


def build_calls(
    drawn: Drawn, segments: Iterable, extends_prefix: Iterable[bool], quantiles: Iterable | None
) -> Iterator[tuple[Call, ...]]:
    """The calls of each task as a tuple, lazily."""
    waits = repeat(0.0) if drawn.wait_s is None else drawn.wait_s.tolist()
    luck = repeat((0.5, 0.5)) if quantiles is None else quantiles
    tokens = (column.astype(np.int64, copy=False).tolist() for column in (drawn.input_tokens, drawn.output_tokens))
    columns = (*tokens, waits, segments, extends_prefix, luck)
    # A Call is a tuple: tuple.__new__ makes it at a third of the cost of Call(...).
    made = map(tuple.__new__, repeat(Call), zip(*columns, strict=False))
    if len(drawn.offsets) == len(drawn.input_tokens) + 1:
        return zip(made)  # one call per task
    return (tuple(islice(made, count)) for count in np.diff(drawn.offsets).tolist())


class SingleCall(Tasks):
    """One call per task, its tokens from the lengths group. Prompts share their first `shared_prefix_tokens` (or all of
    a shorter prompt), which are part of the input tokens."""

    kind: Literal["single_call"] = "single_call"
    uses_lengths: ClassVar[bool] = True
    extends_prefix: ClassVar[bool] = False

    @property
    def mean_calls_per_task(self) -> float:
        return 1.0

    @property
    def profile(self) -> TaskProfile:
        return TaskProfile(expected_calls=(1.0,))

    def draw(self, rng: Generator, lengths_rng: Generator, lengths: Lengths | None, n: int) -> Drawn:
        input_tokens, output_tokens = lengths.draw(lengths_rng, n)
        return Drawn(np.arange(n + 1), input_tokens, output_tokens, None, None)

    def segments(self, drawn: Drawn, first_task_id: int) -> Iterable[tuple[Segment, ...]]:
        if not self.shared_prefix_tokens:
            return repeat(())
        if drawn.input_tokens.min() >= self.shared_prefix_tokens:
            return repeat(((SHARED_KEY, self.shared_prefix_tokens),))
        return (((SHARED_KEY, n),) for n in np.minimum(drawn.input_tokens, self.shared_prefix_tokens).tolist())


class AgentLoop(Tasks):
    """A chain of calls: each prompt repeats the one before and its answer, and adds new input (a tool's or a human's).

    input_1 = first_input; input_(j+1) = input_j + output_j + new_input_(j+1). Between an answer and the next call
    passes `wait_s`. Where a call's input + output would exceed `max_context_tokens`, the context is compacted: the
    prompt restarts as first prompt + `summary_tokens` + this call's new input, sharing nothing but the shared prefix
    with what came before. The work of writing the summary is not modelled.
    """

    kind: Literal["agent_loop"] = "agent_loop"
    uses_lengths: ClassVar[bool] = False
    extends_prefix: ClassVar[bool] = True
    calls_per_task: Spread
    first_input_tokens: Spread
    new_input_tokens: Spread
    output_tokens: Spread
    wait_s: Spread = Spread(median=0.0)
    max_context_tokens: int | None = Field(None, ge=1, description="input + output of any call; null = no limit")
    summary_tokens: int = Field(0, ge=0, description="what compaction leaves of the conversation")

    @model_validator(mode="after")
    def _fits(self) -> AgentLoop:
        if self.calls_per_task.lowest < 1 or self.calls_per_task.highest == math.inf:
            raise ValueError("calls_per_task needs bounds: min >= 1 and a max")
        if self.shared_prefix_tokens > self.first_input_tokens.lowest:
            shared, lowest = self.shared_prefix_tokens, self.first_input_tokens.lowest
            raise ValueError(f"shared_prefix_tokens = {shared} must be <= the least first_input_tokens = {lowest:g}")
        if self.max_context_tokens is not None:
            parts = (self.first_input_tokens, self.new_input_tokens, self.output_tokens)
            most = sum(part.highest for part in parts) + self.summary_tokens
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
        output = self.output_tokens.draw_whole(rng, total)
        wait_s = self.wait_s.draw(rng, total)
        wait_s[starts] = 0.0
        added[starts] = first
        grown = np.cumsum(added) + np.concatenate(([0], np.cumsum(output)[:-1]))  # as if all were one long conversation
        before = np.concatenate(([0], (grown + output)[offsets[1:-1] - 1]))
        input_tokens = grown - np.repeat(before, counts)
        contexts = self._compact(offsets, first, added, input_tokens, output)
        return Drawn(offsets, input_tokens, output, wait_s, contexts)

    def _compact(
        self, offsets: np.ndarray, first: np.ndarray, added: np.ndarray, input_tokens: np.ndarray, output: np.ndarray
    ) -> np.ndarray | None:
        """Rewrite, in place, the inputs of tasks that outgrow the context; compactions before each call."""
        limit = self.max_context_tokens
        if limit is None or (input_tokens + output).max() <= limit:
            return None
        contexts = np.zeros(len(output), np.int64)
        outgrown = np.maximum.reduceat(input_tokens + output, offsets[:-1]) > limit
        for task in np.flatnonzero(outgrown).tolist():
            used, times = 0, 0
            for i in range(offsets[task], offsets[task + 1]):
                used += int(added[i])
                if used + output[i] > limit:
                    used, times = int(first[task]) + self.summary_tokens + int(added[i]), times + 1
                input_tokens[i], contexts[i] = used, times
                used += int(output[i])
        return contexts

    def segments(self, drawn: Drawn, first_task_id: int) -> Iterable[tuple[Segment, ...]]:
        counts, shared = np.diff(drawn.offsets), self.shared_prefix_tokens
        keys = np.repeat(np.arange(first_task_id, first_task_id + len(counts)), counts).tolist()
        if drawn.contexts is not None:
            compacted = zip(keys, drawn.contexts.tolist(), strict=True)
            keys = [(key, times) if times else key for key, times in compacted]
        own = zip(keys, (drawn.input_tokens - shared).tolist(), strict=True)
        return zip(repeat((SHARED_KEY, shared)), own, strict=False) if shared else zip(own)
