"""A price list: what GPU time, tokens and the people around them cost. It turns a Usage into the lines of a bill."""

from __future__ import annotations

from sim.ledger.api_tariffs import ApiTariff, ModelTariff, TokenRates, TokenTariff
from sim.ledger.gpu_plans import (
    CommittedPlan,
    GpuPlan,
    MeteredPlan,
    Monthly,
    OnDemand,
    Owned,
    Reserved,
    Serverless,
    Spot,
)
from sim.ledger.overheads import MonthlyItems, MultiplierOverhead, NoOverhead, Overhead, PercentageOverhead
from sim.schema import Node, one_of

__all__ = [
    "ApiTariff", "CommittedPlan", "GpuPlan", "MeteredPlan", "ModelTariff", "Monthly", "MonthlyItems",
    "MultiplierOverhead", "NoOverhead", "OnDemand", "Overhead", "Owned", "PercentageOverhead", "Prices", "Reserved",
    "Serverless", "Spot", "TokenRates", "TokenTariff",
]  # fmt: skip


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
