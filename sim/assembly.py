"""What a scenario describes, built of its rooms: the fleet of hardware, engine, supply, scaling and placement."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from math import inf
from typing import Any

from sim.api.provider import ApiProvider
from sim.engine.assembly import replica_maker
from sim.engine.replica import Replica
from sim.fleet.disaggregation import DisaggregatedFleet
from sim.fleet.fleet import Fleet
from sim.fleet.pools import PooledFleet
from sim.fleet.roster import Numbering
from sim.fleet.supply.hazards import Hazards
from sim.fleet.supply.supply import Supply
from sim.hardware.capacity import requests_per_s
from sim.hardware.fits import kv_blocks_of, kv_tokens_of, weight_bytes_per_gpu
from sim.ledger.request_prices import RequestPrices
from sim.moment_zero import MomentZero
from sim.randomness import Streams
from sim.recorder import Recorder
from sim.records import FIRST_POOL
from sim.routing.budget import Budget
from sim.routing.router import Router
from sim.scenarios import Scenario
from sim.schema import each_part
from sim.work import Refusal, Request

AnyFleet = Fleet | PooledFleet | DisaggregatedFleet


def new_replica(env: Any, scenario: Scenario) -> partial[Replica]:
    """A maker of replicas with the hardware, model and engine of a scenario; it takes `on_done` and other hooks."""
    return replica_maker(env, scenario.gpu, scenario.model, scenario.engine, scenario.kv_tiers)


def _recorded_replica(env: Any, scenario: Scenario, recorder: Recorder) -> partial[Replica]:
    return partial(new_replica(env, scenario), gap_histogram=recorder.gap_histogram)


def requests_per_s_on_paper(scenario: Scenario, input_tokens: float, output_tokens: float, itl_s: float) -> float:
    """What one replica of the scenario serves of such requests: its step times say it (`sim/hardware/capacity.py`), or
    the workers of its host."""
    engine = scenario.engine
    on_the_gpus = requests_per_s(
        engine.step_time.build(scenario.gpu, scenario.model, engine),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        itl_s=itl_s,
        max_num_seqs=engine.most_running,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        kv_tokens=kv_tokens_of(scenario.gpu, scenario.model, engine),
        prefill_first=engine.prefill_first is not None,
    )
    if engine.host is None:
        return on_the_gpus
    return min(on_the_gpus, engine.host.requests_per_s(input_tokens, output_tokens))


def new_fleet(
    env: Any, scenario: Scenario, streams: Streams, recorder: Recorder, on_done: Callable[[Request], None]
) -> AnyFleet:
    """The fleet of a scenario: one pool, several behind each other, or prefill and decode apart.

    `on_done(request)` is called once for each request, when it has its outcome.
    """
    engine, split, replica_ids = scenario.engine, scenario.disaggregation, count()
    rows = scenario.pool_list
    stand_ins = {row.on_demand_of: (number,) for number, row in enumerate(rows) if row.on_demand_of is not None}
    fleets = [
        partial(
            _pool, env, row.scenario, streams if row.name == FIRST_POOL else streams.within(row.name), recorder,
            numbering=Numbering((number, *stand_ins.get(number, ())), replica_ids),
        )
        for number, row in enumerate(rows) if row.on_demand_of is None
    ]  # fmt: skip
    if scenario.pools:
        return PooledFleet([new(on_done=on_done) for new in fleets], [p.spill for p in scenario.pools.values()])
    (pool,) = fleets
    if split is None:
        return pool(on_done=on_done)
    decoder = partial(_recorded_replica(env, scenario, recorder), decodes_only=True, max_queue=None)
    return DisaggregatedFleet(
        env,
        new_prefill=partial(pool, scaler=scenario.scaling.model_copy(update={"n_replicas": split.prefill_replicas})),
        new_decode=partial(
            pool,
            new_replica=decoder,
            max_waiting_requests=None,
            patience_s=None,
        ),
        transfer_s=partial(split.transfer_s, scenario.model, engine),
        limits={
            Refusal.OVER_CONTEXT: scenario.max_context_tokens - 1,
            Refusal.OVER_KV_MEMORY: kv_blocks_of(scenario.gpu, scenario.model, engine) * engine.block_tokens,
        },
        on_done=on_done,
    )


def at_the_bills_prices(scenario: Scenario, moment_zero: MomentZero) -> Router:
    """The router of a run: its budget in dollars counts at the bill's prices, the only ones that act on a run."""
    api = scenario.api
    if not isinstance(api, ApiProvider):
        return scenario.routing
    prices = RequestPrices(
        scenario.prices.api, scenario.model.name, moment_zero,
        has_cache=api.prompt_cache is not None, copies=1 if api.hedge is None else 2,
    )  # fmt: skip
    found: Router = each_part(scenario.routing, lambda part: part.at(prices) if isinstance(part, Budget) else part)
    return found


def _pool(
    env: Any, scenario: Scenario, streams: Streams, recorder: Recorder, on_done: Callable[[Request], None],
    **changes: Any,
) -> Fleet:  # fmt: skip
    weight_bytes = weight_bytes_per_gpu(scenario.model, scenario.engine) * scenario.engine.tensor_parallel
    options: dict[str, Any] = dict(
        scaler=scenario.scaling,
        placement=scenario.placement,
        new_replica=_recorded_replica(env, scenario, recorder),
        supply=Supply(scenario.cold_start, weight_bytes, streams),
        victim=scenario.victim,
        streams=streams,
        reliability=scenario.reliability,
        new_hazards=partial(Hazards, env, scenario.reliability, scenario.engine.tensor_parallel, streams),
        max_requests_per_replica=_room_of_a_replica(scenario),
        max_waiting_requests=scenario.queue.max_waiting_requests,
        by_priority=scenario.engine.scheduling_policy == "priority",
        replica_requests_per_s=partial(requests_per_s_on_paper, scenario),
        patience_s=scenario.queue.patience_s,
        recorder=recorder,
        on_done=on_done,
    )
    return Fleet(env, **(options | changes))


def _room_of_a_replica(scenario: Scenario) -> float:
    """Requests that the fleet hands to one replica at once."""
    own_limit = inf if scenario.engine.max_queue is not None else scenario.engine.most_running
    return scenario.queue.max_requests_per_replica or own_limit
