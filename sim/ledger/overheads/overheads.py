"""What self-hosting costs beyond the GPU rent: the base of all overheads, and those that there are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sim.ledger.lines import OVERHEAD, Line, Usd
from sim.ledger.usage import Usage
from sim.schema import Choice
from sim.units import MONTH_S

_PAYEE = "own organisation"


class Overhead(Choice):
    """What self-hosting costs beyond the GPU rent. A bill has one overhead, never several on top of each other.

    The contract of every overhead, asked of each kind by tests/contracts/test_prices.py:

    1. `lines` is a pure function of its arguments: the same usage and rent give the same lines.
    2. Every line's item begins with OVERHEAD. No quantity and no USD is negative.
    3. Without a fleet and without rent (`usage.gpus_per_replica` and `usd_gpu` both 0) the lines add up to 0 USD.
    4. The lines of two adjoining windows add up to those of both together, if the rents do.
    5. More rent never costs less.

    A bill by the hour asks for the lines of single hours, of which `usage.fleet` and the totals are not known (empty
    and 0); what these lines lack is spread evenly over the window.

    A required field states an example value (`Field(examples=[...])`), with which the contract builds a kind that no
    file of conf/prices uses.

    >>> import sim
    >>> isinstance(sim.scenario().prices.overhead, sim.Overhead)
    True
    """

    as_of: str = Field("undated", description="date of the figures")

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        """The overhead lines of a window whose GPU lines add up to `usd_gpu`."""
        raise NotImplementedError


class NoOverhead(Overhead):
    """Self-hosting costs nothing beyond the rent."""

    kind: Literal["none"] = "none"

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        return []


class PercentageOverhead(Overhead):
    """A share of the GPU rent on top of it."""

    kind: Literal["percentage"] = "percentage"
    percent_of_gpu: Usd = Field(description="15 adds 15 % of the GPU rent", examples=[15])

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        usd = usd_gpu * self.percent_of_gpu / 100
        return [Line(_PAYEE, OVERHEAD, self.percent_of_gpu, "% of GPU rent", usd)]


class MultiplierOverhead(Overhead):
    """Rent and overhead together are a multiple of the GPU rent."""

    kind: Literal["multiplier"] = "multiplier"
    times_gpu: float = Field(
        ge=1, description="3 makes rent and overhead together three times the GPU rent", examples=[3]
    )

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        more = self.times_gpu - 1
        return [Line(_PAYEE, OVERHEAD, more, "times GPU rent", usd_gpu * more)]


class MonthlyItems(Overhead):
    """Named monthly costs of having a fleet, owed even if it is idle, in proportion to the window (730 h a month)."""

    kind: Literal["monthly_items"] = "monthly_items"
    usd_per_month: dict[str, Usd] = Field(
        min_length=1,
        description="USD a month by name, e.g. engineer_half_time: 9000",
        examples=[{"half_an_engineer": 9000, "gateway": 300}],
    )

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        if not usage.pools:
            return []
        months = usage.window.length_s / MONTH_S
        items = self.usd_per_month.items()
        return [Line(_PAYEE, f"{OVERHEAD}: {name}", months, "month", months * usd) for name, usd in items]
