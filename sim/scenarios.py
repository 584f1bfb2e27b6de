"""Scenario: all that one simulation needs to know, typed and checked; only `parse` lets configuration in."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple

from omegaconf import DictConfig
from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from sim.api.provider import ApiChoice, ApiProvider
from sim.applications import Application, PlannedApplication
from sim.composer import composed
from sim.composition import Composition, with_parts
from sim.effort import refuse_endless_work
from sim.fleet.disaggregation import Disaggregation
from sim.fleet.pools import Pool
from sim.fleet.supply.cold_starts import ColdStarts
from sim.fleet.supply.reliability import Reliability
from sim.fleet.victims.by_load import LongestIdle
from sim.fleet.victims.victims import Victim
from sim.hardware.engine import Engine
from sim.hardware.fits import refuse_if_too_big
from sim.hardware.flags import max_context_tokens
from sim.hardware.gpu import Gpu
from sim.hardware.kv_tiers import KvTier
from sim.hardware.model import Model
from sim.hydra_door import plain
from sim.ledger.prices import ON_DEMAND, Prices
from sim.moment_zero import MomentZero
from sim.records import FIRST_POOL
from sim.report.slo import Slo
from sim.routing.placement.placement import Placement
from sim.routing.router import Router
from sim.scaling.scaler import Scaler
from sim.schema import Config, ConfigError, OneOf, parse_config
from sim.settings import Output, Queue, Study
from sim.workload.arrivals.base import Source
from sim.workload.lengths.base import Lengths
from sim.workload.mix import AnyWorkload, Mix
from sim.workload.tasks.base import Tasks
from sim.workload.tasks.mixed import ApplicationName
from sim.workload.workload import Workload

TierName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
PoolName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]


def _name_of_a_folder(name: str) -> str:
    if not re.fullmatch(r"\w[\w .,+=@()-]*(?<! )", name) or len(name.encode()) > 150:
        raise ValueError("must begin with a letter or digit and have at most 150 letters, digits, spaces and .,_+=@()-")
    return name


def _a_moment(text: str) -> str:
    MomentZero.parse(text)
    return text


class Scenario(Config):
    """One question: this traffic, on this fleet or API, at these prices, judged by this SLO.

    The run lasts `horizon_s` (None: as long as a replayed log, or until a closed loop has done its tasks), then up to
    `drain_s` more so that the tasks that began before can end. Reported are the tasks that begin between `warmup_s` and
    the horizon, with all their calls. Paid for are the GPU seconds between `warmup_s` and the horizon, and those after
    the horizon in which requests are served.

    >>> import sim
    >>> base = sim.scenario("gpu=l4", horizon_s=3600)
    >>> base.gpu.name, base.replace(gpu="l40s").gpu.name
    ('l4', 'l40s')
    """

    name: Annotated[str, AfterValidator(_name_of_a_folder)] = Field(
        "scenario", description="begins the name of a single run's folder"
    )
    seed: int = Field(0, ge=0, description="of all random streams: the same seed plays the same run")
    replications: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        1,
        description="independent repetitions, each with its own random streams; auto: as many as study.precision needs",
    )
    study: Study = Field(Study(), description="the precision at which replications=auto stops")
    starts_at: Annotated[str, AfterValidator(_a_moment)] | None = Field(
        None,
        description="date, time and zone of second 0, such as 2026-03-02T00:00 Europe/Berlin (no zone: UTC), off which "
        "all hours and weekdays are read; null: as a dated log says, else 2024-05-13T00:00 UTC, a Monday",
    )
    horizon_s: float | None = Field(
        None, gt=0, description="seconds in which tasks may begin; null: as long as the traffic lasts"
    )
    warmup_s: float = Field(0.0, ge=0, description="seconds at the beginning that are simulated but not reported")
    drain_s: float = Field(3600.0, ge=0, description="most seconds after the horizon for tasks to end")
    arrivals: OneOf[Source] = Field(description="when tasks begin")
    lengths: OneOf[Lengths] = Field(description="input and output tokens of a call")
    tasks: OneOf[Tasks] = Field(description="the calls of a task: how many, with what waits and shared prefixes")
    applications: dict[ApplicationName, Application] = Field(
        {}, description="several kinds of traffic at once, by name, in place of the one that the keys above describe"
    )
    gpu: Gpu = Field(description="the card")
    model: Model = Field(description="the model served")
    engine: Engine = Field(description="the flags and the step time of the serving engine")
    kv_tiers: dict[TierName, KvTier] = Field(
        {}, description="memory behind the KV memory of the GPUs, by name, in the order in which prompts are looked up"
    )
    scaling: OneOf[Scaler] = Field(description="how many replicas there are")
    cold_start: OneOf[ColdStarts] = Field(description="how long a replica takes to start")
    victim: OneOf[Victim] = Field(LongestIdle(), description="the replica to release when there are too many")
    reliability: Reliability = Field(Reliability(), description="failures of GPUs, and spot GPUs that are taken back")
    routing: OneOf[Router] = Field(description="whether a request goes to the fleet or to the API")
    placement: OneOf[Placement] = Field(description="the replica that a request goes to")
    disaggregation: Disaggregation | None = Field(
        None, description="prefill on replicas of its own; null: each replica does both"
    )
    pools: dict[PoolName, Pool] = Field(
        {}, description="further pools of replicas, in order of preference; the keys above describe the first pool"
    )
    queue: Queue = Field(Queue(), description="how requests wait for a replica")
    api: OneOf[ApiChoice] = Field(description="the pay-per-token provider: speed, limits and outages")
    prices: Prices = Field(description="what GPUs, tokens and overhead cost")
    slo: Slo = Field(description="limits on a request, and the share of requests that must keep them")
    output: Output = Field(Output(), description="where results go, and which")

    _composition: Composition | None = PrivateAttr(None)
    """How `scenario` composed it, for `replace` and for sweeps; None if it was parsed from plain data."""

    def replace(self, *overrides: str, **keys: Any) -> Scenario:
        """This scenario with something changed, composed and checked anew; arguments as those of `sim.scenario`.

        Group choices come before single keys, as on the command line: a key given earlier stays changed when its group
        is chosen anew. Raises ConfigError, also for a scenario that `sim.scenario` did not make.

        >>> base = scenario("arrivals=bursty", horizon_s=3600)
        >>> base.replace("arrivals.burst_factor=3", seed=2).arrivals.burst_factor
        3.0
        >>> base.seed
        1
        """
        return from_composition(self.composition.changed(overrides, keys))

    @property
    def composition(self) -> Composition:
        """The words and objects it was composed of. Raises ConfigError if it was parsed from plain data."""
        if self._composition is None:
            raise ConfigError("this scenario was parsed from plain data; only one made by sim.scenario can be changed")
        return self._composition

    def __repr__(self) -> str:
        served_by = f"{self.model.name} on {self.gpu.name}" if self.has_fleet else f"{self.model.name} by API"
        length = "as long as the traffic" if self.horizon_s is None else f"horizon_s={self.horizon_s:g}"
        return f"<Scenario {self.name}: {served_by}, {length}, seed={self.seed}, replications={self.replications}>"

    __str__ = __repr__

    @property
    def has_fleet(self) -> bool:
        return self.scaling.max_replicas > 0

    @property
    def has_api(self) -> bool:
        return isinstance(self.api, ApiProvider)

    def of_pool(self, name: str) -> Scenario:
        """This scenario with the hardware, scaling and losses that one of its `pools` has of its own."""
        pool = self.pools[name]
        own = {key: getattr(pool, key) for key in Pool.model_fields if key in Scenario.model_fields}
        return self.model_copy(update={key: value for key, value in own.items() if value is not None})

    @property
    def application_list(self) -> tuple[PlannedApplication, ...]:
        """Every application with all that it has from the scenario; () where there is only one kind of traffic."""
        return tuple(
            PlannedApplication(
                name, own.arrivals or self.arrivals, own.lengths or self.lengths, own.tasks or self.tasks,
                own.slo or self.slo, own.priority,
            )
            for name, own in self.applications.items()
        )  # fmt: skip

    @property
    def workload(self) -> AnyWorkload:
        """What arrives. Raises ConfigError if something that it needs is missing."""
        if self.applications:
            return Mix({application.name: application.member for application in self.application_list})
        return Workload(self.arrivals, self.lengths, self.tasks)

    @property
    def max_context_tokens(self) -> int:
        """Most tokens of one request, input and output together: replicas and API refuse longer ones."""
        return max_context_tokens(self.model, self.engine)

    @property
    def pool_list(self) -> tuple[PlannedPool, ...]:
        """Every pool in order of preference, then those on demand that stand in for spot ones; () without a fleet."""
        if not self.has_fleet:
            return ()
        pools = [PlannedPool(FIRST_POOL, self), *(PlannedPool(name, self.of_pool(name)) for name in self.pools)]
        for number, (name, pool, _) in enumerate(tuple(pools)):
            spot = pool.reliability.spot
            if spot is not None and spot.on_demand_fallback:
                stand_in = ON_DEMAND if name == FIRST_POOL else f"{name}_{ON_DEMAND}"
                pools.append(PlannedPool(stand_in, pool, on_demand_of=number))
        return tuple(pools)

    @model_validator(mode="after")
    def _something_serves(self) -> Scenario:
        if not self.has_fleet and not self.has_api:
            raise ValueError(
                f"scaling.max_replicas = 0 and api.kind = {self.api.kind}: nothing would serve a request; "
                "choose a scaling or an api"
            )
        if self.routing.needs_fleet and not self.has_fleet:
            raise ValueError(f"routing.kind = {self.routing.kind}: needs a fleet, but scaling allows no replicas")
        if self.routing.needs_api and not self.has_api:
            raise ValueError(f"routing.kind = {self.routing.kind}: needs an api, but api.kind = {self.api.kind}")
        return self

    @model_validator(mode="after")
    def _waiting_may_wake_the_fleet(self) -> Scenario:
        at_zero = [pool.scaling.min_replicas == 0 for _, pool, _ in self.pool_list]
        if any(at_zero) and self.queue.max_waiting_requests == 0:
            raise ValueError("queue.max_waiting_requests = 0: only a request that waits wakes a fleet at zero")
        return self

    @model_validator(mode="after")
    def _pools_behind_a_first(self) -> Scenario:
        if not self.pools:
            return self
        if not self.has_fleet:
            raise ValueError("pools: need a first pool before them, but scaling.max_replicas = 0")
        if self.disaggregation is not None:
            raise ValueError("pools: cannot be had together with disaggregation")
        if FIRST_POOL in self.pools:
            raise ValueError(f"pools.{FIRST_POOL}: is what the first pool is called")
        for name in self.pools.keys() & {name for name, _, on_demand_of in self.pool_list if on_demand_of is not None}:
            raise ValueError(f"pools.{name}: is what the replicas on demand in place of spot ones are called")
        for name, pool in self.pools.items():
            for trigger in ("queue_per_replica", "predicted_wait_s"):
                most, own = getattr(self.routing, trigger, None), getattr(pool.spill, trigger)
                if most is not None and own is not None and own > most:
                    raise ValueError(
                        f"pools.{name}.spill.{trigger} = {own:g}: must be <= routing.{trigger} = {most:g}, or "
                        "the API takes what should come to this pool"
                    )
            if pool.engine is not None and pool.engine.block_tokens != self.engine.block_tokens:
                raise ValueError(
                    f"pools.{name}.engine.block_tokens = {pool.engine.block_tokens}: must be the first's, "
                    f"{self.engine.block_tokens}"
                )
        return self

    @model_validator(mode="after")
    def _pools_that_can_be_split(self) -> Scenario:
        if self.disaggregation is not None:
            if self.scaling.kind != "always_on":
                raise ValueError(f"disaggregation: needs scaling.kind = always_on, not {self.scaling.kind}")
            if self.engine.scheduling_policy != "fcfs":
                raise ValueError("disaggregation: needs engine.scheduling_policy = fcfs")
            if self.engine.capacity_policy != "max_utilization":
                raise ValueError("disaggregation: needs engine.capacity_policy = max_utilization")
            if self.engine.prefill_first is not None:
                raise ValueError("disaggregation: needs engine.prefill_first = null")
            if self.reliability.takes_replicas:
                raise ValueError("disaggregation: needs reliability without failures and spot")
            if self.engine.host is not None:
                raise ValueError("engine.host: is not modelled with disaggregation; leave one of them null")
        return self

    @model_validator(mode="after")
    def _tiers_have_an_engine_for_them(self) -> Scenario:
        for engine in (pool.engine for _, pool, _ in self.pool_list) if self.kv_tiers else ():
            if engine.prefill_first is not None:
                raise ValueError("kv_tiers: need engine.prefill_first = null")
            options = {"prefix_caching": True, "chunked_prefill": True, "attention_data_parallel": 1}
            for name, value in (options | {"scheduling_policy": "fcfs", "capacity_policy": "max_utilization"}).items():
                if getattr(engine, name) != value:
                    raise ValueError(
                        f"kv_tiers: need engine.{name} = {str(value).lower()}, not {getattr(engine, name)}"
                    )
        for name, tier in self.kv_tiers.items() if self.has_fleet else ():
            if any(tier.blocks(pool.model, pool.engine) < 1 for _, pool, _ in self.pool_list):
                raise ValueError(f"kv_tiers.{name}.capacity_gb = {tier.capacity_gb:g}: is less than one KV block takes")
        if "gpu" in self.kv_tiers:
            raise ValueError("kv_tiers.gpu: is what the KV memory of the GPUs is called in results")
        if self.kv_tiers and self.disaggregation is not None:
            raise ValueError("kv_tiers: cannot be had together with disaggregation")
        return self

    @model_validator(mode="after")
    def _a_client_that_hangs_up_is_found(self) -> Scenario:
        if self.queue.client_timeout_s is not None and self.disaggregation is not None:
            raise ValueError("queue.client_timeout_s: is not modelled with disaggregation; leave one of them null")
        if self.queue.client_timeout_s is not None and isinstance(self.api, ApiProvider) and self.api.hedge:
            raise ValueError("queue.client_timeout_s: is not modelled with api.hedge; leave one of them null")
        return self

    @model_validator(mode="after")
    def _applications_of_several(self) -> Scenario:
        for law in filter(None, (application.law_broken() for application in self.application_list)):
            raise ValueError(law)
        return self

    @model_validator(mode="after")
    def _the_window_is_not_empty(self) -> Scenario:
        if self.horizon_s is not None and self.warmup_s >= self.horizon_s:
            raise ValueError(f"warmup_s = {self.warmup_s} must be < horizon_s = {self.horizon_s}")
        sources = [application.arrivals for application in self.application_list] or [self.arrivals]
        for arrivals in sources:
            if self.horizon_s is None and not arrivals.ends_by_itself:
                raise ValueError(f"horizon_s: is required, arrivals.kind = {arrivals.kind} goes on forever")
        return self


def scenario(*overrides: str, **keys: Any) -> Scenario:
    """A scenario by the words of the command line, by keyword, or both. Raises ConfigError, one line per violation.

    `overrides` are words such as `"arrivals=bursty"` or `"slo.ttft_s=1.5"`. `keys` are the same keys with Python
    values; a dotted key is given as `**{"slo.ttft_s": 1.5}`. A value may be an object, such as a policy of one's own:
    `placement=MostCached()`. Keys that are not given are as in conf/config.yaml.

    >>> scenario("arrivals=bursty", "fleet=scale_to_zero", horizon_s=7200)
    <Scenario bursty_on_scale_to_zero: llama_3_1_8b on h100_sxm, horizon_s=7200, seed=1, replications=1>
    """
    return from_composition(Composition().changed(overrides, keys))


def from_composition(composition: Composition) -> Scenario:
    """The scenario of a composed configuration, which it remembers. Raises ConfigError."""
    found = parse(with_parts(composition.config, composition.parts))
    found._composition = composition
    return found


class PlannedPool(NamedTuple):
    """One row of a scenario's list of pools: the scenario with this pool's hardware, scaling and losses."""

    name: str
    scenario: Scenario
    on_demand_of: int | None = None  # index in the list of the spot pool whose missing replicas this pool replaces


def compose_config(*overrides: str) -> DictConfig:
    """conf/config.yaml with overrides, as `llm-traffic-sim` would compose it: for notebooks, tests and benchmarks.

    >>> parse(compose_config("arrivals=bursty", "replications=3")).arrivals.kind
    'bursty'
    """
    return composed(overrides)


def parse(cfg: DictConfig | dict[str, Any]) -> Scenario:
    """The Scenario of a composed config. Raises ConfigError, one line per violation.

    >>> config = compose_config("gpu=l4")
    >>> config.seed = 7
    >>> parse(config).seed
    7
    """
    raw = plain(cfg) if isinstance(cfg, DictConfig) else cfg
    raw = {key: value for key, value in raw.items() if key != "hydra"}
    scenario = parse_config(Scenario, raw)
    for _, pool, _ in scenario.pool_list:
        refuse_if_too_big(pool.gpu, pool.model, pool.engine)
    refuse_endless_work(scenario)
    try:
        scenario.prices.check(
            {name: pool.gpu.name for name, pool, _ in scenario.pool_list},
            scenario.model.name if scenario.has_api else None,
        )
    except ConfigError as error:
        raise ConfigError(f"prices: {error}") from None
    return scenario
