"""The base of GPU plans, the ways in which GPUs are paid for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from sim.ledger.lines import GPU_ASLEEP, STATES_OF_ITEM, Line, looked_up
from sim.ledger.usage import Usage
from sim.schema import Choice
from sim.units import HOUR_S


class GpuPlan(Choice):
    """How GPUs are paid for. `priced_by` names the field that holds the table of prices by GPU.

    The contract of every plan, asked of each kind and of every file of conf/prices by tests/contracts/test_prices.py:

    1. `usd_per_gpu_s(gpu)` is the price of a GPU-second, >= 0, for every GPU in `table`. For any other GPU it raises
       ConfigError that names the key, the GPU and the GPUs in `table`.
    2. `lines` is [] where no GPU is paid for: without a fleet (`usage.gpus_per_replica` 0) and, unless the plan holds
       GPUs whether used or not, without paid seconds. It looks up a price only where it returns a line.
    3. Without paid seconds, the lines cost USD in proportion to the window's length.
    4. No line has a negative quantity or negative USD. The items begin with "gpu ".
    5. The lines whose items are in STATES_OF_ITEM add up to the paid GPU-hours; `_state_lines` makes them.
    6. Bills of two adjoining windows, cut where no work is under way, add up to the bill of both, unless
       `adds_up_over_windows` is False. In that case the parts cost at most as much as the whole, and the plan that
       `fixed_for` returns for the whole does add up.
    7. More use never costs less.

    A file of conf/prices shows each kind, because only a list with prices can be billed.

    >>> import sim
    >>> plan = sim.scenario("prices=market_2026").prices.gpu
    >>> isinstance(plan, sim.GpuPlan), plan.usd_per_gpu_s("l4") * 3600 < plan.usd_per_gpu_s("h100_sxm") * 3600
    (True, True)
    """

    priced_by: ClassVar[str]
    bills_after_window: ClassVar[bool] = True
    """Whether GPU time after the window, for work that arrived in it, is charged on top of the window's GPU time."""
    provider: str = Field(description="payee on the bill")
    as_of: str = Field(description="date of the price list, e.g. 2026-05-22, or why there is none")

    @property
    def table(self) -> Mapping[str, Any]:
        """The prices by GPU, named as in conf/gpu."""
        return getattr(self, self.priced_by)

    @property
    def adds_up_over_windows(self) -> bool:
        """Whether the bills of two adjoining windows add up to that of both together."""
        return True

    def fixed_for(self, usage: Usage) -> GpuPlan:
        """This plan with fixed values for whatever it derives from a whole window, here that of `usage`."""
        return self

    def usd_per_gpu_s(self, gpu_name: str | None) -> float:
        """USD per second of one such GPU. Raises ConfigError if the list has no price for it."""
        raise NotImplementedError

    def lines(self, usage: Usage, gpu_name: str | None) -> list[Line]:
        """The GPU lines of a bill, for the usage of one pool. [] where no GPU is paid for."""
        raise NotImplementedError

    def _entry(self, gpu_name: str | None) -> Any:
        return looked_up(self.table, gpu_name, f"prices.gpu.{self.priced_by}")

    def _state_lines(self, usage: Usage, rate: float, free: tuple[str, ...] = ()) -> list[Line]:
        """One line per item of STATES_OF_ITEM, at `rate` USD per GPU-second; the items in `free` cost 0 USD.

        Time asleep has a line only if there was any.
        """
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
