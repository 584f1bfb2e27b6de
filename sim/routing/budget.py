"""A spending cap on requests that overflow to the API."""

from __future__ import annotations

from math import floor
from typing import Literal

from pydantic import Field

from sim.clock import Clock
from sim.moment_zero import OnTheClock
from sim.units import HOUR_S, MTOK
from sim.work import Outcome, Request

_BILLED = (Outcome.FINISHED, Outcome.STOPPED, Outcome.ABORTED)
_ROUNDING = 1e-9
"""Fraction of a cap by which sums may exceed it, because sums of prices are rounded."""


class Budget(OnTheClock):
    """The most USD that may be spent at the API per hour or day of the scenario's clock, at these prices.

    A request counts in the period in which it is sent: with its prompt and `output_tokens_reserved` while it is in
    service, with its real cost once it has ended. The cap holds if no answer is longer than the reserve.
    """

    usd: float = Field(gt=0, description="largest spending per period")
    per: Literal["hour", "day"] = Field(description="length of the period")
    usd_per_mtok_input: float = Field(ge=0, description="price of input tokens")
    usd_per_mtok_cached_input: float | None = Field(None, ge=0, description="null: as much as other input")
    usd_per_mtok_output: float = Field(ge=0, description="price of output tokens")
    output_tokens_reserved: int = Field(ge=0, description="output counted while in service, e.g. max_tokens")

    def period_end_s(self, now_s: float) -> float:
        """The second at which the present period ends: the next full hour, or midnight, of the scenario's clock."""
        clock = self.moment_zero
        if self.per == "day":
            return clock.next_midnight_s(now_s)
        past_s = clock.week_s % HOUR_S
        return (floor((now_s + past_s) / HOUR_S) + 1) * HOUR_S - past_s

    def cost_usd(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """USD of a request with these tokens; `input_tokens` include the cached ones."""
        read = self.usd_per_mtok_input if self.usd_per_mtok_cached_input is None else self.usd_per_mtok_cached_input
        plain = (input_tokens - cached_tokens) * self.usd_per_mtok_input
        return (plain + cached_tokens * read + output_tokens * self.usd_per_mtok_output) / MTOK


class Spending:
    """The USD spent and reserved in the present period of one run."""

    __slots__ = ("_clock", "_budget", "_period", "_period_end_s", "_usd", "_reserved")

    def __init__(self, clock: Clock, budget: Budget):
        self._clock, self._budget = clock, budget
        self._period, self._usd = 0, 0.0
        self._period_end_s = budget.period_end_s(0.0)
        self._reserved: dict[Request, tuple[int, float]] = {}  # request -> (number of the period, USD)

    def take(self, request: Request) -> bool:
        """Reserve what the request may cost. Returns False, without a change, if that would exceed the cap."""
        budget = self._budget
        period = self._present_period()
        usd = budget.cost_usd(request.input_tokens, 0, budget.output_tokens_reserved)
        if self._usd + usd > budget.usd * (1 + _ROUNDING):
            return False
        self._usd += usd
        self._reserved[request] = (period, usd)
        return True

    def settle(self, request: Request) -> None:
        """Replace the reservation of a request by its real cost, which is 0 unless the API admitted it."""
        entry = self._reserved.pop(request, None)
        if entry is None or entry[0] != self._present_period():
            return
        self._usd -= entry[1]
        if request.outcome in _BILLED:
            self._usd += self._budget.cost_usd(
                request.input_tokens, request.cached_input_tokens, request.output_tokens
            )  # fmt: skip

    def _present_period(self) -> int:
        """The number of the present period; a new period begins with nothing spent."""
        now_s = self._clock.now_s
        if now_s >= self._period_end_s:
            self._period, self._usd = self._period + 1, 0.0
            self._period_end_s = self._budget.period_end_s(now_s)
        return self._period
