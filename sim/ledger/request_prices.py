"""What single requests cost by the bill's prices, while a run goes on: for routers that spend dollars."""

from __future__ import annotations

from functools import cache

from sim.ledger.tariffs.base import ApiTariff
from sim.ledger.usage_tables import API_TOKENS, ApiService
from sim.moment_zero import MomentZero, zone_of
from sim.units import HOUR_S
from sim.work import Request


class RequestPrices:
    """The prices of a tariff, request by request.

    `has_cache`: whether the API may read a prompt from a cache, or write it to one. `copies`: how often it may be sent
    the same request; 2 where a late one is hedged.
    """

    def __init__(
        self, tariff: ApiTariff, model_name: str, moment_zero: MomentZero, has_cache: bool = False, copies: int = 1
    ):
        self._tariff, self._model_name, self._moment_zero = tariff, model_name, moment_zero
        self._ways = ("cached_input_tokens", "cache_write_tokens") if has_cache else ()
        self._copies = copies
        self._hour_of_week = cache(self._hour_of_week_in)

    def usd(self, request: Request) -> float:
        """What an answered request adds to the bill, with its copy that lost a hedge."""
        extra, hour = request.api_extra, self._hour(request)
        service = ApiService.BATCH if extra is not None and extra.is_batch else ApiService.STANDARD
        usd = self._usd({name: getattr(request, name) for name in API_TOKENS}, service, hour)
        if extra is not None and extra.is_hedged:
            usd += self._usd({name: getattr(extra, f"lost_{name}") for name in API_TOKENS}, ApiService.LOST_HEDGE, hour)
        return usd

    def most_usd(self, request: Request, output_tokens: int) -> float:
        """The most that a request costs if its answer has at most `output_tokens`, however its prompt is cached."""
        tokens, hour = dict.fromkeys(API_TOKENS, 0), self._hour(request)
        tokens |= {"input_tokens": request.input_tokens, "output_tokens": output_tokens}
        ways = [tokens, *(tokens | {way: request.input_tokens} for way in self._ways)]
        return self._copies * max(self._usd(way, ApiService.STANDARD, hour) for way in ways)

    def _usd(self, tokens: dict[str, int], service: ApiService, hour: int) -> float:
        return self._tariff.request_usd(self._model_name, tokens, service, hour)

    def _hour(self, request: Request) -> int:
        """The hour of the week of a request's arrival, in the tariff's zone."""
        return self._hour_of_week(int((request.arrived_s + self._moment_zero.past_hour_s) // HOUR_S))

    def _hour_of_week_in(self, hour: int) -> int:
        """The same for a full hour of UTC since second 0."""
        local = self._moment_zero.local(hour * HOUR_S - self._moment_zero.past_hour_s, zone_of(self._tariff.time_zone))
        return 24 * local.weekday() + local.hour
