"""Play one replication of a scenario: the traffic, the gateway, the fleet and the API around one clock."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import simpy

from sim.api.provider import ApiProvider
from sim.api.server import Api
from sim.assembly import AnyFleet, at_the_bills_prices, new_fleet, new_replica
from sim.columns import folder_for
from sim.engine.saturation import most_tokens_per_s
from sim.event_loop import EventLoop
from sim.hot_path import numbers_explained
from sim.moment_zero import MONDAY, MomentZero, on_the_clock
from sim.notes import notes_of
from sim.randomness import Streams
from sim.recorder import Recorder
from sim.records import Facts, PoolFacts, Window
from sim.routing.clients import Clients
from sim.routing.gateway import Gateway
from sim.scenarios import Scenario
from sim.schema import ConfigError
from sim.units import MINUTE_S
from sim.work import Outcome, Request
from sim.workload.arrivals.base import ServerDriven
from sim.workload.mix import AnyWorkload, Mix
from sim.workload.traffic import Traffic

_DRAIN_SLICE_S = 5.0
_SATURATION_SEED = 0


@dataclass(frozen=True)
class Run:
    """One replication of a scenario, played."""

    scenario: Scenario
    seed: int
    replication: int
    facts: Facts
    notes: tuple[str, ...]  # what a reader of the results should know


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """A run makes millions of objects and hardly a reference cycle: looking for them costs an eighth of its time, and a
    quarter where a log is read and the saturated rate measured."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_no_cycle_collection()
def simulate(scenario: Scenario, seed: int | None = None, replication: int = 0, measure_peak: bool = True) -> Run:
    """Play one replication. The same scenario, seed and replication give the same facts on every machine.

    `seed` defaults to the scenario's. Without `measure_peak` the facts lack the saturated throughput. Raises TraceError
    if a log cannot be read.
    """
    seed = scenario.seed if seed is None else seed
    workload = scenario.workload
    moment_zero, given = moment_zero_of(scenario, workload), scenario
    if moment_zero != MONDAY:
        scenario = on_the_clock(scenario, moment_zero)
        workload = scenario.workload
    horizon_s = scenario.horizon_s or workload.default_horizon_s
    world = _World(scenario, Streams(seed, replication), moment_zero)
    if horizon_s is not None:
        _refuse_endless_warmup(scenario, horizon_s)
    all_ended = world.attach(workload, horizon_s)
    with numbers_explained():
        horizon_s = world.play(all_ended if horizon_s is None else horizon_s, scenario.drain_s)
    _refuse_endless_warmup(scenario, horizon_s)
    facts = Facts(
        requests=world.recorder.requests(),
        applications=workload.application_names,
        spans=world.recorder.spans(),
        api_extras=world.recorder.api_extras(),
        window=Window(scenario.warmup_s, horizon_s),
        pools=tuple(_pool_facts(scenario, workload, measure_peak)),
        tasks_started=world.gateway.tasks_started,
        requests_started=world.gateway.requests_started,
        block_tokens=scenario.engine.block_tokens,
        stays=world.recorder.stays(),
        replicas_lost=sum(lost_s >= scenario.warmup_s for lost_s in world.recorder.replica_lost_s),
        moment_zero=moment_zero,
        kv_tiers=tuple(scenario.kv_tiers),
        tier_hits=world.recorder.tier_hits(),
        token_gaps=np.array(world.recorder.gap_histogram.counts, np.int64),
        awaited=world.recorder.awaited(),
    )
    return Run(
        given, seed, replication, facts, (*workload.notes, *notes_of(scenario, facts, world.gateway.tasks_running))
    )


def _pool_facts(scenario: Scenario, workload: AnyWorkload, measure_peak: bool) -> Iterator[PoolFacts]:
    for name, pool, on_demand_of in scenario.pool_list:
        peak = peak_tokens_per_s(pool, workload) if measure_peak else None
        engine = pool.engine
        tokenizes = bool(engine.host and engine.host.tokenizer_us_per_token)
        yield PoolFacts(name, pool.gpu.name, engine.tensor_parallel, engine.most_running, peak, on_demand_of, tokenizes)


def moment_zero_of(scenario: Scenario, workload: AnyWorkload) -> MomentZero:
    """Second 0 of a run: what `starts_at` or a dated log says, else a Monday. Raises ConfigError where both disagree.

    A log's stamps tell its moment to the second, people to the minute.
    """
    log, told = workload.moment_zero, None if scenario.starts_at is None else MomentZero.parse(scenario.starts_at)
    if log is None:
        return MONDAY if told is None else told
    if told is None:
        return log
    both = MomentZero(log.moment, told.zone_name)
    if not 0 <= (log.moment - told.moment).total_seconds() < MINUTE_S:
        words = f"{both.local(0.0):%Y-%m-%dT%H:%M} {both.zone_name}"
        raise ConfigError(
            f"starts_at = {scenario.starts_at}: the log begins on {both.shown}; leave it to the log (starts_at=null), "
            f"or say starts_at='{words}'"
        )
    return both


def _refuse_endless_warmup(scenario: Scenario, horizon_s: float) -> None:
    if scenario.warmup_s >= horizon_s:
        raise ConfigError(f"warmup_s = {scenario.warmup_s}: must be < the traffic's length of {horizon_s:.0f} s")


class _World:
    """The rooms, wired up around one clock."""

    def __init__(self, scenario: Scenario, streams: Streams, moment_zero: MomentZero):
        self.env = env = EventLoop()
        self.streams = streams
        self.recorder = Recorder(scenario.warmup_s, folder_for(scenario.output.dir))
        routing = at_the_bills_prices(scenario, moment_zero)
        ingress_s = scenario.engine.request_overhead_s if scenario.has_fleet else 0.0
        self.gateway = Gateway(env, routing, streams.generator("routing"), self.recorder, ingress_s)
        queue = scenario.queue
        if queue.client_timeout_s is not None or queue.stopped_fraction:
            self.gateway.clients = Clients(
                env, streams, timeout_s=queue.client_timeout_s, stopped_fraction=queue.stopped_fraction,
                hang_up=self.gateway.hang_up,
            )  # fmt: skip
        self.fleet: AnyFleet | None = None
        self.api: Api | None = None
        if scenario.has_fleet:
            self.fleet = self.gateway.fleet = new_fleet(env, scenario, streams, self.recorder, self.gateway.fleet_done)
        if isinstance(scenario.api, ApiProvider):
            self.api = self.gateway.api = Api(
                env,
                scenario.api,
                self.gateway.api_done,
                patience_s=scenario.queue.patience_s,
                rng=streams.generator("api_outages"),
                max_context_tokens=scenario.max_context_tokens,
            )

    def attach(self, workload: AnyWorkload, horizon_s: float | None) -> simpy.Event:
        """Let the tasks come. The event happens when clients that wait for answers have no task left."""
        env, gateway, all_ended = self.env, self.gateway, self.env.event()
        if not isinstance(workload, Mix) and isinstance(workload.arrivals, ServerDriven):
            traffic = workload.arrivals.traffic(
                env, workload.endless_kinds(self.streams, self.api is not None), self.streams.generator("think_s"),
                gateway.begin, priorities=workload.priorities(self.streams), delay_s=gateway.ingress_s,
                until_s=horizon_s, on_finished=all_ended.succeed,
            )  # fmt: skip
            gateway.on_task_end = traffic.task_ended
        else:
            assert horizon_s is not None  # Only tasks that wait for others may go without: they end with the last one.
            blocks = workload.task_blocks(self.streams, horizon_s, api=self.api is not None)
            Traffic(env, blocks, gateway.begin, delay_s=gateway.ingress_s)
        return all_ended

    def play(self, until: float | simpy.Event, drain_s: float) -> float:
        """Run to the horizon, then until every task begun has ended or `drain_s` is over; leave no request out.

        Returns the horizon: `until`, or when it happened.
        """
        env = self.env
        if isinstance(until, simpy.Event):
            env.run(until=until)
            horizon_s = env.now
        else:
            horizon_s = until
            env.run(until=horizon_s + self.gateway.ingress_s)
        end_s = horizon_s + drain_s
        while env.now < end_s and self.gateway.tasks_running:
            env.run(until=min(env.now + _DRAIN_SLICE_S, end_s))
        for request in self._inside():
            request.end(Outcome.UNFINISHED, None)
            self.recorder.request(request)
        if self.fleet is not None:
            self.fleet.close()
        return horizon_s

    def _inside(self) -> list[Request]:
        return [request for server in (self.fleet, self.api) if server is not None for request in server.unfinished()]


_peaks: dict[str, float] = {}


def peak_tokens_per_s(scenario: Scenario, workload: AnyWorkload) -> float:
    """Input and output tokens per second that one replica serves when never short of work; measured, once per mix.

    See `sim/engine/saturation.py`.
    """
    parts = (scenario.gpu, scenario.model, scenario.engine, *scenario.kv_tiers.values())
    hardware = [part.model_dump() for part in parts]
    key = json.dumps([*hardware, workload.mix_description()], sort_keys=True, default=str)
    if key not in _peaks:
        _peaks[key] = most_tokens_per_s(
            lambda env, **hooks: new_replica(env, scenario)(**hooks, max_queue=None),
            workload.saturating_tasks(Streams(_SATURATION_SEED)),
            scenario.engine.most_running,
        )
    return _peaks[key]
