"""The base of task shapes: how many calls a task makes, with what tokens, waits and shared prefixes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.random import Generator
from pydantic import Field, field_validator

from sim.schema import Choice
from sim.work import Call, Graph, Segment, TaskProfile
from sim.workload.lengths.base import Lengths

LARGEST_BLOCK = 2048
"""Tasks drawn at once, where a kind does not say less."""

_ROWS_AT_ONCE = 256


class Drawn(NamedTuple):
    """The calls of n tasks as columns, end to end: task i has the rows [offsets[i]:offsets[i + 1]] of m calls."""

    offsets: np.ndarray  # int64[n + 1]
    input_tokens: np.ndarray  # int64[m]
    output_tokens: np.ndarray  # int64[m]
    wait_s: np.ndarray | None  # float64[m], seconds from the answer of the call before; None: 0 everywhere
    contexts: np.ndarray | None  # int64[m], how often the context had been compacted before the call; None: never
    application: np.ndarray | None = None  # int64[n], number of each task's application; None: 0 everywhere
    least_gap_s: np.ndarray | None = None  # float64[m], see Call; None: 0 everywhere
    graphs: list[Graph | None] | None = None  # of each task, see Task; None: chains everywhere
    extended: np.ndarray | None = None  # bool[m], see Call.extends_prefix; None: as the kind of task says
    streams: np.ndarray | None = None  # int64[m, k], what a kind of task keeps of its calls for their segments
    parts: tuple[Drawn | None, ...] = ()  # of a mixture: the tasks of each application


def expected_calls(n_calls: np.ndarray, shares: np.ndarray) -> tuple[float, ...]:
    """Mean number of calls of the tasks that make more than 0, 1, 2, ... calls: sum(n p(n)) / sum(p(n)) over n > i.

    `n_calls` ascend.

    >>> [round(mean, 3) for mean in expected_calls(np.array([1, 5]), np.array([0.5, 0.5]))]
    [3.0, 5.0, 5.0, 5.0, 5.0]
    """
    rest = np.cumsum(shares[::-1])[::-1]  # shares of the tasks that make at least this many calls
    calls = np.cumsum((n_calls * shares)[::-1])[::-1]
    first = np.searchsorted(n_calls, np.arange(int(n_calls[-1])), side="right")
    share, least = rest[first], n_calls[first].astype(float)  # a share may be too small for a float: then, the fewest
    return tuple(np.divide(calls[first], share, out=least, where=share > 0).tolist())


class Tasks(Choice):
    """What a task consists of: its calls, and which of them wait for which.

    The contract of every kind (tests/contracts/test_tasks.py):

    1. `draw(rng, lengths_rng, lengths, n)` returns the calls of n tasks as columns (`Drawn`). All chance comes from the
       two generators: the same streams give the same tasks. If the tasks of one draw differ from each other, those of
       another stream differ from them.
    2. Every task has at least one call. Input and output tokens are >= 1. Waits are >= 0, those of first calls 0.
    3. Where a call has `extends_prefix`, the prompt that goes on from it has more tokens than its prompt and its answer
       together, or the context was compacted and the last of its segments has another key.
    4. The segments of a prompt (key, tokens) hold at most its input tokens, and exactly these where `extends_prefix`
       holds. No two tasks share a key, but for `SHARED_KEY`: the text that all tasks begin with; and where the kind
       says that it `shares_prompts`, those of tasks that were drawn before.
    5. `mean_calls_per_task` is the mean of what `draw` returns; 160 000 tasks come within 10 %.
    6. Optional: with a field `max_context_tokens` no call has more input and output tokens together.

    >>> import sim
    >>> tasks = sim.scenario(tasks="agent").tasks
    >>> isinstance(tasks, sim.Tasks), tasks.mean_calls_per_task > 1
    (True, True)
    """

    if TYPE_CHECKING:  # a class attribute or a property of each kind

        @property
        def uses_lengths(self) -> bool:
            """Whether calls get their tokens from the lengths group."""

        @property
        def largest_block(self) -> int:
            """Tasks that are drawn at once, at least 64: all their calls are in memory together."""

    else:
        largest_block: ClassVar[int] = LARGEST_BLOCK

    shares_prompts: ClassVar[bool] = False
    """Whether prompts of different tasks have more in common than the text that all begin with."""
    extends_prefix: ClassVar[bool]
    """Whether answers become part of later prompts (see Call), where `draw` does not say it of each call."""

    shared_prefix_tokens: int = Field(0, ge=0, description="leading prompt tokens common to all tasks (system prompt)")
    priority_shares: dict[int, float] | None = Field(
        None, description="fraction of the tasks by priority, lower is more urgent; null: all have priority 0"
    )

    @field_validator("priority_shares")
    @classmethod
    def _shares_make_a_whole(cls, shares: dict[int, float] | None) -> dict[int, float] | None:
        if shares is not None and (min(shares.values(), default=0) <= 0 or abs(sum(shares.values()) - 1) > 1e-9):
            raise ValueError("each fraction must be > 0, and their sum 1")
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
        """What routers may know of each drawn task beforehand."""
        return repeat(self.profile)

    def in_order(self) -> Tasks:
        """What draws the tasks of a workload one after the other: itself, or where tasks depend on earlier ones, a copy
        that goes on at each `draw` where it stopped."""
        return self

    @abstractmethod
    def draw(self, rng: Generator, lengths_rng: Generator, lengths: Lengths | None, n: int) -> Drawn:
        """The calls of the next n tasks."""

    @abstractmethod
    def segments(self, drawn: Drawn, first_task_id: int) -> Iterable[tuple[Segment, ...]]:
        """The leading segments (key, tokens) of each drawn prompt that other prompts may share."""

    def calls(self, drawn: Drawn, first_task_id: int, quantiles: Iterable | None = None) -> Iterator[tuple[Call, ...]]:
        """The drawn tasks as tuples of calls. `quantiles`: a pair per call (Call.api_quantiles); None: (0.5, 0.5)."""
        return build_calls(drawn, self.segments(drawn, first_task_id), self.extended(drawn), quantiles)

    def extended(self, drawn: Drawn) -> Iterable[bool]:
        """Whether the answer of each drawn call becomes part of later prompts."""
        return repeat(self.extends_prefix) if drawn.extended is None else drawn.extended.tolist()

    def graphs(self, drawn: Drawn) -> Iterable[Graph | None]:
        """Which calls of each drawn task wait for which; None: each for the one before."""
        return repeat(None) if drawn.graphs is None else drawn.graphs


def build_calls(
    drawn: Drawn, segments: Iterable, extends_prefix: Iterable[bool], quantiles: Iterable | None
) -> Iterator[tuple[Call, ...]]:
    """The calls of each task as a tuple, lazily. `quantiles`: a pair per call; None: (0.5, 0.5)."""
    waits = repeat(0.0) if drawn.wait_s is None else listed(drawn.wait_s)
    pairs = repeat((0.5, 0.5)) if quantiles is None else quantiles
    tokens = (listed(column.astype(np.int64, copy=False)) for column in (drawn.input_tokens, drawn.output_tokens))
    gaps = repeat(0.0) if drawn.least_gap_s is None else listed(drawn.least_gap_s)
    columns = (*tokens, waits, segments, extends_prefix, pairs, gaps)
    # A Call is a tuple: tuple.__new__ makes it at a third of the cost of Call(...).
    made = map(tuple.__new__, repeat(Call), zip(*columns, strict=False))
    if len(drawn.offsets) == len(drawn.input_tokens) + 1:
        return zip(made)  # every task has one call
    return map(tuple, map(islice, repeat(made), np.diff(drawn.offsets).tolist()))


def listed(column: np.ndarray) -> Iterator[Any]:
    """The numbers of a column as Python's own, made a few at a time.

    The numbers of a whole draw would have left the processor's cache by the time the last tasks are made of them.

    >>> list(listed(np.arange(3)))
    [0, 1, 2]
    """
    begins = range(0, len(column), _ROWS_AT_ONCE)
    return chain.from_iterable(column[begin : begin + _ROWS_AT_ONCE].tolist() for begin in begins)
