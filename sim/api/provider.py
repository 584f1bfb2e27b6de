"""An API provider: distributions of its latency, its limits, outages and prompt cache, and how its client acts."""

from __future__ import annotations

from math import exp
from statistics import NormalDist
from typing import Literal

from pydantic import Field, model_validator

from sim.api.client import BatchTier, Hedge, Retry
from sim.api.limits import Quota
from sim.api.outages import Outages
from sim.api.prompt_cache import PromptCache
from sim.schema import Choice
from sim.units import MINUTE_S

_normal_quantile = NormalDist().inv_cdf


class ApiChoice(Choice):
    """The provider of a scenario, or none. A provider of a new kind derives from `ApiProvider`.

    The contract of every provider (tests/contracts/test_api.py):

    1. Latencies follow the distributions that `ttft_s`, `decode_s` and `mean_ttft_s` state.
    2. No rate limit is exceeded over any span of time.
    3. Every request has exactly one outcome, or is in `unfinished()` at the end of the run.

    >>> import sim
    >>> isinstance(sim.scenario("fleet=api_only").api, sim.ApiChoice)
    True
    """


class NoApi(ApiChoice):
    """No API: every request goes to the fleet."""

    kind: Literal["none"] = "none"


class ApiProvider(ApiChoice, Quota):
    """Latency, limits, outages and prompt cache of a provider, and how its client reacts to them.

    Time to first token: lognormal with median `ttft_median_s` and log-standard-deviation `ttft_sigma`; for a fraction
    `ttft_tail_fraction` of the requests the median is `ttft_tail_median_s` instead. The remaining output tokens follow
    at a speed that is lognormal per request. Neither depends on the load. Each prompt token that was not cached delays
    the first token by `ttft_s_per_uncached_token`.

    Limits are token buckets, refilled continuously, that hold `burst_s` seconds of quota. A request takes its input and
    output tokens from its buckets at admission; one that does not fit into full buckets is always refused. `on_limit`
    says what a client over a limit does: `wait`, it knows the limits and sends its requests in order as soon as there
    is room; `retry`, it sends at once, gets a 429 with a Retry-After and retries; `refuse`, it gives up after the 429.
    """

    kind: Literal["provider"] = "provider"
    ttft_median_s: float = Field(ge=0, description="median seconds to the first token, outside the tail")
    ttft_sigma: float = Field(0, ge=0, le=5, description="log-standard-deviation of the time to first token")
    ttft_tail_fraction: float = Field(0, ge=0, lt=1, description="share of requests in the slow tail")
    ttft_tail_median_s: float | None = Field(None, ge=0, description="median seconds to the first token in the tail")
    ttft_s_per_uncached_token: float = Field(0, ge=0, description="seconds per prompt token that was not cached")
    output_tokens_per_s: float = Field(gt=0, description="median speed of one request after its first token")
    output_tokens_per_s_sigma: float = Field(0, ge=0, le=5, description="log-standard-deviation of the speed")
    max_concurrency: int | None = Field(None, ge=1, description="requests served at the same time; null: no limit")
    on_limit: Literal["wait", "retry", "refuse"] = Field("wait", description="what the client does over a limit")
    retry: Retry = Field(Retry(), description="after a 429 (on_limit: retry) or an error")
    outages: Outages | None = Field(None, description="when the provider is down; null: never")
    hedge: Hedge | None = Field(None, description="second copies of slow requests; null: none")
    batch: BatchTier | None = Field(None, description="requests sent as batch work; null: none")
    prompt_cache: PromptCache | None = Field(None, description="rules of the prompt cache; null: no input is cached")

    @model_validator(mode="after")
    def _consistent(self) -> ApiProvider:
        if self.ttft_tail_fraction and (self.ttft_tail_median_s or 0) < self.ttft_median_s:
            raise ValueError(
                f"ttft_tail_fraction = {self.ttft_tail_fraction} needs ttft_tail_median_s = {self.ttft_tail_median_s} "
                f"to be >= ttft_median_s = {self.ttft_median_s}"
            )
        rpm = self.requests_per_minute
        if rpm is not None and rpm / MINUTE_S * self.burst_s < 1:
            raise ValueError(
                f"requests_per_minute = {rpm} / 60 * burst_s = {self.burst_s} must be >= 1, or no request ever fits"
            )
        return self

    def ttft_s(self, quantile: float, uncached_tokens: int = 0) -> float:
        """Seconds to the first token: the value at `quantile`, in (0, 1), of the distribution above."""
        tail = self.ttft_tail_fraction
        median_s = self.ttft_median_s
        if tail:
            body = 1.0 - tail
            if quantile > body:
                median_s, quantile = self.ttft_tail_median_s or 0.0, (quantile - body) / tail
            else:
                quantile /= body
        return (
            median_s * _lognormal_factor(quantile, self.ttft_sigma) + self.ttft_s_per_uncached_token * uncached_tokens
        )

    def decode_s(self, quantile: float, output_tokens: int) -> float:
        """Seconds from the first to the last of `output_tokens`, at the `quantile` of the distribution of the speed."""
        speed = self.output_tokens_per_s * _lognormal_factor(quantile, self.output_tokens_per_s_sigma)
        return (output_tokens - 1) / speed

    def mean_ttft_s(self) -> float:
        """Expected seconds to the first token of a prompt that is cached in full."""
        tail = self.ttft_tail_fraction
        median_s = (1 - tail) * self.ttft_median_s + tail * (self.ttft_tail_median_s or 0.0)
        return median_s * exp(self.ttft_sigma**2 / 2)

    def turnaround_s(self, quantile: float) -> float:
        """Seconds until batch work is answered, at this quantile. Raises ValueError without `batch`."""
        tier = self.batch
        if tier is None:
            raise ValueError("batch = null: the provider takes no batch work")
        return min(tier.window_s, tier.turnaround_median_s * _lognormal_factor(quantile, tier.turnaround_sigma))

    def mean_service_s(self, mean_output_tokens: float) -> float:
        """Expected seconds from admission to the last token, of a prompt that is cached in full."""
        mean_token_s = exp(self.output_tokens_per_s_sigma**2 / 2) / self.output_tokens_per_s
        return self.mean_ttft_s() + (mean_output_tokens - 1) * mean_token_s


def _lognormal_factor(quantile: float, sigma: float) -> float:
    """Quantile of a lognormal with median 1, finite because quantiles are cut at 1e-12 and 1 - 1e-12."""
    if not sigma:
        return 1.0
    if not 1e-12 < quantile < 1 - 1e-12:
        quantile = 1e-12 if quantile < 0.5 else 1 - 1e-12
    return exp(sigma * _normal_quantile(quantile))
