"""Builds replicas from a GPU, a model and an engine, in one place, so that no option of the engine is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sim.engine.hosted import HostedReplica
from sim.engine.kv_tiers import Tier
from sim.engine.lockstep import LockstepReplica
from sim.engine.replica import Replica
from sim.hardware.engine import Engine
from sim.hardware.fits import kv_blocks_of
from sim.hardware.flags import max_context_tokens
from sim.hardware.gpu import Gpu
from sim.hardware.kv_tiers import KvTier
from sim.hardware.model import Model


def replica_maker(
    env, gpu: Gpu, model: Model, engine: Engine, kv_tiers: Mapping[str, KvTier] | None = None
) -> partial[Replica]:
    """A function that makes replicas of this engine in the simulation `env`; they share one step time.

    `kv_tiers`: by name, in the order in which a prompt is looked up. The replicas share those that are `shared`.

    Call it with `on_done` and any other keyword of `Replica` that the engine does not determine.
    """
    ranks, step_time = engine.attention_data_parallel, engine.step_time
    new: Any = Replica
    if engine.host is not None and engine.host.tokenizer_us_per_token:
        new = partial(HostedReplica, host=engine.host)
    if ranks > 1:
        new = LockstepReplica
    return partial(
        new,
        env,
        step_time.lockstep(gpu, model, engine) if ranks > 1 else step_time.build(gpu, model, engine),
        kv_blocks=kv_blocks_of(gpu, model, engine),
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        block_tokens=engine.block_tokens,
        prefix_caching=engine.prefix_caching,
        async_scheduling=engine.async_scheduling,
        scheduling_policy=engine.scheduling_policy,
        capacity_policy=engine.capacity_policy,
        chunked_prefill=engine.chunked_prefill,
        scheduler_reserve_full_isl=engine.scheduler_reserve_full_isl,
        blank_blocks_first=engine.blank_blocks_first,
        prefill_first=engine.prefill_first,
        max_queue=engine.max_queue,
        n_ranks=ranks,
        decode_tokens=engine.tokens_per_decode,
        max_model_len=max_context_tokens(model, engine),
        kv_tiers=partial(_tiers_of_a_replica, _tiers(model, engine, kv_tiers)) if kv_tiers else None,
    )


def _tiers(model: Model, engine: Engine, kv_tiers: Mapping[str, KvTier]) -> list[Tier | partial[Tier]]:
    """For each tier, the one that all replicas share, or a maker of those that each has for itself."""
    makers = [
        partial(
            Tier, number, tier.blocks(model, engine), engine.block_tokens, tier.block_s(model, engine), tier.latency_s
        )
        for number, tier in enumerate(kv_tiers.values())
    ]
    return [make() if tier.shared else make for make, tier in zip(makers, kv_tiers.values(), strict=True)]


def _tiers_of_a_replica(tiers: list[Tier | partial[Tier]]) -> list[Tier]:
    return [tier() if isinstance(tier, partial) else tier for tier in tiers]
