"""What a provider charges for tokens: by model, by length of the prompt, by the hour of the day, by the batch."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator, model_validator

from sim.ledger.lines import (
    API_CACHE_WRITE,
    API_CACHED_INPUT,
    API_INPUT,
    API_OUTPUT,
    API_REQUESTS,
    Line,
    Usd,
    looked_up,
)
from sim.ledger.usage import CONTEXT_EDGES_TOKENS, Usage
from sim.ledger.usage_tables import ApiService
from sim.schema import Choice, Config
from sim.units import MTOK

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WEEK: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Rates(Config):
    """Prices of tokens. What the prompt cache did not give is input, or a cache write where writes have a price."""

    usd_per_mtok_input: Usd
    usd_per_mtok_output: Usd
    usd_per_mtok_cached_input: Usd | None = Field(None, description="None: cached tokens cost what input costs")
    usd_per_mtok_cache_write: Usd | None = Field(
        None,
        description="for what is written to the cache: all input not read from it; None: it costs what input costs",
    )

    def items(self, api: dict[str, np.ndarray]) -> list[tuple[str, int, float]]:
        """(item, tokens, USD per Mtok) of these rows of a Usage's `api`."""
        total = {name: int(api[name].sum()) for name in api}
        cached, written = total["cached_input_tokens"], total["cache_write_tokens"]
        plain = self.usd_per_mtok_input
        read = plain if self.usd_per_mtok_cached_input is None else self.usd_per_mtok_cached_input
        wrote = []
        if self.usd_per_mtok_cache_write is not None:
            wrote = [(API_CACHE_WRITE, written, self.usd_per_mtok_cache_write)]
        uncached = total["input_tokens"] - cached - (written if wrote else 0)
        return [
            (API_INPUT, uncached, plain),
            (API_CACHED_INPUT, cached, read),
            *wrote,
            (API_OUTPUT, total["output_tokens"], self.usd_per_mtok_output),
        ]


class ContextTier(Rates):
    """Other rates for every token of a request whose prompt is longer than this."""

    above_input_tokens: int = Field(description="cached tokens included")

    @field_validator("above_input_tokens")
    @classmethod
    def _is_kept_apart(cls, tokens: int) -> int:
        if tokens not in CONTEXT_EDGES_TOKENS:
            raise ValueError(f"must be one of {', '.join(map(str, CONTEXT_EDGES_TOKENS))}: runs keep sums apart there")
        return tokens


class TokenRates(Rates):
    """Prices of one model's tokens."""

    usd_per_request: Usd = 0.0
    context_tiers: tuple[ContextTier, ...] = ()

    def at(self, context_over_tokens: int) -> Rates:
        """The rates of prompts longer than `context_over_tokens`, by the highest tier that this passes."""
        passed = [tier for tier in self.context_tiers if tier.above_input_tokens <= context_over_tokens]
        return max(passed, key=lambda tier: tier.above_input_tokens, default=self)


class TimedRate(Config):
    """Hours of the week, UTC, in which tokens cost a multiple. Requests count by the hour in which they arrive."""

    from_hour: int = Field(ge=0, le=23)
    to_hour: int = Field(ge=1, le=24, description="not included; two entries for hours across midnight")
    weekdays: tuple[Weekday, ...] = Field(_WEEK, min_length=1)
    multiplier: float = Field(gt=0)

    @model_validator(mode="after")
    def _hours_in_order(self) -> TimedRate:
        if self.from_hour >= self.to_hour:
            raise ValueError(f"to_hour = {self.to_hour}: must be > from_hour = {self.from_hour}")
        return self

    @property
    def label(self) -> str:
        """As it stands on a bill."""
        days = "" if self.weekdays == _WEEK else "/".join(self.weekdays) + " "
        return f"{days}{self.from_hour:02}-{self.to_hour:02} UTC x {self.multiplier:g}"

    def covers(self, hour_of_week: np.ndarray) -> np.ndarray:
        """Which hours, counted from Monday 00:00 UTC, it applies to."""
        days = [_WEEK.index(day) for day in self.weekdays]
        hour = hour_of_week % 24
        return np.isin(hour_of_week // 24 % 7, days) & (hour >= self.from_hour) & (hour < self.to_hour)


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
        hour = api["hour"] + self.begins_hour_utc + 24 * _WEEK.index(self.begins_weekday)
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


class TokenTariff(ApiTariff, TokenRates):
    """One flat tariff, whatever the model."""

    kind: Literal["token_tariff"] = "token_tariff"

    def rates(self, model_name: str | None) -> TokenRates:
        return self


class ModelTariff(ApiTariff):
    """A price list by model."""

    kind: Literal["model_tariff"] = "model_tariff"
    models: dict[str, TokenRates] = Field(description="rates by model, named as in conf/model")

    def rates(self, model_name: str | None) -> TokenRates:
        return looked_up(self.models, model_name, "prices.api.models")
