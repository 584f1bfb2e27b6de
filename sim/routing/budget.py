"""A spending cap on what overflows to the API."""

from __future__ import annotations

from math import floor
from typing import Literal

from pydantic import Field

from sim.clock import Clock
from sim.schema import Config
from sim.units import DAY_S, HOUR_S, MTOK
from sim.work import Outcome, Request

_CENT = 1e-9  # of a cap: sums of prices are rounded


class Budget(Config):
    """So much may be spent per hour or day of simulated time, at these prices.

    A request counts in the hour or day in which it is sent: by its prompt and `output_tokens_reserved` while it is
    under way, by what it took once it has ended. The cap is never passed if no answer is longer than the reserve.
    """

    usd: float = Field(gt=0, description="spent per period at most")
    per: Literal["hour", "day"]
    usd_per_mtok_input: float = Field(ge=0)
    usd_per_mtok_cached_input: float | None = Field(None, ge=0, description="None: cached tokens cost what input costs")
    usd_per_mtok_output: float = Field(ge=0)
    output_tokens_reserved: int = Field(ge=0, description="for an answer under way, as its max_tokens")

    @property
    def period_s(self) -> float:
        """Length of the period that the cap is for."""
        return HOUR_S if self.per == "hour" else DAY_S

    def cost_usd(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """What a request costs."""
        read = self.usd_per_mtok_input if self.usd_per_mtok_cached_input is None else self.usd_per_mtok_cached_input
        plain = (input_tokens - cached_tokens) * self.usd_per_mtok_input
        return (plain + cached_tokens * read + output_tokens * self.usd_per_mtok_output) / MTOK


class Spending:
    """What has been spent and reserved in the present period of one run."""

    __slots__ = ("_clock", "_budget", "_period", "_usd", "_reserved")

    def __init__(self, clock: Clock, budget: Budget):
        self._clock, self._budget = clock, budget
        self._period, self._usd = 0, 0.0
        self._reserved: dict[Request, tuple[int, float]] = {}  # request -> (its period, USD)

    def take(self, request: Request) -> bool:
        """Reserve what the request may cost; False, changing nothing, if the cap does not allow it."""
        budget = self._budget
        period = self._now()
        usd = budget.cost_usd(request.input_tokens, 0, budget.output_tokens_reserved)
        if self._usd + usd > budget.usd * (1 + _CENT):
            return False
        self._usd += usd
        self._reserved[request] = (period, usd)
        return True

    def settle(self, request: Request) -> None:
        """Put what a request cost in place of what was reserved for it; nothing for one that was turned away."""
        entry = self._reserved.pop(request, None)
        if entry is None or entry[0] != self._now():
            return
        self._usd -= entry[1]
        if request.outcome is Outcome.FINISHED:
            self._usd += self._budget.cost_usd(
                request.input_tokens, request.cached_input_tokens, request.output_tokens
            )  # fmt: skip

    def _now(self) -> int:
        period = floor(self._clock.now_s / self._budget.period_s)
        if period != self._period:
            self._period, self._usd = period, 0.0
        return period
