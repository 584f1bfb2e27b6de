"""GPU plans with a meter, which charge for each replica's life: on demand, spot, serverless."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.ledger.lines import GPU_COLD_START, GPU_ROUNDING, Line, Price
from sim.ledger.plans.base import GpuPlan
from sim.ledger.usage import Usage
from sim.units import HOUR_S


class MeteredPlan(GpuPlan):
    """GPUs paid for while a replica exists: a price per GPU, and how the length of a replica's life is rounded."""

    billing_granularity_s: float = Field(1.0, gt=0, description="a replica's life is rounded up to a multiple of this")
    minimum_s: float = Field(0.0, ge=0, description="each replica's life is billed for at least this long")
    bills_cold_start: bool = Field(
        True, description="whether the seconds from a replica's order to its readiness are billed"
    )

    def lines(self, usage: Usage, gpu_name: str | None) -> list[Line]:
        """GPU-hours by state, and those that rounding and minimum add. [] where there is neither."""
        hours = self._added_s(usage) * usage.gpus_per_replica / HOUR_S
        # A life that ends exactly where the window begins has no seconds in it, but its rounding belongs there.
        if not usage.gpus_per_replica or not len(usage.gpu["state"]) and not hours:
            return []
        rate = self.usd_per_gpu_s(gpu_name)
        lines = self._state_lines(usage, rate, free=() if self.bills_cold_start else (GPU_COLD_START,))
        return [*lines, Line(self.provider, GPU_ROUNDING, hours, "GPU-hour", hours * HOUR_S * rate)]

    def _added_s(self, usage: Usage) -> float:
        """Replica-seconds that rounding and minimum add, for the lives that end in the window.

        The window cuts a life that is not over yet, the provider does not: such a life is not rounded.
        """
        replicas = usage.replicas
        lived_s = replicas["ended_s"] - replicas["started_s"]
        if not self.bills_cold_start:
            lived_s = np.maximum(lived_s - replicas["cold_start_life_s"], 0.0)
        ended = (replicas["ended_s"] >= usage.window.start_s) & (replicas["ended_s"] < usage.window.end_s)
        lived_s = lived_s[ended & (lived_s > 0)]
        rounded_s = np.ceil(lived_s / self.billing_granularity_s - 1e-9) * self.billing_granularity_s
        return float(np.maximum(np.maximum(rounded_s, self.minimum_s) - lived_s, 0.0).sum())


class HourlyPlan(MeteredPlan):
    """GPUs at a price per hour."""

    priced_by: ClassVar[str] = "usd_per_gpu_hour"
    usd_per_gpu_hour: dict[str, Price] = Field(description="price by GPU type, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name) / HOUR_S


class OnDemand(HourlyPlan):
    """GPUs rented by the hour, for as long as a replica exists."""

    kind: Literal["on_demand"] = "on_demand"


class Spot(HourlyPlan):
    """GPUs that the provider may take back at any time, at a lower price. Interruptions are simulated in the run."""

    kind: Literal["spot"] = "spot"


class Serverless(MeteredPlan):
    """GPUs of containers billed by the second, from their order to their full stop."""

    kind: Literal["serverless"] = "serverless"
    priced_by: ClassVar[str] = "usd_per_gpu_second"
    usd_per_gpu_second: dict[str, Price] = Field(description="price by GPU type, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name)
