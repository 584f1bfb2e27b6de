"""A spending cap on requests that overflow to the API."""

from __future__ import annotations

from math import floor
from typing import Literal

from pydantic import Field

from sim.clock import Clock
from sim.schema import Config
from sim.units import DAY_S, HOUR_S, MTOK
from sim.work import Outcome, Request

_ROUNDING = 1e-9
"""Fraction of a cap by which sums may exceed it, because sums of prices are rounded."""


class Budget(Config):
    """The most USD that may be spent at the API per hour or day of simulated time, at these prices.

    A request counts in the period in which it is sent: with its prompt and `output_tokens_reserved` while it is in
    service, with its real cost once it has ended. The cap holds if no answer is longer than the reserve.
    """

    usd: float = Field(gt=0, description="largest spending per period")
    per: Literal["hour", "day"] = Field(description="length of the period")
    usd_per_mtok_input: float = Field(ge=0, description="price of input tokens")
    usd_per_mtok_cached_input: float | None = Field(None, ge=0, description="null: as much as other input")
    usd_per_mtok_output: float = Field(ge=0, description="price of output tokens")
    output_tokens_reserved: int = Field(ge=0, description="output counted while in service, e.g. max_tokens")

    @property
    def period_s(self) -> float:
        """Length of the period to which the cap applies."""
        return HOUR_S if self.per == "hour" else DAY_S

    def cost_usd(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """USD of a request with these tokens; `input_tokens` include the cached ones."""
        read = self.usd_per_mtok_input if self.usd_per_mtok_cached_input is None else self.usd_per_mtok_cached_input
        plain = (input_tokens - cached_tokens) * self.usd_per_mtok_input
        return (plain + cached_tokens * read + output_tokens * self.usd_per_mtok_output) / MTOK


class Spending:
    """The USD spent and reserved in the present period of one run."""

    __slots__ = ("_clock", "_budget", "_period", "_usd", "_reserved")

    def __init__(self, clock: Clock, budget: Budget):
        self._clock, self._budget = clock, budget
        self._period, self._usd = 0, 0.0
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
        """Replace the reservation of a request by its real cost, which is 0 unless it FINISHED."""
        entry = self._reserved.pop(request, None)
        if entry is None or entry[0] != self._present_period():
            return
        self._usd -= entry[1]
        if request.outcome is Outcome.FINISHED:
            self._usd += self._budget.cost_usd(
                request.input_tokens, request.cached_input_tokens, request.output_tokens
            )  # fmt: skip

    def _present_period(self) -> int:
        """The number of the present period; a new period begins with nothing spent."""
        period = floor(self._clock.now_s / self._budget.period_s)
        if period != self._period:
            self._period, self._usd = period, 0.0
        return period
