"""Placements of serving stacks that weigh what a replica has cached against how busy it is.

What a router knows of the caches is its `index` (sim/routing/placement/prefix_index.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from sim.routing.placement.by_load import least_loaded
from sim.routing.placement.prefix_index import ReadsCaches
from sim.views import ReplicaView
from sim.work import Request

_LOAD_AWARE_QUEUE = 128  # length of queue that scores 0 in llm-d's load-aware scorer

Weight = Field(ge=0, description="weight of this score in the sum")


class PrefixScored(ReadsCaches):
    """The replica with the highest weighted sum of scores in [0, 1]; ties go to the least loaded, then lowest id.

    The scorers of llm-d's endpoint picker:
    - prefix: share of the prompt that the replica has cached;
    - queue: (longest - own) / (longest - shortest) queue of waiting requests among the replicas; 1 if all are equal;
    - kv: 1 - share of KV memory held by running sequences;
    - session: 1 on the replica of the task's previous call, else 0;
    - load: 0.5 * (1 - min(waiting, 128) / 128).
    Difference: ties are not broken at random.
    """

    kind: Literal["prefix_scored"] = "prefix_scored"
    prefix_weight: float = Weight
    queue_weight: float = Weight
    kv_weight: float = Weight
    session_weight: float = Weight
    load_weight: float = Weight

    @model_validator(mode="after")
    def _something_counts(self) -> PrefixScored:
        if not any(value for name, value in self if name.endswith("_weight")):
            raise ValueError("at least one weight must be > 0")
        return self

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        if len(replicas) == 1:
            return replicas[0]
        queues = [replica.n_waiting for replica in replicas]
        longest, spread = max(queues), max(queues) - min(queues)
        previous_id = -1 if request.previous is None else request.previous.replica_id

        def score(replica: ReplicaView) -> float:
            queue = (longest - replica.n_waiting) / spread if spread else 1.0
            total = self.queue_weight * queue + self.kv_weight * (1.0 - replica.kv_used_fraction)
            if self.prefix_weight and request.call.segments:
                total += self.prefix_weight * replica.cached_tokens(request.call.segments) / request.input_tokens
            if self.load_weight:
                total += self.load_weight * 0.5 * (1 - min(replica.n_waiting, _LOAD_AWARE_QUEUE) / _LOAD_AWARE_QUEUE)
            return total + (self.session_weight if replica.replica_id == previous_id else 0.0)

        return max(replicas, key=lambda r: (score(r), -r.n_outstanding, -r.replica_id))


class CacheAware(ReadsCaches):
    """The replica with the longest cached prefix if that is long enough; the least loaded one if loads are unbalanced.

    With `most` and `least` the requests of the most and the least loaded replica: if most - least >
    `balance_abs_threshold` and most > least * `balance_rel_threshold`, the least loaded. Otherwise, if the best match
    covers more than `cache_threshold` of the prompt, that replica. Otherwise the replica with the least in its cache,
    where a new prompt evicts the least. Ties go to the least loaded, then the lowest id. Source: SGLang's router, which
    takes for the last case the replica with the smallest tree of the prompts that it has sent there.
    """

    kind: Literal["cache_aware"] = "cache_aware"
    cache_threshold: float = Field(ge=0, le=1, description="share of the prompt that a match must exceed to count")
    balance_abs_threshold: int = Field(ge=0, description="requests the most loaded may have above the least loaded")
    balance_rel_threshold: float = Field(ge=1, description="and as a multiple of the least loaded's")

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        if len(replicas) == 1:
            return replicas[0]
        loads = [replica.n_outstanding for replica in replicas]
        most, least = max(loads), min(loads)
        if most - least > self.balance_abs_threshold and most > least * self.balance_rel_threshold:
            return least_loaded(replicas)
        segments = request.call.segments
        if segments:
            held = {replica: replica.cached_tokens(segments) for replica in replicas}
            best = min(replicas, key=lambda r: (-held[r], r.n_outstanding, r.replica_id))
            if held[best] > self.cache_threshold * request.input_tokens:
                return best
        return min(replicas, key=lambda r: (r.kv_filled_fraction, r.n_outstanding, r.replica_id))
