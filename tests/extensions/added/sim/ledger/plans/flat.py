"""A price plan and a tariff with one price each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from sim.ledger.lines import Line, Usd
from sim.ledger.plans.base import GpuPlan
from sim.ledger.usage import Usage
from sim.units import HOUR_S


class Flat(GpuPlan):
    """Every paid GPU-hour of a type costs the same."""

    kind: Literal["flat"] = "flat"
    priced_by: ClassVar[str] = "usd_per_gpu_hour"
    usd_per_gpu_hour: Mapping[str, Usd]

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name) / HOUR_S

    def lines(self, usage: Usage, gpu_name: str | None) -> list[Line]:
        if not len(usage.gpu["state"]) or not usage.gpus_per_replica:
            return []
        return self._state_lines(usage, self.usd_per_gpu_s(gpu_name))
