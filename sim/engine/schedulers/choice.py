"""Which scheduler an engine's flags name, and the longest request that it can serve."""

from __future__ import annotations

from sim.engine.scheduler import Scheduler
from sim.engine.schedulers.decode_only import DecodeScheduler
from sim.engine.schedulers.prefill_first import PrefillFirstScheduler
from sim.engine.schedulers.priority import PriorityScheduler
from sim.engine.schedulers.reserving import ReservingScheduler
from sim.engine.schedulers.tiered import TieredScheduler
from sim.work import Refusal

SCHEDULERS: dict[tuple[str, str], type[Scheduler]] = {
    ("fcfs", "max_utilization"): Scheduler,
    ("fcfs", "guaranteed_no_evict"): ReservingScheduler,
    ("priority", "max_utilization"): PriorityScheduler,
    ("decodes_only", "max_utilization"): DecodeScheduler,
    ("prefill_first", "max_utilization"): PrefillFirstScheduler,
    ("tiered", "max_utilization"): TieredScheduler,
}
"""By (scheduling policy or what `policy_of` says in its place; capacity policy): see `EngineFlags`."""


def policy_of(scheduling_policy: str, decodes_only: bool, prefill_first: bool, tiered: bool) -> str:
    """The scheduling policy, or what goes before it: each of the others has a scheduler of its own."""
    if tiered:
        return "tiered"
    if prefill_first:
        return "prefill_first"
    return "decodes_only" if decodes_only else scheduling_policy


def token_limits(
    memory_tokens: int, max_model_len: int | None, step_tokens: int | None, prefill_first: bool = False
) -> dict[Refusal, int]:
    """The most input + output - 1 tokens of a request, by what sets them; the last token generated is never in memory.

    `step_tokens`: the budget of a step that must hold a whole prompt, of which a preemption may make all but the last
    token a part; None if prompts are cut. `prefill_first`: input + output must be less than the memory, as SGLang would
    cut the answer to that.
    """
    limits = {Refusal.OVER_KV_MEMORY: memory_tokens - 2 if prefill_first else memory_tokens}
    if max_model_len is not None:
        limits[Refusal.OVER_CONTEXT] = max_model_len - 1
    if step_tokens is not None:
        limits[Refusal.OVER_STEP] = step_tokens
    return limits
