"""Builds replicas from a GPU, a model and an engine, in one place, so that no option of the engine is forgotten."""

from __future__ import annotations

from functools import partial

from sim.engine.replica import Replica
from sim.hardware.engine import Engine
from sim.hardware.fits import kv_blocks_of
from sim.hardware.flags import max_context_tokens
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model


def replica_maker(env, gpu: Gpu, model: Model, engine: Engine) -> partial[Replica]:
    """A function that makes replicas of this engine in the simulation `env`; they share one step time.

    Call it with `on_done` and any other keyword of `Replica` that the engine does not determine.
    """
    return partial(
        Replica,
        env,
        engine.step_time.build(gpu, model, engine),
        kv_blocks=kv_blocks_of(gpu, model, engine),
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        block_tokens=engine.block_tokens,
        prefix_caching=engine.prefix_caching,
        async_scheduling=engine.async_scheduling,
        scheduling_policy=engine.scheduling_policy,
        capacity_policy=engine.capacity_policy,
        chunked_prefill=engine.chunked_prefill,
        max_queue=engine.max_queue,
        decode_tokens=engine.tokens_per_decode,
        max_model_len=max_context_tokens(model, engine),
    )
