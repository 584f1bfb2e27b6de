"""What is left of the requests on a replica that stops at once."""

from __future__ import annotations

from typing import NamedTuple

from sim.engine.scheduler import Scheduler
from sim.work import Request


class Leftover(NamedTuple):
    """One request of a lost replica: the tokens it had, and those in the KV memory that is gone."""

    request: Request
    generated_tokens: int
    computed_tokens: int  # of prompt and answer; of a preempted sequence, what it had before
    lost_s: float  # when it was last in the batch


def leftovers(batch: Scheduler, now: float) -> list[Leftover]:
    """The requests of a batch between two steps, running ones first; steps under way are lost, their chunks count."""
    left = []
    for s in batch.running:
        generated, computed = s.request.output_tokens - s.left_tokens, s.computed_tokens
        if s.end_step is not None:
            computed = s.prompt_tokens + batch.step - (s.end_step - s.left_tokens + 2)
            generated += computed - s.prompt_tokens + 1
        left.append(Leftover(s.request, generated, computed, now))
    for s in batch.waiting:
        generated = s.request.output_tokens - s.left_tokens
        left.append(Leftover(s.request, generated, getattr(s, "lost_tokens", 0), getattr(s, "preempted_s", now)))
    return left
