"""What self-hosting costs beyond the rent. There is one overhead on a bill, never a stack of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sim.ledger.lines import OVERHEAD, Line, Usd
from sim.ledger.usage import Usage
from sim.schema import Choice
from sim.units import MONTH_S

_PAYEE = "own organisation"


class Overhead(Choice):
    """What self-hosting costs beyond the rent. There is one overhead, never a stack of them."""

    as_of: str = Field("undated", description="date of the figures")

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
        usd = usd_gpu * self.percent_of_gpu / 100
        return [Line(_PAYEE, OVERHEAD, self.percent_of_gpu, "% of GPU rent", usd)]


class MultiplierOverhead(Overhead):
    """Rent and overhead together are a multiple of the GPU rent."""

    kind: Literal["multiplier"] = "multiplier"
    times_gpu: float = Field(ge=1, description="3 makes the whole three times the GPU rent: overhead is twice the rent")

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        more = self.times_gpu - 1
        return [Line(_PAYEE, OVERHEAD, more, "times GPU rent", usd_gpu * more)]


class MonthlyItems(Overhead):
    """Named monthly costs of having a fleet, owed whether or not it serves: a commitment, prorated at 730 h a month."""

    kind: Literal["monthly_items"] = "monthly_items"
    usd_per_month: dict[str, Usd] = Field(min_length=1, description="e.g. engineer_half_time: 9000")

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        if not usage.pools:
            return []
        months = usage.window.length_s / MONTH_S
        items = self.usd_per_month.items()
        return [Line(_PAYEE, f"{OVERHEAD}: {name}", months, "month", months * usd) for name, usd in items]
