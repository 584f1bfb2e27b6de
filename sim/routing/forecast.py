"""How long until the first token, as a router can know it: from the queue, the prefill ahead and a replica's speed."""

from __future__ import annotations

from sim.views import FleetView
from sim.work import Request


def predicted_ttft_s(request: Request, fleet: FleetView) -> float:
    """Seconds until the first token of a request sent to the fleet now.

    On the replica where it would be placed: the prompts ahead of it and what of its own is not cached, computed at that
    replica's speed beside its present batch; if those ahead wait for a slot or for memory, at least as long as the
    first of them has waited, and its own prefill. In the fleet's queue: the fleet's predicted wait, or the prefill of
    the queue shared by the ready replicas where that is longer, and its own prefill. With no replica ready, the
    predicted wait alone: nobody knows the speed of a replica that is not there. Answers still to be generated are not
    known either, so a queue for slots is seen only by how long it has lasted.
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
