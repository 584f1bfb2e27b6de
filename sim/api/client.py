"""The client of an API: when it retries, when it sends a second copy, what it sends as batches; random draws."""

from __future__ import annotations

from math import ceil

from pydantic import Field

from sim.schema import Config
from sim.work import Call


class Retry(Config):
    """How a client retries after a 429 (too many requests) or an error.

    After the k-th failed attempt it waits min(cap_s, base_s * factor^(k-1)), times a jitter uniform in
    1 ± jitter_fraction, and at least the Retry-After if `obeys_retry_after`. After the last attempt the request is
    refused. The defaults are those of the SGLang gateway.
    """

    max_attempts: int = Field(5, ge=1, description="attempts in all, with the first one")
    base_s: float = Field(0.05, ge=0, description="wait after the first failed attempt")
    factor: float = Field(1.5, ge=1, description="each wait / the wait before it")
    cap_s: float = Field(30, gt=0, description="longest wait, before jitter")
    jitter_fraction: float = Field(0.2, ge=0, le=1, description="the wait varies by up to this fraction, up or down")
    obeys_retry_after: bool = Field(True, description="wait at least the 429's Retry-After, in whole seconds")

    def wait_s(self, failed_attempts: int, luck: float, retry_after_s: float = 0.0) -> float:
        """Seconds until the next attempt. `luck`: uniform in (0, 1); `retry_after_s`: what the provider asks for.

        >>> [Retry(base_s=1, factor=2, cap_s=5).wait_s(k, 0.5) for k in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, 5.0]
        >>> Retry(base_s=1).wait_s(1, 0.5, retry_after_s=2.1)
        3.0
        """
        backoff_s = min(self.cap_s, self.base_s * self.factor ** min(failed_attempts - 1, 200))
        backoff_s *= 1 + self.jitter_fraction * (2 * luck - 1)
        return max(backoff_s, float(ceil(retry_after_s)) if self.obeys_retry_after else 0.0)


class Hedge(Config):
    """A second copy of a request whose first token is late; the answer is the copy with the earlier first token.

    A copy is sent only if the limits leave room for it. With `cancels_loser` the losing copy is cancelled at the
    winner's first token and billed for its prompt alone. Without, it runs to its end, holds a slot and is billed in
    full, as by a provider that does not notice a closed connection.
    """

    after_s: float = Field(gt=0, description="seconds from admission without a first token until the copy is sent")
    cancels_loser: bool = Field(True, description="false: the losing copy is generated, and billed, to its end")


class BatchTier(Config):
    """A batch tier: requests outside all limits, whose whole answer arrives some time within a window.

    The turnaround is lognormal, cut at `window_s`. Prompt cache, hedges and retries do not apply to batch work.
    """

    from_priority: int = Field(
        description="tasks of this priority or a higher number (less urgent) are sent as batches"
    )
    turnaround_median_s: float = Field(gt=0, description="median seconds until the answer")
    turnaround_sigma: float = Field(0, ge=0, le=5, description="log-standard-deviation of the turnaround")
    window_s: float = Field(86_400, gt=0, description="longest time until an answer")


def luck(call: Call, draw: int) -> float:
    """A pseudo-random number in (0, 1), a function of the call's `api_quantiles` and `draw` (0, 1, 2, ...) alone.

    A call thus has the same draws under every policy. Source: the finalizer of SplitMix64 (Steele et al., 2014),
    applied to both quantiles.
    """
    first, second = call.api_quantiles
    state = int(first * 2**53) * 0x9E3779B97F4A7C15 + int(second * 2**53) * 0xC2B2AE3D27D4EB4F
    state = (state + (draw + 1) * 0xD1342543DE82EF95) & _ALL
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _ALL
    state = (state ^ state >> 27) * 0x94D049BB133111EB & _ALL
    return ((state ^ state >> 31) + 0.5) / 2**64


_ALL = (1 << 64) - 1
