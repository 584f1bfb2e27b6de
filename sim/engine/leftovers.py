"""What is left of the requests on a replica that is lost from one moment to the next."""

from __future__ import annotations

from typing import NamedTuple

from sim.engine.scheduler import Scheduler
from sim.work import Request


class Leftover(NamedTuple):
    """One request of a lost replica, and how far the replica had come with it.

    `generated_tokens`: tokens of the answer so far. `computed_tokens`: tokens of prompt and answer whose KV is lost; of
    a preempted sequence, those that it had when it was preempted. `lost_s`: when the request was last in the batch.
    `last_token_s`: when its client got a token last; None if it got none.
    """

    request: Request
    generated_tokens: int
    computed_tokens: int
    lost_s: float
    last_token_s: float | None


def leftovers(batch: Scheduler, now: float, step_began_s: float) -> list[Leftover]:
    """The leftovers of a batch that is lost at `now` seconds: those of running requests first, then of waiting ones.

    The step under way, which began at `step_began_s`, yields no token, but the chunks of prompts that it computes count
    as computed.
    """
    left = []
    for sequence in batch.running:
        generated = sequence.generated_before
        computed, last_token_s = sequence.computed_tokens, sequence.last_token_s
        if sequence.is_decoding:
            request, standstill = sequence.request, batch.gaps.standstill
            if last_token_s is None:  # otherwise its first token was its last, and no step has decoded it since
                last_token_s = step_began_s if standstill is None else standstill.since_s
            computed = sequence.decoded_tokens(batch.step)
            generated += computed - sequence.prompt_tokens + 1
            longest_s = batch.gaps.longest_since(sequence.first_decode_step)
            request.longest_gap_s = max(request.longest_gap_s, longest_s)
        left.append(Leftover(sequence.request, generated, computed, now, last_token_s))
    for sequence in batch.waiting:
        generated = sequence.generated_before
        lost_s = now if sequence.preempted_s is None else sequence.preempted_s
        left.append(Leftover(sequence.request, generated, sequence.lost_tokens, lost_s, sequence.last_token_s))
    return left
