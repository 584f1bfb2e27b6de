"""Price lists: what a GPU-second, a token and the people around them cost. They turn a Usage into the lines of a bill.

Laws of every plan: zero use costs zero or the commitment it states; no line is negative; the lines of two adjoining
windows add up to those of the whole (a replica's rounding and minimum are charged where its life ends).
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from sim.ledger.usage import COLD_START_STATES, Usage
from sim.records import ReplicaState
from sim.schema import ConfigError, Kinded, Node, one_of
from sim.units import HOUR_S, MONTH_S, MTOK

Usd = Annotated[float, Field(ge=0)]
Price = Annotated[float, Field(gt=0)]

GPU_BUSY, GPU_DRAINING, GPU_IDLE = "gpu busy", "gpu draining", "gpu idle"
GPU_COLD_START, GPU_ROUNDING = "gpu cold start", "gpu rounding and minimum"
API_INPUT, API_CACHED_INPUT = "api input", "api cached input"
API_OUTPUT, API_REQUESTS = "api output", "api requests"
OVERHEAD = "overhead"
_STATES_OF_ITEM = {
    GPU_BUSY: (ReplicaState.BUSY,),
    GPU_DRAINING: (ReplicaState.DRAINING,),
    GPU_IDLE: (ReplicaState.IDLE,),
    GPU_COLD_START: COLD_START_STATES,
}


class Line(NamedTuple):
    """One line of a bill."""

    payee: str
    item: str
    quantity: float
    unit: str
    usd: float


def _looked_up(table: dict, name: str | None, key: str) -> object:
    if name not in table:
        raise ConfigError(f"{key}: no price for {name!r}; this list has {', '.join(sorted(table)) or 'none'}")
    return table[name]


class GpuPlan(Kinded):
    """How GPUs are rented: a price per GPU type and what a replica's life is rounded to."""

    provider: str = Field(description="who is paid")
    as_of: str = Field(description="date of the price list, e.g. 2026-05-22, or why there is none")
    billing_granularity_s: float = Field(1.0, gt=0, description="a replica's life is rounded up to a multiple of this")
    minimum_s: float = Field(0.0, ge=0, description="each replica's life is billed for at least this long")
    bills_cold_start: bool = Field(True, description="whether the seconds from request to readiness are billed")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        """Price of one GPU-second of this GPU type; ConfigError if the list has none."""
        raise NotImplementedError

    def lines(self, usage: Usage, gpu_name: str | None) -> list[Line]:
        """Busy, draining, idle and cold-start GPU-hours, and what rounding and minimum add; [] without paid seconds."""
        if not len(usage.replicas["replica_id"]) or not usage.gpus_per_replica:
            return []
        rate, hours_per_s = self.usd_per_gpu_s(gpu_name), usage.gpus_per_replica / HOUR_S
        lines = []
        for item, states in _STATES_OF_ITEM.items():
            hours = usage.state_seconds(*states) * hours_per_s
            billed = item != GPU_COLD_START or self.bills_cold_start
            lines.append(Line(self.provider, item, hours, "GPU-hour", hours * HOUR_S * rate if billed else 0.0))
        hours = self._added_s(usage) * hours_per_s
        return [*lines, Line(self.provider, GPU_ROUNDING, hours, "GPU-hour", hours * HOUR_S * rate)]

    def _added_s(self, usage: Usage) -> float:
        """Replica-seconds billed beyond those lived, for the lives that end in the window.

        A life still going on at the window's end is cut there by the report, not by the provider: no rounding.
        """
        replicas = usage.replicas
        lived_s = replicas["ended_s"] - replicas["started_s"]
        if not self.bills_cold_start:
            lived_s = np.maximum(lived_s - replicas["cold_start_life_s"], 0.0)
        ended = (replicas["ended_s"] >= usage.window.start_s) & (replicas["ended_s"] < usage.window.end_s)
        lived_s = lived_s[ended & (lived_s > 0)]
        rounded_s = np.ceil(lived_s / self.billing_granularity_s - 1e-9) * self.billing_granularity_s
        return float(np.maximum(np.maximum(rounded_s, self.minimum_s) - lived_s, 0.0).sum())


class OnDemand(GpuPlan):
    """Machines rented by the hour for as long as they are kept."""

    kind: Literal["on_demand"] = "on_demand"
    usd_per_gpu_hour: dict[str, Price] = Field(description="price by GPU type, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return _looked_up(self.usd_per_gpu_hour, gpu_name, "prices.gpu.usd_per_gpu_hour") / HOUR_S


class Serverless(GpuPlan):
    """Containers billed by the second, from wake signal to full stop."""

    kind: Literal["serverless"] = "serverless"
    usd_per_gpu_second: dict[str, Price] = Field(description="price by GPU type, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return _looked_up(self.usd_per_gpu_second, gpu_name, "prices.gpu.usd_per_gpu_second")


class TokenRates(Node):
    """Prices of one model's tokens."""

    usd_per_mtok_input: Usd
    usd_per_mtok_output: Usd
    usd_per_mtok_cached_input: Usd | None = Field(None, description="None: cached tokens cost what input costs")
    usd_per_request: Usd = 0.0

    def lines(self, provider: str, usage: Usage) -> list[Line]:
        """Input, cached input, output and requests of everything the API finished; none without use."""
        api = {name: int(column.sum()) for name, column in usage.api.items()}
        if not api["requests"]:
            return []
        cached_rate = self.usd_per_mtok_cached_input
        if cached_rate is None:
            cached_rate = self.usd_per_mtok_input
        priced = [
            (API_INPUT, api["input_tokens"] - api["cached_input_tokens"], self.usd_per_mtok_input),
            (API_CACHED_INPUT, api["cached_input_tokens"], cached_rate),
            (API_OUTPUT, api["output_tokens"], self.usd_per_mtok_output),
        ]
        lines = [Line(provider, item, tokens / MTOK, "Mtok", tokens / MTOK * rate) for item, tokens, rate in priced]
        if self.usd_per_request:
            lines.append(
                Line(provider, API_REQUESTS, api["requests"], "request", api["requests"] * self.usd_per_request)
            )
        return lines


class ApiTariff(Kinded):
    """What a provider charges for tokens."""

    provider: str = Field(description="who is paid")
    as_of: str = Field(description="date of the price list")

    def rates(self, model_name: str | None) -> TokenRates:
        """The rates of this model; ConfigError if the list has none."""
        raise NotImplementedError

    def lines(self, usage: Usage, model_name: str | None) -> list[Line]:
        return self.rates(model_name).lines(self.provider, usage) if usage.api["requests"].sum() else []


class TokenTariff(ApiTariff):
    """One flat tariff, whatever the model."""

    kind: Literal["token_tariff"] = "token_tariff"
    usd_per_mtok_input: Usd
    usd_per_mtok_output: Usd
    usd_per_mtok_cached_input: Usd | None = Field(None, description="None: cached tokens cost what input costs")
    usd_per_request: Usd = 0.0

    def rates(self, model_name: str | None) -> TokenRates:
        return TokenRates(**{name: getattr(self, name) for name in TokenRates.model_fields})


class ModelTariff(ApiTariff):
    """A price list by model."""

    kind: Literal["model_tariff"] = "model_tariff"
    models: dict[str, TokenRates] = Field(description="rates by model, named as in conf/model")

    def rates(self, model_name: str | None) -> TokenRates:
        return _looked_up(self.models, model_name, "prices.api.models")


class Overhead(Kinded):
    """What self-hosting costs beyond the rent. There is one overhead, never a stack of them."""

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        """The overhead of a window with this GPU rent."""
        raise NotImplementedError


class NoOverhead(Overhead):
    """The rent is all."""

    kind: Literal["none"] = "none"

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        return []


class PercentageOverhead(Overhead):
    """A share of the GPU rent on top of it."""

    kind: Literal["percentage"] = "percentage"
    percent_of_gpu: Usd = Field(description="15 adds 15 % of the GPU rent")

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        return [
            Line(
                "own organisation", OVERHEAD, self.percent_of_gpu, "% of GPU rent", usd_gpu * self.percent_of_gpu / 100
            )
        ]


class MultiplierOverhead(Overhead):
    """Rent and overhead together are a multiple of the GPU rent."""

    kind: Literal["multiplier"] = "multiplier"
    times_gpu: float = Field(ge=1, description="3 makes the whole three times the GPU rent: overhead is twice the rent")

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        return [
            Line("own organisation", OVERHEAD, self.times_gpu - 1, "times GPU rent", usd_gpu * (self.times_gpu - 1))
        ]


class MonthlyItems(Overhead):
    """Named monthly costs, owed whether or not anything is served: a commitment, prorated at 730 h a month."""

    kind: Literal["monthly_items"] = "monthly_items"
    usd_per_month: dict[str, Usd] = Field(min_length=1, description="e.g. engineer_half_time: 9000")

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        months = usage.window.length_s / MONTH_S
        return [
            Line("own organisation", f"{OVERHEAD}: {name}", months, "month", months * usd)
            for name, usd in self.usd_per_month.items()
        ]


class Prices(Node):
    """A whole price list: GPUs, an API, and one overhead."""

    gpu: one_of(GpuPlan)
    api: one_of(ApiTariff)
    overhead: one_of(Overhead) = NoOverhead()

    def check(self, gpu_name: str | None, model_name: str | None) -> None:
        """Refuse a scenario this list cannot price, before it runs. None: no fleet, or no API. Raises ConfigError."""
        if gpu_name is not None:
            self.gpu.usd_per_gpu_s(gpu_name)
        if model_name is not None:
            self.api.rates(model_name)
