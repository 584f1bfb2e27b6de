"""A spending cap on requests that overflow to the API."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Any, Literal, Protocol, Self

from pydantic import Field, PrivateAttr, model_validator

from sim.clock import Clock
from sim.moment_zero import OnTheClock
from sim.units import HOUR_S
from sim.work import Outcome, Request

_BILLED = (Outcome.FINISHED, Outcome.STOPPED, Outcome.ABORTED)
_ROUNDING = 1e-9
"""Fraction of a cap by which sums may exceed it, because sums of prices are rounded."""


class RequestPrices(Protocol):
    """What the bill says of single requests at the API, in USD."""

    def usd(self, request: Request) -> float:
        """Cost of an answered request."""

    def most_usd(self, request: Request, output_tokens: int) -> float:
        """The most that a request costs if its answer has at most `output_tokens`."""


class Budget(OnTheClock):
    """The most USD that the API's part of the bill may grow by per hour or day of the scenario's clock.

    It counts at the bill's prices, `prices.api`. A request counts in the period in which it is sent: with the most that
    its prompt and `output_tokens_reserved` can cost while it is in service, with its real cost once it has ended. The
    cap holds if no answer is longer than the reserve.
    """

    usd: float = Field(gt=0, description="largest spending per period, at the prices of prices.api")
    per: Literal["hour", "day"] = Field(description="length of the period")
    output_tokens_reserved: int = Field(ge=0, description="output counted while in service, e.g. max_tokens")

    _prices: RequestPrices | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _has_no_prices_of_its_own(cls, data: Any) -> Any:
        for key in data if isinstance(data, Mapping) else ():
            if str(key).startswith("usd_per_mtok"):
                raise ValueError(f"{key}: a budget counts at the bill's prices; leave it out, and set prices.api.{key}")
        return data

    @property
    def prices(self) -> RequestPrices:
        """The bill's prices, which a run gives it before it begins."""
        assert self._prices is not None, "a run gives a budget the bill's prices before it begins"
        return self._prices

    def at(self, prices: RequestPrices) -> Self:
        """A copy for a run whose bill has these prices."""
        copy = self.model_copy()
        copy._prices = prices
        return copy

    def period_end_s(self, now_s: float) -> float:
        """The second at which the present period ends: the next full hour, or midnight, of the scenario's clock."""
        clock = self.moment_zero
        if self.per == "day":
            return clock.next_midnight_s(now_s)
        past_s = clock.week_s % HOUR_S
        return (floor((now_s + past_s) / HOUR_S) + 1) * HOUR_S - past_s


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
        usd = budget.prices.most_usd(request, budget.output_tokens_reserved)
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
            self._usd += self._budget.prices.usd(request)

    def _present_period(self) -> int:
        """The number of the present period; a new period begins with nothing spent."""
        now_s = self._clock.now_s
        if now_s >= self._period_end_s:
            self._period, self._usd = self._period + 1, 0.0
            self._period_end_s = self._budget.period_end_s(now_s)
        return self._period
