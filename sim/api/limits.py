"""What a provider lets in: token buckets for requests and tokens, at rates that may follow the hour or the use."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, inf

from pydantic import Field, model_validator

from sim.schema import Config
from sim.units import DAY_S, HOUR_S, MINUTE_S
from sim.work import Request

CLOCK_S = 1e-6
"""A limit that lifts within this time has lifted: absorbs rounding of the clock."""


class HourlyLimits(Config):
    """Hours of the day in which all limits per minute are a multiple of what they usually are."""

    from_hour: int = Field(ge=0, le=23, description="of the simulated day, which begins at hour 0")
    to_hour: int = Field(ge=1, le=24, description="not included; two entries for hours across midnight")
    multiplier: float = Field(gt=0)

    @model_validator(mode="after")
    def _hours_in_order(self) -> HourlyLimits:
        if self.from_hour >= self.to_hour:
            raise ValueError(f"to_hour = {self.to_hour}: must be > from_hour = {self.from_hour}")
        return self


class Ramp(Config):
    """Limits that follow use: sustained traffic raises them, a sudden burst meets the old ones.

    After every `every_s`, each limit per minute becomes `growth` times what was let in meanwhile (per minute), but at
    least what it usually is and at most `max_multiplier` times that.
    """

    every_s: float = Field(60, gt=0, description="seconds between changes; an hour must be a multiple of it")
    growth: float = Field(2, gt=1, description="the next limit, over the use since the last change")
    max_multiplier: float = Field(gt=1, description="the highest limit, over the usual one")

    @model_validator(mode="after")
    def _divides_the_hour(self) -> Ramp:
        if HOUR_S % self.every_s:
            raise ValueError(f"every_s = {self.every_s}: {HOUR_S:g} must be a multiple of it")
        return self


class Quota(Config):
    """What a provider lets in per minute, and how that changes; null: no limit."""

    requests_per_minute: float | None = Field(None, gt=0, description="limit on requests; null: none")
    tokens_per_minute: float | None = Field(None, gt=0, description="limit on input + output tokens; null: none")
    input_tokens_per_minute: float | None = Field(None, gt=0, description="limit on input tokens; null: none")
    output_tokens_per_minute: float | None = Field(None, gt=0, description="limit on output tokens; null: none")
    limits_count_cached_tokens: bool = Field(True, description="false: cached input takes nothing from any limit")
    max_output_tokens: int | None = Field(
        None, ge=1, description="output that counts at least, as a request's max_tokens does; null: what it generates"
    )
    burst_s: float = Field(60, gt=0, description="seconds' worth of quota that a bucket holds")
    hourly_limits: tuple[HourlyLimits, ...] = Field((), description="the first that covers an hour counts")
    ramp: Ramp | None = Field(None, description="limits that rise with use; null: they do not")


class Bucket:
    """A token bucket, full at first, refilled continuously at `per_s` up to `capacity`.

    Kept as the moment at which it would be full again: level = capacity - per_s * (full_s - now), at most capacity.
    """

    __slots__ = ("per_s", "capacity", "full_s", "taken")

    def __init__(self, per_s: float, capacity: float):
        self.per_s = per_s
        self.capacity = capacity
        self.full_s = -inf
        self.taken = 0.0  # since whoever cares last set it to 0

    def ready_s(self, amount: float) -> float:
        """The moment from which it holds `amount`, or would if it were large enough."""
        return self.full_s - (self.capacity - amount) / self.per_s

    def take(self, amount: float, now_s: float) -> None:
        self.full_s = max(self.full_s, now_s) + amount / self.per_s
        self.taken += amount

    def refill_at(self, per_s: float, now_s: float) -> None:
        """Refill at another rate from now on; what it holds stays."""
        if self.full_s > now_s:
            self.full_s = now_s + (self.full_s - now_s) * self.per_s / per_s
        self.per_s = per_s


class Limits:
    """The buckets of a provider in one run. Each holds `burst_s` seconds' worth of its usual quota, whatever its rate.

    `cached_tokens(request, now_s)` is asked where cached input does not count. Rates change at fixed moments; the
    changes up to now are made up for whenever something is asked.
    """

    def __init__(self, quota: Quota, cached_tokens: Callable[[Request, float], int]):
        self._quota = quota
        self._cached_tokens = cached_tokens
        per_minute = (
            quota.requests_per_minute,
            quota.tokens_per_minute,
            quota.input_tokens_per_minute,
            quota.output_tokens_per_minute,
        )
        self._usual = {what: limit / MINUTE_S for what, limit in enumerate(per_minute) if limit is not None}
        self._buckets = {what: Bucket(rate, rate * quota.burst_s) for what, rate in self._usual.items()}
        self._numbered = tuple(self._buckets.items())
        self._counts_cached = quota.limits_count_cached_tokens
        self._least_output = quota.max_output_tokens or 0
        self._every_s = quota.ramp.every_s if quota.ramp else HOUR_S if quota.hourly_limits else inf
        self._ramped = dict.fromkeys(self._usual, 1.0)
        self._changes = 0
        if self._buckets and self._every_s < inf:
            self._change(0.0)

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def next_change_s(self, now_s: float) -> float:
        """When rates may change next; inf if they never do."""
        return inf if self._every_s == inf else (floor(now_s / self._every_s) + 1) * self._every_s

    def fits(self, request: Request, now_s: float) -> bool:
        """Whether full buckets hold the request: else no waiting helps."""
        amounts = self._amounts(request, now_s)
        for what, bucket in self._numbered:
            if amounts[what] > bucket.capacity:
                return False
        return True

    def ready_s(self, request: Request, now_s: float) -> float:
        """The moment from which all buckets hold what the request takes, at the present rates."""
        self._catch_up(now_s)
        amounts, latest_s = self._amounts(request, now_s), -inf
        for what, bucket in self._numbered:
            ready_s = bucket.ready_s(amounts[what])
            if ready_s > latest_s:
                latest_s = ready_s
        return latest_s

    def take(self, request: Request, now_s: float) -> None:
        """Let the request in."""
        self._catch_up(now_s)
        amounts = self._amounts(request, now_s)
        for what, bucket in self._numbered:
            bucket.take(amounts[what], now_s)

    def wait_s(self, requests_ahead: int, tokens_ahead: int, now_s: float) -> float:
        """How long a small request would wait behind so many others, by the buckets of requests and of all tokens."""
        self._catch_up(now_s)
        ahead = (requests_ahead + 1, tokens_ahead + 1, 1, 1)
        return max((bucket.ready_s(ahead[what]) - now_s for what, bucket in self._numbered), default=0.0)

    def _amounts(self, request: Request, now_s: float) -> tuple[int, int, int, int]:
        """(requests, tokens, input, output): what the request takes from each bucket."""
        input_tokens, output_tokens = request.input_tokens, request.output_tokens
        if not self._counts_cached:
            input_tokens -= self._cached_tokens(request, now_s)
        if output_tokens < self._least_output:
            output_tokens = self._least_output
        return 1, input_tokens + output_tokens, input_tokens, output_tokens

    def _catch_up(self, now_s: float) -> None:
        while self._every_s * (self._changes + 1) <= now_s:
            self._changes += 1
            self._change(self._every_s * self._changes)

    def _change(self, at_s: float) -> None:
        ramp, hour = self._quota.ramp, at_s % DAY_S / HOUR_S
        of_the_hour = next((h.multiplier for h in self._quota.hourly_limits if h.from_hour <= hour < h.to_hour), 1.0)
        for what, bucket in self._buckets.items():
            usual = self._usual[what]
            if ramp and at_s > 0:
                used = bucket.taken / (usual * of_the_hour * ramp.every_s)
                self._ramped[what] = min(max(1.0, ramp.growth * used), ramp.max_multiplier)
                bucket.taken = 0.0
            bucket.refill_at(usual * of_the_hour * self._ramped[what], at_s)
