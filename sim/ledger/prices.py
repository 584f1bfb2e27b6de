"""A price list: what GPU time, tokens and overhead cost. It turns a Usage into the lines of a bill."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from typing import Any

from pydantic import Field, model_validator

from sim.ledger.lines import Line
from sim.ledger.overheads.overheads import NoOverhead, Overhead
from sim.ledger.plans.base import GpuPlan
from sim.ledger.plans.committed import CommittedPlan
from sim.ledger.plans.metered import Spot
from sim.ledger.tariffs.base import ApiTariff
from sim.ledger.tariffs.listed import listed_tariff
from sim.ledger.usage import Usage
from sim.records import FIRST_POOL
from sim.schema import Config, ConfigError, OneOf

ON_DEMAND = "on_demand"
"""Name of the pool of on-demand replicas that replace missing spot ones; with several pools it is <name>_on_demand."""


OLD_DAYS = 90
"""A list older than this is said to be so."""


def age_days(as_of: str, today: date) -> int | None:
    """Days since the date that a price list bears, the earliest one of several; None: it bears none.

    A month stands for its first day.

    >>> age_days("2026-03 to 2026-06", date(2026, 4, 1)), age_days("undated (2026)", date(2026, 4, 1))
    (31, None)
    """
    found = []
    for year, month, day in re.findall(r"\b(\d{4})-(\d{2})(?:-(\d{2}))?\b", as_of):
        with suppress(ValueError):  # a number that looks like a date
            found.append(date(int(year), int(month), int(day or 1)))
    return (today - min(found)).days if found else None


def old_lists(prices: Prices, today: date) -> Iterator[str]:
    """One line for each list of `prices` that is more than OLD_DAYS old.

    A list without a date, of an article or of one's own, is not judged.
    """
    lists: dict[str, GpuPlan | ApiTariff] = {"prices.gpu": prices.gpu, "prices.api": prices.api}
    lists |= {f"prices.pools.{name}": plan for name, plan in prices.pools.items()}
    for key, listed in lists.items():
        age = age_days(listed.as_of, today)
        if age is not None and age > OLD_DAYS:
            yield f"{key}: {listed.provider}, list of {listed.as_of}, is {age} days old"


class Prices(Config):
    """A whole price list: GPU plans, an API tariff, and one overhead."""

    gpu: OneOf[GpuPlan]
    pools: dict[str, OneOf[GpuPlan]] = Field(
        {}, description="GPU plans of further pools, by pool name; a pool without an entry is paid for by prices.gpu"
    )
    api: OneOf[ApiTariff]
    overhead: OneOf[Overhead] = NoOverhead()

    @model_validator(mode="before")
    @classmethod
    def _listed_by_model(cls, data: Any) -> Any:
        """Put the prices of `api.model` in the place of the tariff, if one is named (`tariffs/listed.py`)."""
        api = data.get("api") if isinstance(data, Mapping) else None
        if not isinstance(api, Mapping) or not {"model", "date"} & api.keys():
            return data
        if api.get("model") is None:
            return {**data, "api": {key: value for key, value in api.items() if key not in ("model", "date")}}
        try:
            return {**data, "api": listed_tariff(api)}
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _pools_are_further_ones(self) -> Prices:
        if FIRST_POOL in self.pools:
            raise ValueError(f"pools.{FIRST_POOL}: the first pool is paid for by prices.gpu; move the plan there")
        return self

    def check(self, gpu_of_pool: Mapping[str, str], model_name: str | None) -> None:
        """Raise ConfigError, before anything is simulated, if this list lacks a price that the scenario needs.

        `gpu_of_pool`: the GPU of every pool, {} without a fleet. `model_name`: the API's model, None without an API.
        """
        for pool, gpu in gpu_of_pool.items():
            plan = self._plan(pool, list(gpu_of_pool))
            with self._named_as_it_stands(pool):
                plan.usd_per_gpu_s(gpu)
        if model_name is not None:
            self.api.rates(model_name)

    def gpu_lines(self, usage: Usage, gpu_name: str | None) -> list[tuple[str, list[Line]]]:
        """(name of the pool, GPU lines) for every pool. Raises ConfigError for a missing price.

        `gpu_name`: the GPU of pools that name none, as in files of earlier versions.
        """
        found = []
        for pool, part in usage.by_pool:
            plan = self._plan(pool.name, usage.pool_names)
            with self._named_as_it_stands(pool.name):
                found.append((pool.name, plan.lines(part, gpu_name if pool.gpu is None else pool.gpu)))
        return found

    def fixed_for(self, usage: Usage) -> Prices:
        """This list with every GPU plan's `fixed_for` applied to the use of its pool."""
        fixed = {pool.name: self._plan(pool.name, usage.pool_names).fixed_for(part) for pool, part in usage.by_pool}
        gpu = fixed.pop(FIRST_POOL, self.gpu)
        return self.model_copy(update={"gpu": gpu, "pools": self.pools | fixed})

    @contextmanager
    def _named_as_it_stands(self, pool: str) -> Iterator[None]:
        """Replace the key in a plan's errors by the one under which the list holds the plan, which it cannot know."""
        try:
            yield
        except ConfigError as error:
            key = f"prices.pools.{pool}" if pool in self.pools else "prices.gpu"
            raise ConfigError(str(error).replace("prices.gpu", key)) from None

    def _plan(self, pool: str, pools: list[str]) -> GpuPlan:
        """The plan of a pool, one of `pools`.

        Raises ConfigError where prices.gpu would have to serve a pool that it cannot have been written for: on-demand
        GPUs at a spot or committed price, GPUs beyond a stated commitment, or a list with plans for unknown pools only.
        """
        if pool == FIRST_POOL:
            return self.gpu
        if pool in self.pools:
            return self.pools[pool]
        if pool.endswith(ON_DEMAND) and isinstance(self.gpu, Spot):
            raise ConfigError(f"prices.pools.{pool}: is required: on-demand GPUs cannot be rented at spot prices")
        unknown = [name for name in self.pools if name not in pools]
        if unknown:
            raise ConfigError(
                f"prices.pools: has no plan for pool {pool!r}, but plans for {', '.join(unknown)}, not in the fleet"
            )
        if pool.endswith(ON_DEMAND) and isinstance(self.gpu, CommittedPlan):
            raise ConfigError(
                f"prices.pools.{pool}: is required: on-demand GPUs cannot be rented at {self.gpu.kind} prices"
            )
        if isinstance(self.gpu, CommittedPlan) and self.gpu.gpus is not None:
            raise ConfigError(
                f"prices.pools.{pool}: is required: the first pool holds the {self.gpu.gpus} GPUs of prices.gpu.gpus"
            )
        return self.gpu
