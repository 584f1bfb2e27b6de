"""Prompts of a load generator that has fewer of them than it sends requests."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pydantic import Field

from sim.work import Segment
from sim.workload.tasks.base import Drawn
from sim.workload.tasks.single_call import SingleCall


class RepeatedPrompts(SingleCall):
    """Single calls of which the k-th has the text of prompt k modulo `n_distinct`, as far as both are long.

    It has no name in a configuration, because its prompts share text with those of other tasks, which the tasks of a
    scenario do not.
    """

    n_distinct: int = Field(ge=1, description="number of prompts")

    def segments(self, drawn: Drawn, first_task_id: int) -> Iterable[tuple[Segment, ...]]:
        prompts = (first_task_id + np.arange(len(drawn.input_tokens))) % self.n_distinct
        return (((p, n),) for p, n in zip(prompts.tolist(), drawn.input_tokens.tolist(), strict=True))
