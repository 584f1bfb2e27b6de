"""What a client of an API does when it is not served at once: tries again, or sends a second copy; and its luck."""

from __future__ import annotations

from math import ceil

from pydantic import Field

from sim.schema import Config
from sim.work import Call


class Retry(Config):
    """How a client tries again after a 429 (too many requests) or an error.

    After the k-th failed attempt it waits base_s * factor^(k-1), at most cap_s, times a jitter uniform in 1 ±
    jitter_fraction; longer if a Retry-After says so and it is obeyed. After the last attempt the request is refused.
    Defaults: the SGLang gateway's.
    """

    max_attempts: int = Field(5, ge=1, description="the first one included")
    base_s: float = Field(0.05, ge=0, description="wait after the first failed attempt")
    factor: float = Field(1.5, ge=1, description="how much longer the wait after each further one")
    cap_s: float = Field(30, gt=0, description="longest backoff, before jitter")
    jitter_fraction: float = Field(0.2, ge=0, le=1, description="the wait varies by up to this share, up or down")
    obeys_retry_after: bool = Field(True, description="waits at least what the 429 asks for, in whole seconds")

    def wait_s(self, failed_attempts: int, luck: float, retry_after_s: float = 0.0) -> float:
        """Seconds until the next attempt; `luck` is uniform in (0, 1), `retry_after_s` what the provider would say.

        >>> [Retry(base_s=1, factor=2, cap_s=5).wait_s(k, 0.5) for k in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, 5.0]
        >>> Retry(base_s=1).wait_s(1, 0.5, retry_after_s=2.1)
        3.0
        """
        backoff_s = min(self.cap_s, self.base_s * self.factor ** min(failed_attempts - 1, 200))
        backoff_s *= 1 + self.jitter_fraction * (2 * luck - 1)
        return max(backoff_s, float(ceil(retry_after_s)) if self.obeys_retry_after else 0.0)


class Hedge(Config):
    """A second copy for a request whose first token is late. The copy that has its first token first wins.

    The copy needs room under the limits, else there is none. With `cancels_loser` the other copy is cancelled at that
    moment, before its own first token, and billed for its prompt alone; without, the provider does not notice that the
    client has gone, and the loser runs to its end, holds its slot and is billed in full.
    """

    after_s: float = Field(gt=0, description="seconds without a first token, from being let in")
    cancels_loser: bool = Field(True, description="false: the loser is generated, and billed, to its end")


class BatchTier(Config):
    """Work that can wait is taken outside all limits, and answered all at once within a window.

    Turnaround is lognormal, cut at the window. Neither the prompt cache nor hedging nor retries apply.
    """

    from_priority: int = Field(
        description="tasks of this priority or a higher number (less urgent) are sent as batches"
    )
    turnaround_median_s: float = Field(gt=0, description="median seconds until the answer")
    turnaround_sigma: float = Field(0, ge=0, le=5, description="log-standard-deviation of the turnaround")
    window_s: float = Field(86_400, gt=0, description="no answer takes longer")


def luck(call: Call, draw: int) -> float:
    """A number as if uniform in (0, 1), fixed by the call's own luck: the same under every policy.

    `draw` tells draws of one call apart. The finalizer of SplitMix64 (Steele, Lea and Flood, 2014) over both quantiles.
    """
    first, second = call.api_quantiles
    state = int(first * 2**53) * 0x9E3779B97F4A7C15 + int(second * 2**53) * 0xC2B2AE3D27D4EB4F
    state = (state + (draw + 1) * 0xD1342543DE82EF95) & _ALL
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _ALL
    state = (state ^ state >> 27) * 0x94D049BB133111EB & _ALL
    return ((state ^ state >> 31) + 0.5) / 2**64


_ALL = (1 << 64) - 1
