"""A forecast of the time to first token from what a router can know: queue, prefill ahead, and a replica's speed."""

from __future__ import annotations

from sim.routing.scraping import FleetLoad
from sim.work import Request


def predicted_ttft_s(request: Request, fleet: FleetLoad) -> float:
    """Seconds until the first token of a request sent to the fleet now.

    - A replica would take it in: the prefill of the prompts ahead of it and of the uncached part of its own prompt, at
      that replica's speed beside its present batch. If the prompts ahead wait for a slot or for memory, at least the
      wait of the first of them plus the request's own prefill.
    - It would wait in the fleet's queue: the larger of the fleet's predicted wait and the prefill of the queue divided
      among the ready replicas, plus the request's own prefill.
    - No replica is ready: the predicted wait alone, because the speed of a replica that does not exist is unknown.

    The lengths of answers are unknown, so a queue for slots shows only in how long it has lasted.
    """
    replica = fleet.placed(request)
    if replica is None:
        ready = fleet.replicas
        if not ready:
            return fleet.predicted_wait_s
        queued_s = ready[0].prefill_s(fleet.queued_prompt_tokens // len(ready))
        return max(fleet.predicted_wait_s, queued_s) + ready[0].prefill_s(request.input_tokens)
    segments = request.call.segments
    own_tokens = request.input_tokens - (replica.cached_tokens(segments) if segments else 0)
    predicted_s = replica.prefill_s(replica.prefill_tokens_ahead + own_tokens)
    if replica.is_blocked:
        predicted_s = max(predicted_s, replica.oldest_wait_s + replica.prefill_s(own_tokens))
    return predicted_s
