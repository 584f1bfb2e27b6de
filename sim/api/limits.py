"""Rate limits of a provider: token buckets for requests and tokens, whose rates may follow the hour or the use."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, inf

from pydantic import Field, model_validator

from sim.moment_zero import OnTheClock
from sim.schema import Config
from sim.units import HOUR_S, MINUTE_S
from sim.work import Request

CLOCK_S = 1e-6
"""A limit that lifts within this time counts as lifted, because the simulated clock is rounded."""


class HourlyLimits(Config):
    """Hours of the day in which every limit per minute is `multiplier` times its usual value."""

    from_hour: int = Field(ge=0, le=23, description="of the day in the scenario's zone")
    to_hour: int = Field(ge=1, le=24, description="first hour not included; hours across midnight need two entries")
    multiplier: float = Field(gt=0, description="limits in these hours / usual limits")

    @model_validator(mode="after")
    def _hours_in_order(self) -> HourlyLimits:
        if self.from_hour >= self.to_hour:
            raise ValueError(f"to_hour = {self.to_hour}: must be > from_hour = {self.from_hour}")
        return self


class Ramp(Config):
    """Limits that follow use: sustained traffic raises them, while a sudden burst meets the limits of before.

    Every `every_s` seconds each limit becomes `growth` times the use since the last change (per minute), but at least
    its usual value and at most `max_multiplier` times that.
    """

    every_s: float = Field(60, gt=0, description="seconds between changes; an hour must be a multiple of it")
    growth: float = Field(2, gt=1, description="next limit / use since the last change")
    max_multiplier: float = Field(gt=1, description="highest limit / usual limit")

    @model_validator(mode="after")
    def _divides_the_hour(self) -> Ramp:
        if HOUR_S % self.every_s:
            raise ValueError(f"every_s = {self.every_s}: an hour ({HOUR_S:g} s) must be a multiple of it, e.g. 60")
        return self


class Quota(OnTheClock):
    """The rate limits of a provider, and how they change. null: no limit."""

    requests_per_minute: float | None = Field(None, gt=0, description="limit on requests; null: none")
    tokens_per_minute: float | None = Field(None, gt=0, description="limit on input + output tokens; null: none")
    input_tokens_per_minute: float | None = Field(None, gt=0, description="limit on input tokens; null: none")
    output_tokens_per_minute: float | None = Field(None, gt=0, description="limit on output tokens; null: none")
    limits_count_cached_tokens: bool = Field(True, description="false: cached input takes nothing from any limit")
    max_output_tokens: int | None = Field(
        None, ge=1, description="output tokens counted at least (the request's max_tokens); null: those generated"
    )
    burst_s: float = Field(60, gt=0, description="seconds of quota that a full bucket holds")
    hourly_limits: tuple[HourlyLimits, ...] = Field((), description="the first entry that covers an hour counts")
    ramp: Ramp | None = Field(None, description="limits that rise with use; null: limits do not change with use")


class Bucket:
    """A token bucket, full at first, refilled continuously at `per_s`; full, it holds `burst_s` seconds of that rate.

    The level is stored as `full_s`, the moment at which the bucket will be full again:
    level = capacity - per_s * (full_s - now_s), at most capacity. `taken` is the amount taken since `Limits` reset it.
    """

    __slots__ = ("per_s", "burst_s", "full_s", "taken")

    def __init__(self, per_s: float, burst_s: float):
        self.per_s = per_s
        self.burst_s = burst_s
        self.full_s = -inf
        self.taken = 0.0

    @property
    def capacity(self) -> float:
        """What the bucket holds when it is full, at the present rate."""
        return self.per_s * self.burst_s

    def ready_s(self, amount: float) -> float:
        """The moment from which the bucket holds `amount`, or would hold it if its capacity were large enough."""
        return self.full_s - (self.capacity - amount) / self.per_s

    def take(self, amount: float, now_s: float) -> None:
        """Take `amount` out, also below zero."""
        self.full_s = max(self.full_s, now_s) + amount / self.per_s
        self.taken += amount

    def refill_at(self, per_s: float, now_s: float) -> None:
        """Refill at another rate, up to that rate's capacity, from now on; the level stays, unless it is above that."""
        level = self.capacity - self.per_s * max(0.0, self.full_s - now_s)
        self.per_s = per_s
        self.full_s = now_s + max(0.0, self.capacity - level) / per_s


class Limits:
    """The buckets of a provider in one run. Full, one holds `burst_s` seconds of the present quota.

    `cached_tokens(request, now_s)`: the cached input of a request, called where cached input does not count. Rates
    change at multiples of the ramp's `every_s` or of an hour, counted from a full hour of the scenario's clock; each
    method first applies the changes up to now.
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
        # Dicts and pairs from here on are keyed by the place of a limit in `per_minute` and in what `_amounts` returns.
        self._usual = {i: quota_limit / MINUTE_S for i, quota_limit in enumerate(per_minute) if quota_limit is not None}
        self._buckets = {limit: Bucket(rate, quota.burst_s) for limit, rate in self._usual.items()}
        self._numbered = tuple(self._buckets.items())
        highest = max((1.0, *(hours.multiplier for hours in quota.hourly_limits)))
        highest *= quota.ramp.max_multiplier if quota.ramp else 1.0
        self._most = {limit: bucket.capacity * highest for limit, bucket in self._buckets.items()}
        self._counts_cached = quota.limits_count_cached_tokens
        self._least_output = quota.max_output_tokens or 0
        self._every_s = quota.ramp.every_s if quota.ramp else HOUR_S if quota.hourly_limits else inf
        self._past_s = quota.moment_zero.week_s % self._every_s if self._every_s < inf else 0.0
        self._ramped = dict.fromkeys(self._usual, 1.0)
        self._changes = 0
        if self._buckets and self._every_s < inf:
            self._change(0.0)
            for bucket in self._buckets.values():
                bucket.full_s = -inf  # The run begins with full buckets, whatever the first hour's rate.

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def next_change_s(self, now_s: float) -> float:
        """The moment at which rates may change next; inf if they never change."""
        if self._every_s == inf:
            return inf
        return (floor((now_s + self._past_s) / self._every_s) + 1) * self._every_s - self._past_s

    def fits(self, request: Request, now_s: float) -> bool:
        """Whether full buckets, at their highest rates, hold what the request takes. If not, waiting does not help."""
        amounts = self._amounts(request, now_s)
        for limit, _ in self._numbered:
            if amounts[limit] > self._most[limit]:
                return False
        return True

    def ready_s(self, request: Request, now_s: float) -> float:
        """The moment from which all buckets hold what the request takes, at the present rates."""
        self._catch_up(now_s)
        amounts, latest_s = self._amounts(request, now_s), -inf
        for limit, bucket in self._numbered:
            ready_s = bucket.ready_s(amounts[limit])
            if ready_s > latest_s:
                latest_s = ready_s
        return latest_s

    def take(self, request: Request, now_s: float) -> None:
        """Take from every bucket what the request takes."""
        self._catch_up(now_s)
        amounts = self._amounts(request, now_s)
        for limit, bucket in self._numbered:
            bucket.take(amounts[limit], now_s)

    def wait_s(self, requests_ahead: int, tokens_ahead: int, now_s: float) -> float:
        """Seconds that a small request would wait behind these others, by the buckets of requests and of all tokens."""
        self._catch_up(now_s)
        ahead = (requests_ahead + 1, tokens_ahead + 1, 1, 1)
        return max((bucket.ready_s(ahead[limit]) - now_s for limit, bucket in self._numbered), default=0.0)

    def _amounts(self, request: Request, now_s: float) -> tuple[int, int, int, int]:
        """(requests, all tokens, input tokens, output tokens): what the request takes from each bucket."""
        input_tokens, output_tokens = request.input_tokens, request.output_tokens
        if not self._counts_cached:
            input_tokens -= self._cached_tokens(request, now_s)
        if output_tokens < self._least_output:
            output_tokens = self._least_output
        return 1, input_tokens + output_tokens, input_tokens, output_tokens

    def _catch_up(self, now_s: float) -> None:
        """Apply every change of rates up to now, in order."""
        while self._every_s * (self._changes + 1) - self._past_s <= now_s:
            self._changes += 1
            self._change(self._every_s * self._changes - self._past_s)

    def _change(self, change_s: float) -> None:
        """Set the rates that hold from `change_s` on, by the hour and by the use since the last change."""
        ramp, hourly = self._quota.ramp, 1.0
        if self._quota.hourly_limits:
            hour = self._quota.moment_zero.local(change_s).hour
            hourly = next((h.multiplier for h in self._quota.hourly_limits if h.from_hour <= hour < h.to_hour), 1.0)
        for limit, bucket in self._buckets.items():
            usual = self._usual[limit]
            if ramp and change_s > 0:
                used = bucket.taken / (usual * hourly * ramp.every_s)
                self._ramped[limit] = min(max(1.0, ramp.growth * used), ramp.max_multiplier)
                bucket.taken = 0.0
            bucket.refill_at(usual * hourly * self._ramped[limit], change_s)
