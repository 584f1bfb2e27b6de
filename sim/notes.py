"""What a reader of a run's results should know: what was cut short, what never fit, what adds nothing."""

from __future__ import annotations

from collections.abc import Iterator

from sim.hardware.fits import kv_blocks_of, most_request_tokens, weight_bytes_per_gpu
from sim.records import Facts, Refusal
from sim.scenarios import Scenario


def notes_of(scenario: Scenario, facts: Facts, tasks_running: int) -> Iterator[str]:
    """One line each; `tasks_running` are the tasks without an end when the run was over."""
    if tasks_running:
        cut = f"{tasks_running} of {facts.tasks_started} tasks"
        yield f"{cut} were still running drain_s = {scenario.drain_s:g} s after the traffic's end and were cut short"
    reasons = facts.requests["refusal"]
    for reason in Refusal:
        if reason.is_final and (n := int((reasons == reason).sum())):
            yield f"{n} of {len(reasons)} requests were refused, as they never fit: {_what_is_over(reason, scenario)}"
    yield from _impatient_scaler(scenario)
    yield from _tiers_without_use(scenario)


def _tiers_without_use(scenario: Scenario) -> Iterator[str]:
    """A tier of a replica no larger than its GPUs' memory holds hardly more than what that holds, too."""
    for pool_name, pool, _ in scenario.pool_list:
        blocks = kv_blocks_of(pool.gpu, pool.model, pool.engine)
        for name, tier in scenario.kv_tiers.items():
            if not tier.shared and tier.blocks(pool.model, pool.engine) <= blocks:
                needed_gb = tier.capacity_gb * blocks / tier.blocks(pool.model, pool.engine)
                yield (
                    f"kv_tiers.{name} of {tier.capacity_gb:g} GB is no larger than the KV memory of a replica's GPUs, "
                    f"{needed_gb:.0f} GB in pool {pool_name}: it adds next to nothing"
                )


def _impatient_scaler(scenario: Scenario) -> Iterator[str]:
    """A scaler that looks again before its last order is there acts on a load that the order has yet to relieve."""
    tick_s = scenario.scaling.tick_s
    start_s = scenario.cold_start.mean_s(
        weight_bytes_per_gpu(scenario.model, scenario.engine) * scenario.engine.tensor_parallel
    )
    if tick_s is not None and tick_s < start_s and not scenario.scaling.is_patient:
        yield (
            f"scaling looks every {tick_s:g} s, a replica takes about {start_s:.0f} s to start, and "
            f"{scenario.scaling.kind} does not wait for those that are starting: it may start and release them again "
            f"and again; see scaling.waits_for_starting or a longer tick_s"
        )


def _what_is_over(reason: Refusal, scenario: Scenario) -> str:
    """The limit that a request was over for good, with its tokens of input and output, and the keys that set it."""
    if reason is Refusal.OVER_RATE_LIMIT:
        return "each takes more at once than a rate limit of the API holds (api.burst_s seconds of its quota)"
    pools = (scenario, *map(scenario.of_pool, scenario.pools))
    if reason is Refusal.OVER_CONTEXT:
        most = {pool.max_context_tokens for pool in pools}
        what = f"{scenario.model.name}'s {{}} tokens"
        what += " (engine.max_model_len)" if scenario.engine.max_model_len else ""
    elif reason is Refusal.OVER_KV_MEMORY:
        most = {most_request_tokens(pool.gpu, pool.model, pool.engine) for pool in pools}
        what = "the {} tokens of a replica's KV memory"
    else:
        most = {pool.engine.max_num_batched_tokens + 1 for pool in pools if not pool.engine.chunked_prefill}
        what = "the {} tokens of one step (engine.max_num_batched_tokens, with engine.chunked_prefill=false)"
    return f"longer than {what.format(' or '.join(map(str, sorted(most))))}"
