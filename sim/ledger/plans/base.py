"""The base of GPU plans, the ways in which GPUs are paid for.

Laws of every plan: zero use costs zero or the commitment it states; no line is negative; the lines of two adjoining
windows, with no work under way where they meet, add up to those of the whole, unless `adds_up_over_windows` says not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from sim.ledger.lines import GPU_ASLEEP, STATES_OF_ITEM, Line, looked_up
from sim.ledger.usage import Usage
from sim.schema import Choice
from sim.units import HOUR_S


class GpuPlan(Choice):
    """How GPUs are paid for. `priced_by` names the field that holds the table by GPU type."""

    priced_by: ClassVar[str]
    bills_after_window: ClassVar[bool] = True
    """Whether GPU time after the window, for work begun in it, costs more than the window does."""
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
            billed_s = 0.0 if item in free else gpu_s
            if billed_s and not self.bills_after_window:
                billed_s -= usage.state_seconds(*states, after_window=True) * usage.gpus_per_replica
            lines.append(Line(self.provider, item, gpu_s / HOUR_S, "GPU-hour", billed_s * rate))
        return lines
