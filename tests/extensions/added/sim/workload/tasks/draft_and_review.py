"""Tasks of two calls that share no context: a draft, and a review of it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.work import Segment, TaskProfile
from sim.workload.lengths.base import Lengths
from sim.workload.tasks.base import Drawn, Tasks


class DraftAndReview(Tasks):
    """Two calls per task, each with tokens from the lengths group."""

    kind: Literal["draft_and_review"] = "draft_and_review"
    uses_lengths: ClassVar[bool] = True
    extends_prefix: ClassVar[bool] = False
    review_after_s: float = Field(ge=0, description="from the first answer to the second call")

    @property
    def mean_calls_per_task(self) -> float:
        return 2.0

    @property
    def profile(self) -> TaskProfile:
        return TaskProfile(expected_calls=(2.0, 2.0))

    def draw(
        self, rng: np.random.Generator, lengths_rng: np.random.Generator, lengths: Lengths | None, n: int
    ) -> Drawn:
        assert lengths is not None
        wait_s = np.tile([0.0, self.review_after_s], n)
        return Drawn(np.arange(0, 2 * n + 1, 2), *lengths.draw(lengths_rng, 2 * n), wait_s, None)

    def segments(self, drawn: Drawn, first_task_id: int) -> Iterable[tuple[Segment, ...]]:
        return repeat(())
