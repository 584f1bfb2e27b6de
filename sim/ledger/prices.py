"""A price list: what GPU time, tokens and the people around them cost. It turns a Usage into the lines of a bill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import Field, model_validator

from sim.ledger.lines import Line
from sim.ledger.overheads.overheads import MonthlyItems, MultiplierOverhead, NoOverhead, Overhead, PercentageOverhead
from sim.ledger.plans.base import GpuPlan
from sim.ledger.plans.committed import CommittedPlan, Monthly, Owned, Reserved
from sim.ledger.plans.metered import MeteredPlan, OnDemand, Serverless, Spot
from sim.ledger.tariffs.base import ApiTariff
from sim.ledger.tariffs.by_model import ModelTariff
from sim.ledger.tariffs.flat import TokenTariff
from sim.ledger.tariffs.rates import TokenRates
from sim.ledger.usage import Usage
from sim.records import FIRST_POOL
from sim.schema import Config, ConfigError, OneOf

__all__ = [
    "ApiTariff", "CommittedPlan", "GpuPlan", "MeteredPlan", "ModelTariff", "Monthly", "MonthlyItems",
    "MultiplierOverhead", "NoOverhead", "OnDemand", "Overhead", "Owned", "PercentageOverhead", "Prices", "Reserved",
    "Serverless", "Spot", "TokenRates", "TokenTariff",
]  # fmt: skip

ON_DEMAND = "on_demand"
"""The pool of replicas that stand in for missing spot ones; with several pools, <name>_on_demand."""


class Prices(Config):
    """A whole price list: GPUs, an API, and one overhead."""

    gpu: OneOf[GpuPlan]
    pools: dict[str, OneOf[GpuPlan]] = Field(
        {}, description="how further pools are paid for, by their names; one that is not named, like the first"
    )
    api: OneOf[ApiTariff]
    overhead: OneOf[Overhead] = NoOverhead()

    @model_validator(mode="after")
    def _the_first_pool_has_its_place(self) -> Prices:
        if FIRST_POOL in self.pools:
            raise ValueError(f"pools.{FIRST_POOL}: the first pool is paid for by prices.gpu")
        return self

    def check(self, gpu_of_pool: Mapping[str, str], model_name: str | None) -> None:
        """Refuse a scenario this list cannot price, before it runs. Raises ConfigError.

        `gpu_of_pool`: the GPU of every pool, {} without a fleet; `model_name`: None without an API.
        """
        for pool, gpu in gpu_of_pool.items():
            plan = self._plan(pool, list(gpu_of_pool))
            with self._named_as_it_stands(pool):
                plan.usd_per_gpu_s(gpu)
        if model_name is not None:
            self.api.rates(model_name)

    def gpu_lines(self, usage: Usage, gpu_name: str | None) -> list[tuple[str, list[Line]]]:
        """(pool, its GPU lines) for every pool. Raises ConfigError for a missing price.

        `gpu_name`: the GPU of pools that do not name their own, as in files of earlier versions.
        """
        found = []
        for pool, part in usage.by_pool:
            plan = self._plan(pool.name, usage.pool_names)
            with self._named_as_it_stands(pool.name):
                found.append((pool.name, plan.lines(part, gpu_name if pool.gpu is None else pool.gpu)))
        return found

    def fixed_for(self, usage: Usage) -> Prices:
        """This list with everything decided that its GPU plans decide by looking at a whole window."""
        fixed = {pool.name: self._plan(pool.name, usage.pool_names).fixed_for(part) for pool, part in usage.by_pool}
        gpu = fixed.pop(FIRST_POOL, self.gpu)
        return self.model_copy(update={"gpu": gpu, "pools": self.pools | fixed})

    @contextmanager
    def _named_as_it_stands(self, pool: str) -> Iterator[None]:
        """Errors of a pool's plan name the key under which it stands in the list; the plan itself knows no key."""
        try:
            yield
        except ConfigError as error:
            where = f"prices.pools.{pool}" if pool in self.pools else "prices.gpu"
            raise ConfigError(str(error).replace("prices.gpu", where)) from None

    def _plan(self, pool: str, pools: list[str]) -> GpuPlan:
        """How a pool, one of `pools`, is paid for. Raises ConfigError where that cannot be meant."""
        if pool == FIRST_POOL:
            return self.gpu
        if pool in self.pools:
            return self.pools[pool]
        if pool.endswith(ON_DEMAND) and isinstance(self.gpu, Spot):
            raise ConfigError(f"prices.pools.{pool}: is required: GPUs on demand are not had at the price of spot")
        strangers = [name for name in self.pools if name not in pools]
        if strangers:
            raise ConfigError(f"prices.pools: has no plan for {pool!r}, but one for {', '.join(strangers)}")
        if pool.endswith(ON_DEMAND) and isinstance(self.gpu, CommittedPlan):
            raise ConfigError(
                f"prices.pools.{pool}: is required: GPUs on demand are not had at the price of {self.gpu.kind} ones"
            )
        if isinstance(self.gpu, CommittedPlan) and self.gpu.gpus is not None:
            raise ConfigError(
                f"prices.pools.{pool}: is required: the {self.gpu.gpus} GPUs of prices.gpu are the first's"
            )
        return self.gpu
