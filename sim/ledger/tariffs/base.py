"""The base of API tariffs: what a provider charges for tokens, by model, length of prompt, hour and batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field

from sim.ledger.lines import API_REQUESTS, Line
from sim.ledger.tariffs.hours import WEEKDAYS, TimedRate, Weekday
from sim.ledger.tariffs.rates import Rates, TokenRates
from sim.ledger.usage import Usage
from sim.ledger.usage_tables import ApiService
from sim.schema import Choice
from sim.units import MTOK

_LABEL_OF_SERVICE = {ApiService.STANDARD: "", ApiService.BATCH: ", batch tier", ApiService.LOST_HEDGE: ", lost hedges"}


class _Class(NamedTuple):
    """Rows of a Usage's `api` that are charged alike."""

    label: str
    rows: np.ndarray
    rates: Rates
    multiplier: float


class ApiTariff(Choice):
    """What a provider charges for tokens: rate of the tier x multiplier of the hour x multipliers of the batch.

    Copies of requests that lost a hedge are charged like any other, on lines of their own.
    """

    provider: str = Field(description="who is paid")
    as_of: str = Field(description="date of the price list")
    timed: tuple[TimedRate, ...] = Field((), description="the first that covers an hour counts")
    begins_weekday: Weekday = Field("mon", description="UTC weekday at time 0 of the simulation; for timed rates")
    begins_hour_utc: int = Field(0, ge=0, le=23, description="UTC hour at time 0 of the simulation; for timed rates")
    batch_multiplier: float = Field(1.0, gt=0, le=1, description="on all tokens: a list for work sent as batches")
    batch_tier_multiplier: float = Field(
        1.0, gt=0, le=1, description="on the tokens of requests that the API took as batch work (api.batch)"
    )

    def rates(self, model_name: str | None) -> TokenRates:
        """The rates of this model; ConfigError if the list has none."""
        raise NotImplementedError

    def lines(self, usage: Usage, model_name: str | None) -> list[Line]:
        """Lines by item for all the API finished, a set of them per tier and hours with prices of their own."""
        requests = int(usage.api["requests"].sum())
        if not requests:
            return []
        rates, lines = self.rates(model_name), []
        if rates.context_tiers or self.timed:
            usage.require_detail("prices.api by context or hour")
        for label, rows, its_rates, multiplier in self._classes(usage.api, rates):
            for item, tokens, usd in its_rates.items({name: column[rows] for name, column in usage.api.items()}):
                mtok = tokens / MTOK
                lines.append(Line(self.provider, item + label, mtok, "Mtok", mtok * usd * multiplier))
        if rates.usd_per_request:
            lines.append(Line(self.provider, API_REQUESTS, requests, "request", requests * rates.usd_per_request))
        return lines

    def _classes(self, api: dict[str, np.ndarray], rates: TokenRates) -> list[_Class]:
        hour = api["hour"] + self.begins_hour_utc + 24 * WEEKDAYS.index(self.begins_weekday)
        service, timed = api["service"], np.full(len(hour), -1)
        for i, rate in reversed(list(enumerate(self.timed))):
            timed[rate.covers(hour)] = i
        tiers = sorted(tier.above_input_tokens for tier in rates.context_tiers)
        tier = np.searchsorted(tiers, api["context_over_tokens"], side="right")
        found = []
        for s, t, i in sorted(set(zip(service.tolist(), tier.tolist(), timed.tolist(), strict=True))):
            over = tiers[t - 1] if t else 0
            label = _LABEL_OF_SERVICE[s] + (f", prompts over {over} tokens" if over else "")
            label += f", {self.timed[i].label}" if i >= 0 else ""
            multiplier = self.batch_multiplier * (self.timed[i].multiplier if i >= 0 else 1.0)
            multiplier *= self.batch_tier_multiplier if s == ApiService.BATCH else 1.0
            found.append(_Class(label, (service == s) & (tier == t) & (timed == i), rates.at(over), multiplier))
        return found
