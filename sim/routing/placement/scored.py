"""Placements of serving stacks that weigh what a replica has cached against how busy it is.

Both are shown what the replicas really hold, as by events from the engines. Routers that only remember what they have
sent take for cached what was evicted meanwhile; that is not modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from sim.routing.placement.by_load import LoadBased, least_loaded
from sim.views import ReplicaView
from sim.work import Request

_LOAD_AWARE_QUEUE = 128  # llm-d load-aware scorer: a queue this long scores 0

Weight = Field(ge=0, description="weight of this score in the sum")


class PrefixScored(LoadBased):
    """The replica with the highest weighted sum of scores in [0, 1]; ties go to the least loaded, then lowest id.

    The scorers of llm-d's endpoint picker:
    - prefix: share of the prompt that the replica has cached;
    - queue: (longest - own) / (longest - shortest) queue of waiting requests among the replicas; 1 if all are equal;
    - kv: 1 - share of KV memory held by running sequences;
    - session: 1 on the replica of the task's previous call, else 0;
    - load: 0.5 * (1 - min(waiting, 128) / 128).
    Not modelled: prompts are matched to their end, not for 256 blocks at most; ties are not broken by chance.
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


class CacheAware(LoadBased):
    """Where most of the prompt is cached if that is enough of it; on the shortest queue once loads are out of balance.

    With the most and least loaded replicas' requests: if most - least > `balance_abs_threshold` and most > least *
    `balance_rel_threshold`, the least loaded. Else, if the best match covers more than `cache_threshold` of the prompt,
    that replica; else the one with the least in its cache, where new prompts do the least harm. Ties go to the least
    loaded, then the lowest id. After SGLang's router, where the least cached is the smallest of the trees in which it
    keeps what it has sent.
    """

    kind: Literal["cache_aware"] = "cache_aware"
    cache_threshold: float = Field(ge=0, le=1, description="share of the prompt that a match must exceed to count")
    balance_abs_threshold: int = Field(ge=0, description="requests the most loaded may have above the least loaded")
    balance_rel_threshold: float = Field(ge=1, description="multiple of the least loaded's requests it may have")

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
