"""Tasks of one call each."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from sim.work import SHARED_KEY, Segment, TaskProfile
from sim.workload.lengths.base import Lengths
from sim.workload.tasks.base import Drawn, Tasks


class OneCall(Tasks):
    """One call per task, with tokens from the lengths group."""

    uses_lengths: ClassVar[bool] = True
    extends_prefix: ClassVar[bool] = False

    @property
    def mean_calls_per_task(self) -> float:
        return 1.0

    @property
    def profile(self) -> TaskProfile:
        return TaskProfile(expected_calls=(1.0,))

    def draw(self, rng: Generator, lengths_rng: Generator, lengths: Lengths | None, n: int) -> Drawn:
        assert lengths is not None  # `uses_lengths`
        input_tokens, output_tokens = lengths.draw(lengths_rng, n)
        return Drawn(np.arange(n + 1), input_tokens, output_tokens, None, None)


class SingleCall(OneCall):
    """One call per task, with tokens from the lengths group. All prompts share their first `shared_prefix_tokens` (a
    shorter prompt shares all of its tokens), which are part of the input tokens."""

    kind: Literal["single_call"] = "single_call"

    def segments(self, drawn: Drawn, first_task_id: int) -> Iterable[tuple[Segment, ...]]:
        if not self.shared_prefix_tokens:
            return repeat(())
        if drawn.input_tokens.min() >= self.shared_prefix_tokens:
            return repeat(((SHARED_KEY, self.shared_prefix_tokens),))
        return (((SHARED_KEY, n),) for n in np.minimum(drawn.input_tokens, self.shared_prefix_tokens).tolist())
