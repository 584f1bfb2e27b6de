"""How GPUs are paid for: by the second they are kept, or as a number of them held whether used or not.

Laws of every plan: zero use costs zero or the commitment it states; no line is negative; the lines of two adjoining
windows, with no work under way where they meet, add up to those of the whole, unless `adds_up_over_windows` says not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.ledger.lines import (
    GPU_ASLEEP,
    GPU_BEYOND,
    GPU_COLD_START,
    GPU_POWER,
    GPU_ROUNDING,
    GPU_UNUSED,
    STATES_OF_ITEM,
    Line,
    Price,
    looked_up,
)
from sim.ledger.ownership import OwnedNode
from sim.ledger.usage import Usage
from sim.records import ReplicaState
from sim.schema import Choice, ConfigError
from sim.units import HOUR_S, MONTH_S


class GpuPlan(Choice):
    """How GPUs are paid for. `priced_by` names the field that holds the table by GPU type."""

    priced_by: ClassVar[str]
    provider: str = Field(description="who is paid")
    as_of: str = Field(description="date of the price list, e.g. 2026-05-22, or why there is none")

    @property
    def table(self) -> Mapping[str, Any]:
        """The prices by GPU type, named as in conf/gpu."""
        return getattr(self, self.priced_by)

    @property
    def adds_up_over_windows(self) -> bool:
        """Whether the bills of two adjoining windows add up to that of both together."""
        return True

    def fixed_for(self, usage: Usage) -> GpuPlan:
        """This plan with everything decided that it decides by looking at a whole window."""
        return self

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        """Price of one GPU-second of this GPU type; ConfigError if the list has none."""
        raise NotImplementedError

    def lines(self, usage: Usage, gpu_name: str | None) -> list[Line]:
        """The GPU lines of a bill. Those of STATES_OF_ITEM tile the paid GPU-hours; [] where nothing is owed."""
        raise NotImplementedError

    def _entry(self, gpu_name: str | None) -> Any:
        return looked_up(self.table, gpu_name, f"prices.gpu.{self.priced_by}")

    def _state_lines(self, usage: Usage, rate: float, free: tuple[str, ...] = ()) -> list[Line]:
        lines = []
        for item, states in STATES_OF_ITEM.items():
            gpu_s = usage.state_seconds(*states) * usage.gpus_per_replica
            if item == GPU_ASLEEP and not gpu_s:
                continue
            lines.append(Line(self.provider, item, gpu_s / HOUR_S, "GPU-hour", 0.0 if item in free else gpu_s * rate))
        return lines


class MeteredPlan(GpuPlan):
    """GPUs paid for as long as each replica is kept: a price per GPU type and what a replica's life is rounded to."""

    billing_granularity_s: float = Field(1.0, gt=0, description="a replica's life is rounded up to a multiple of this")
    minimum_s: float = Field(0.0, ge=0, description="each replica's life is billed for at least this long")
    bills_cold_start: bool = Field(True, description="whether the seconds from request to readiness are billed")

    def lines(self, usage: Usage, gpu_name: str | None) -> list[Line]:
        """Busy, draining, idle and cold-start GPU-hours, and what rounding and minimum add; [] without paid seconds."""
        if not len(usage.gpu["state"]) or not usage.gpus_per_replica:
            return []
        rate = self.usd_per_gpu_s(gpu_name)
        lines = self._state_lines(usage, rate, free=() if self.bills_cold_start else (GPU_COLD_START,))
        hours = self._added_s(usage) * usage.gpus_per_replica / HOUR_S
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


class HourlyPlan(MeteredPlan):
    """GPUs at a price per hour."""

    priced_by: ClassVar[str] = "usd_per_gpu_hour"
    usd_per_gpu_hour: dict[str, Price] = Field(description="price by GPU type, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name) / HOUR_S


class OnDemand(HourlyPlan):
    """Machines rented by the hour for as long as they are kept."""

    kind: Literal["on_demand"] = "on_demand"


class Spot(HourlyPlan):
    """Machines that may be taken back at any time, at a lower price. Interruptions happen in the run, not here."""

    kind: Literal["spot"] = "spot"


class Serverless(MeteredPlan):
    """Containers billed by the second, from wake signal to full stop."""

    kind: Literal["serverless"] = "serverless"
    priced_by: ClassVar[str] = "usd_per_gpu_second"
    usd_per_gpu_second: dict[str, Price] = Field(description="price by GPU type, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name)


class CommittedPlan(GpuPlan):
    """GPUs held for the whole window, used or not; what lies unused is a line of its own. Without a fleet, none.

    Use beyond the commitment costs `usd_per_gpu_hour_beyond`; a list without it refuses such a run.
    """

    gpus: int | None = Field(
        None, ge=1, description="held; null: as many as the fleet has at most at once in the window (so that bills of "
        "parts of a window do not add up)",
    )  # fmt: skip
    gpus_per_node: int = Field(1, ge=1, description="held in whole nodes of so many GPUs")
    usd_per_gpu_hour_beyond: dict[str, Price] = Field({}, description="on-demand price of more GPUs, by GPU type")

    @model_validator(mode="after")
    def _more_is_not_cheaper(self) -> CommittedPlan:
        for name, usd in self.usd_per_gpu_hour_beyond.items():
            if name in self.table and usd < self.usd_per_gpu_s(name) * HOUR_S:
                raise ValueError(f"usd_per_gpu_hour_beyond.{name} = {usd}: must be >= the price of the commitment")
        return self

    @property
    def adds_up_over_windows(self) -> bool:
        return self.gpus is not None

    def fixed_for(self, usage: Usage) -> GpuPlan:
        return self.model_copy(update={"gpus": self._held(usage)})

    def _held(self, usage: Usage) -> int:
        gpus = self.gpus if self.gpus is not None else int(usage.gpus_over_time()[1].max(initial=0))
        return -(-gpus // self.gpus_per_node) * self.gpus_per_node

    def lines(self, usage: Usage, gpu_name: str | None) -> list[Line]:
        """What was used by state, what lay unused, and the surcharge for use beyond the commitment if there was any."""
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
                    f"prices.gpu.gpus = {held}: the fleet had {gpus.max()} GPUs at once; commit to more, or state "
                    f"usd_per_gpu_hour_beyond for {gpu_name!r}"
                )
            surcharge = self.usd_per_gpu_hour_beyond[gpu_name] / HOUR_S - rate
            lines.append(Line(self.provider, GPU_BEYOND, beyond_s / HOUR_S, "GPU-hour", beyond_s * surcharge))
        return lines


class Reserved(CommittedPlan):
    """A reservation at a price per hour, paid for every hour of the window."""

    kind: Literal["reserved"] = "reserved"
    priced_by: ClassVar[str] = "usd_per_gpu_hour"
    usd_per_gpu_hour: dict[str, Price] = Field(description="price by GPU type, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name) / HOUR_S


class Monthly(CommittedPlan):
    """Machines rented by the month, here prorated at 730 h a month."""

    kind: Literal["monthly"] = "monthly"
    priced_by: ClassVar[str] = "usd_per_gpu_month"
    usd_per_gpu_month: dict[str, Price] = Field(description="price by GPU type, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name) / MONTH_S


class Owned(CommittedPlan):
    """Machines bought: capital and colocation run whether used or not, metered power only while a GPU is on.

    Decisions about hardware already bought (what to overflow, whether to fill a trough) turn on the power line alone.
    """

    kind: Literal["owned"] = "owned"
    priced_by: ClassVar[str] = "nodes"
    nodes: dict[str, OwnedNode] = Field(description="a node of these GPUs, named as in conf/gpu")

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        return self._entry(gpu_name).fixed_usd_per_gpu_hour / HOUR_S

    def lines(self, usage: Usage, gpu_name: str | None) -> list[Line]:
        """The lines of the commitment, and the metered power of the GPUs that were on; unused ones are off."""
        lines = super().lines(usage, gpu_name)
        if not lines or not usage.gpu_hours_paid:
            return lines
        node = self._entry(gpu_name)
        idle_h = usage.state_seconds(ReplicaState.IDLE, ReplicaState.ASLEEP) * usage.gpus_per_replica / HOUR_S
        kwh = (usage.gpu_hours_paid - idle_h * (1 - node.idle_power_fraction)) * node.kw_per_gpu * node.pue
        return [*lines, Line("power utility", GPU_POWER, kwh, "kWh", kwh * node.usd_per_kwh)]
