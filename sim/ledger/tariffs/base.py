"""The base of API tariffs: what a provider charges for tokens, by model, length of prompt, hour and batch work."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from pydantic import Field, field_validator

from sim.ledger.lines import API_REQUESTS, Line
from sim.ledger.tariffs.hours import TimedRate
from sim.ledger.tariffs.rates import Rates, TokenRates
from sim.ledger.usage import Usage
from sim.ledger.usage_tables import API_TOKENS, ApiService
from sim.moment_zero import zone_of
from sim.schema import Choice
from sim.units import MTOK

_LABEL_OF_SERVICE = {ApiService.STANDARD: "", ApiService.BATCH: ", batch tier", ApiService.LOST_HEDGE: ", lost hedges"}


class _ChargedAlike(NamedTuple):
    """Rows (bool[n]) of a Usage's `api` that have the same rates and multiplier; `label` follows the item on a bill."""

    label: str
    rows: np.ndarray
    rates: Rates
    multiplier: float


class ApiTariff(Choice):
    """What a provider charges for tokens: rate of the context tier x multiplier of the hour x those of batch work.

    A copy of a request that lost a hedge is charged like any other, on separate lines.

    The contract of every tariff, asked of each kind and of every file of conf/prices by tests/contracts/test_prices.py:

    1. `rates(model)` returns TokenRates for every model in `priced_models`, and for any other raises ConfigError that
       names the key, the model and the models that have a price. Where `priced_models` is None, every model has rates.
    2. `lines` of a usage in which the API served no request is [].
    3. No line has a negative quantity or negative USD. The items begin with "api "; of use there are at least the
       items "api input" and "api output", which `Rates.items` makes.
    4. The quantities of the lines in Mtok add up to all input and output tokens that the API finished.
    5. The lines of two adjoining windows add up to those of both together, and so do those of single applications.
    6. `request_usd` of all requests adds up to the lines.

    A file of conf/prices shows each kind, because only a list with prices can be billed.

    >>> import sim
    >>> tariff = sim.scenario("prices=market_2026").prices.api
    >>> isinstance(tariff, sim.ApiTariff), tariff.rates("llama_3_1_8b").usd_per_mtok_output > 0
    (True, True)
    """

    provider: str = Field(description="payee on the bill")
    as_of: str = Field(description="date of the price list")
    timed: tuple[TimedRate, ...] = Field(
        (), description="prices by hour of the week; the first entry with the hour counts"
    )
    time_zone: str = Field("UTC", description="in which the hours and weekdays of timed rates are told")
    batch_multiplier: float = Field(1.0, gt=0, le=1, description="on all tokens, where all work is sent as batches")
    batch_tier_multiplier: float = Field(
        1.0, gt=0, le=1, description="on the tokens of requests that the API took as batch work (api.batch)"
    )

    @field_validator("time_zone")
    @classmethod
    def _a_zone_of_full_hours(cls, name: str) -> str:
        zone = zone_of(name)
        for month in (1, 7):
            offset = datetime(2024, month, 1, tzinfo=zone).utcoffset()
            if offset is None or offset % timedelta(hours=1):
                raise ValueError("must differ from UTC by full hours: a run sums tokens by full hours of UTC")
        return name

    @property
    def priced_models(self) -> Collection[str] | None:
        """The models that have a price, named as in conf/model. None: one price holds for every model."""
        return None

    def rates(self, model_name: str | None) -> TokenRates:
        """The rates of this model. Raises ConfigError if the tariff has none."""
        raise NotImplementedError

    def lines(self, usage: Usage, model_name: str | None) -> list[Line]:
        """The API lines of a bill: one per item, context tier, timed rate and service. [] if the API served nothing."""
        requests = int(usage.api["requests"].sum())
        if not requests:
            return []
        rates, lines = self.rates(model_name), []
        if rates.context_tiers or self.timed:
            usage.require_detail("prices.api by context or hour")
        for label, rows, tier_rates, multiplier in self._charged_alike(usage, rates):
            for item, tokens, usd in tier_rates.items({name: int(usage.api[name][rows].sum()) for name in API_TOKENS}):
                mtok = tokens / MTOK
                lines.append(Line(self.provider, item + label, mtok, "Mtok", mtok * usd * multiplier))
        if rates.usd_per_request:
            lines.append(Line(self.provider, API_REQUESTS, requests, "request", requests * rates.usd_per_request))
        return lines

    def _charged_alike(self, usage: Usage, rates: TokenRates) -> list[_ChargedAlike]:
        """The rows of `usage.api` by service, context tier and timed rate; together they are all rows, each once."""
        api = usage.api
        service, timed = api["service"], np.full(len(api["hour"]), -1)
        if self.timed:
            hour = usage.moment_zero.hours_of_week(api["hour"], zone_of(self.time_zone))
            for i, rate in reversed(list(enumerate(self.timed))):
                timed[rate.covers(hour)] = i
        tiers = sorted(tier.above_input_tokens for tier in rates.context_tiers)
        tier = np.searchsorted(tiers, api["context_over_tokens"], side="right")
        found = []
        for s, t, i in sorted(set(zip(service.tolist(), tier.tolist(), timed.tolist(), strict=True))):
            over = tiers[t - 1] if t else 0
            label = _LABEL_OF_SERVICE[s] + (f", prompts over {over} tokens" if over else "")
            label += f", {self.timed[i].label(self.time_zone)}" if i >= 0 else ""
            rows = (service == s) & (tier == t) & (timed == i)
            found.append(_ChargedAlike(label, rows, rates.at(over), self._multiplier(ApiService(s), i)))
        return found

    def request_usd(
        self, model_name: str | None, tokens: Mapping[str, int], service: ApiService, hour_of_week: int
    ) -> float:
        """What one request adds to the bill, in USD: for a budget that is kept while requests come.

        `tokens`: its input, cached, written and output tokens, named as the columns of a Usage's `api`.
        `hour_of_week`: of its arrival, counted from Monday 00:00 in `time_zone`.
        """
        rates = self.rates(model_name)
        items = rates.at(tokens["input_tokens"] - 1).items(tokens)
        timed = next((i for i, rate in enumerate(self.timed) if rate.covers(np.array(hour_of_week))), -1)
        usd = sum(n * usd_per_mtok for _, n, usd_per_mtok in items) / MTOK
        return usd * self._multiplier(service, timed) + rates.usd_per_request

    def _multiplier(self, service: ApiService, timed: int) -> float:
        """Price / list price of a service in the hours of an entry of `timed`; -1: of none."""
        multiplier = self.batch_multiplier * (self.timed[timed].multiplier if timed >= 0 else 1.0)
        return multiplier * (self.batch_tier_multiplier if service == ApiService.BATCH else 1.0)
