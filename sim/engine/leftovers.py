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
            computed = s.decoded_tokens(batch.step)
            generated += computed - s.prompt_tokens + 1
        left.append(Leftover(s.request, generated, computed, now))
    for s in batch.waiting:
        generated = s.request.output_tokens - s.left_tokens
        left.append(Leftover(s.request, generated, s.lost_tokens, now if s.preempted_s is None else s.preempted_s))
    return left
