"""GPUs that are paid for whether used or not: reserved, by the month, owned."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.ledger.lines import GPU_BEYOND, GPU_POWER, GPU_UNUSED, Line, Price
from sim.ledger.ownership import OwnedNode
from sim.ledger.plans.base import GpuPlan
from sim.ledger.usage import Usage
from sim.records import ReplicaState
from sim.schema import ConfigError
from sim.units import HOUR_S, MONTH_S


class CommittedPlan(GpuPlan):
    """GPUs held and paid for during the whole window, used or not. Unused GPU-hours are a line of their own.

    After the window the same GPUs finish the work that arrived in it: the bill lists that time at no cost, because a
    rent is the same whatever the GPUs do. Use beyond the commitment costs `usd_per_gpu_hour_beyond`; a list without
    it refuses a run that needs more GPUs. Without a fleet nothing is held.
    """

    bills_after_window: ClassVar[bool] = False
    gpus: int | None = Field(
        None, ge=1, description="GPUs held; null: the most that the fleet has at once in the window (bills of "
        "parts of a window then do not add up)",
    )  # fmt: skip
    gpus_per_node: int = Field(1, ge=1, description="GPUs are held in whole nodes of this many")
    usd_per_gpu_hour_beyond: dict[str, Price] = Field({}, description="on-demand price of further GPUs, by GPU")

    @model_validator(mode="after")
    def _more_is_not_cheaper(self) -> CommittedPlan:
        for name, usd in self.usd_per_gpu_hour_beyond.items():
            if name in self.table and usd < self.usd_per_gpu_s(name) * HOUR_S:
                committed_usd = self.usd_per_gpu_s(name) * HOUR_S
                raise ValueError(
                    f"usd_per_gpu_hour_beyond.{name} = {usd}: must be >= the price of the commitment, {committed_usd:g}"
                )
        return self

    @property
    def adds_up_over_windows(self) -> bool:
        return self.gpus is not None

    def fixed_for(self, usage: Usage) -> GpuPlan:
        return self.model_copy(update={"gpus": self._held(usage)})

    def _held(self, usage: Usage) -> int:
        """GPUs of the commitment, in whole nodes."""
        gpus = self.gpus if self.gpus is not None else int(usage.gpus_over_time()[1].max(initial=0))
        return -(-gpus // self.gpus_per_node) * self.gpus_per_node

    def lines(self, usage: Usage, gpu_name: str | None) -> list[Line]:
        """GPU-hours by state, unused GPU-hours, and, if there was any, the surcharge for use beyond the commitment."""
        held = self._held(usage) if usage.gpus_per_replica else 0
        if not held:
            return []
        rate = self.usd_per_gpu_s(gpu_name)
        length_s, gpus = usage.gpus_over_time()
        beyond_s = float((length_s * np.maximum(gpus - held, 0)).sum())
        used_s = (usage.state_seconds() - usage.after_window_s) * usage.gpus_per_replica
        unused_s = max(held * usage.window.length_s + beyond_s - used_s, 0.0)
        unused = Line(self.provider, GPU_UNUSED, unused_s / HOUR_S, "GPU-hour", unused_s * rate)
        lines = [*self._state_lines(usage, rate), unused]
        if beyond_s > 0:
            if gpu_name not in self.usd_per_gpu_hour_beyond:
                raise ConfigError(
                    f"prices.gpu.gpus = {held}: the fleet had {gpus.max()} GPUs at once; set prices.gpu.gpus="
                    f"{gpus.max()}, or a price for the others: +prices.gpu.usd_per_gpu_hour_beyond.{gpu_name}=<USD>"
                )
            surcharge = self.usd_per_gpu_hour_beyond[gpu_name] / HOUR_S - rate
            lines.append(Line(self.provider, GPU_BEYOND, beyond_s / HOUR_S, "GPU-hour", beyond_s * surcharge))
        return lines


class Reserved(CommittedPlan):
    """Reserved GPUs at a price per hour, paid for every hour of the window."""

    kind: Literal["reserved"] = "reserved"
    priced_by: ClassVar[str] = "usd_per_gpu_hour"
    usd_per_gpu_hour: dict[str, Price] = Field(description="price by GPU type, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name) / HOUR_S


class Monthly(CommittedPlan):
    """GPUs rented by the month, charged in proportion to the window (730 h a month)."""

    kind: Literal["monthly"] = "monthly"
    priced_by: ClassVar[str] = "usd_per_gpu_month"
    usd_per_gpu_month: dict[str, Price] = Field(description="price by GPU type, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name) / MONTH_S


class Owned(CommittedPlan):
    """GPUs that were bought: capital and colocation are paid whether used or not, metered power only while a GPU is on.

    For decisions about hardware that is already bought, such as which requests to send to an API, only the power line
    counts.
    """

    kind: Literal["owned"] = "owned"
    priced_by: ClassVar[str] = "nodes"
    nodes: dict[str, OwnedNode] = Field(description="node by GPU, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name).fixed_usd_per_gpu_hour / HOUR_S

    def lines(self, usage: Usage, gpu_name: str | None) -> list[Line]:
        """The lines of the commitment, and the metered power of the GPUs that were on. Unused GPUs are switched off."""
        lines = super().lines(usage, gpu_name)
        if not lines or not usage.gpu_hours_paid:
            return lines
        node = self._entry(gpu_name)
        idle_h = usage.state_seconds(ReplicaState.IDLE, ReplicaState.ASLEEP) * usage.gpus_per_replica / HOUR_S
        kwh = (usage.gpu_hours_paid - idle_h * (1 - node.idle_power_fraction)) * node.kw_per_gpu * node.pue
        return [*lines, Line("power utility", GPU_POWER, kwh, "kWh", kwh * node.usd_per_kwh)]
