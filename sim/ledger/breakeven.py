"""Closed forms that compare costs without a simulation: cost per token, break-even fraction, volume and duty, overhead.

Pure functions of prices and speeds. Two of their arguments are what a simulation measures: how many tokens per second a
saturated replica produces with a given mix of requests, and `token_fraction_of_peak`, the part of that which is really
produced (cost articles call it utilization).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sim.units import HOUR_S, MONTH_S, MTOK


class Threshold(NamedTuple):
    """The fraction at which two costs are equal. `value` is None if it exceeds 1; `needed` is the fraction anyway."""

    value: float | None
    needed: float
    reason: str


def usd_per_mtok(
    usd_per_hour: float, tokens_per_s: float, token_fraction_of_peak: float = 1.0, times_gpu: float = 1.0
) -> float:
    """USD per million tokens: rent x overhead / (peak tokens per hour x fraction of peak). Infinite at fraction 0.

    `tokens_per_s` is the speed of a saturated replica, in the tokens that the price is for: output tokens, or all.
    `times_gpu` is rent and overhead together as a multiple of the rent.

    >>> round(usd_per_mtok(2.50, 700), 3), round(usd_per_mtok(2.50, 700, 0.1), 2)
    (0.992, 9.92)
    """
    tokens_per_hour = tokens_per_s * HOUR_S * token_fraction_of_peak
    return usd_per_hour * times_gpu / tokens_per_hour * MTOK if tokens_per_hour > 0 else math.inf


def blended_usd_per_mtok(
    usd_per_mtok_input: float, usd_per_mtok_output: float, input_tokens: float, output_tokens: float
) -> float:
    """USD per million tokens, input and output counted together, of an API at this mix of input and output tokens."""
    total = input_tokens + output_tokens
    return (usd_per_mtok_input * input_tokens + usd_per_mtok_output * output_tokens) / total


def breakeven_fraction(
    usd_per_hour: float, tokens_per_s: float, api_usd_per_mtok: float, times_gpu: float = 1.0
) -> Threshold:
    """The token_fraction_of_peak at which self-hosting costs as much per token as the API. None if it would exceed 1.

    >>> breakeven_fraction(2.50, 700, 0.88).value is None
    True
    """
    if not api_usd_per_mtok:
        return Threshold(None, math.inf, "unreachable: the API is free")
    needed = usd_per_mtok(usd_per_hour, tokens_per_s, 1.0, times_gpu) / api_usd_per_mtok
    if needed > 1:
        return Threshold(None, needed, f"unreachable: {needed:.0%} of peak would be needed")
    return Threshold(needed, needed, f"self-hosting is cheaper above {needed:.0%} of peak")


def replicas_for(
    tokens_per_month: float, tokens_per_s: float, most_fraction_of_peak: float = 1.0, peak_over_mean: float = 1.0
) -> int:
    """Replicas that a monthly volume needs: peak rate / (tokens_per_s x most_fraction_of_peak), rounded up.

    A month has 730 h. `tokens_per_s` is the speed of one saturated replica, `most_fraction_of_peak` the load at which
    latency is still acceptable, `peak_over_mean` the ratio of peak to mean traffic (1: perfectly steady).

    >>> replicas_for(10e9, 2000), replicas_for(10e9, 4000)
    (2, 1)
    """
    per_replica = tokens_per_s * MONTH_S * most_fraction_of_peak / peak_over_mean
    return max(math.ceil(tokens_per_month / per_replica - 1e-9), 0)


def self_hosted_usd_per_month(
    tokens_per_month: float,
    usd_per_replica_month: float,
    tokens_per_replica_month: float,
    least_replicas: int = 1,
    fixed_usd_per_month: float = 0.0,
) -> float:
    """USD per month: replicas to hold the volume, rounded up and at least `least_replicas`, plus a fixed amount."""
    replicas = max(math.ceil(tokens_per_month / tokens_per_replica_month - 1e-9), least_replicas)
    return replicas * usd_per_replica_month + fixed_usd_per_month


class VolumeBreakeven(NamedTuple):
    """Monthly tokens from which self-hosting is cheaper than an API.

    `first_tokens`: the smallest such volume. `for_good_tokens`: the volume beyond which every larger one is cheaper,
    too. They differ because each further replica is paid for in full while still nearly empty. None: there is none.
    `replicas`: how many serve `first_tokens`.
    """

    first_tokens: float | None
    for_good_tokens: float | None
    replicas: int | None
    reason: str


def breakeven_volume(
    usd_per_replica_month: float,
    tokens_per_replica_month: float,
    api_usd_per_mtok: float,
    least_replicas: int = 1,
    fixed_usd_per_month: float = 0.0,
) -> VolumeBreakeven:
    """Monthly volumes at which self-hosting, whose cost is a staircase of replicas, crosses the line of an API.

    With c USD a month per replica, q tokens a month per replica, p USD per token at the API and fixed costs F, n
    replicas cost n*c + F and serve at most n*q tokens. The API costs as much at v = (n*c + F) / p tokens, which n
    replicas can serve if n * (p*q - c) >= F; never if p*q < c, that is if even a full replica costs more than the API.
    Self-hosting is cheaper for good from the least m >= n on which full replicas save what the next, empty one costs.

    >>> breakeven_volume(1440, 2.628e9, 0.88, least_replicas=2).first_tokens / 1e9
    3.272...
    """
    c, p, q = usd_per_replica_month, api_usd_per_mtok / MTOK, tokens_per_replica_month
    gain = p * q - c  # USD that a full replica saves in a month
    if gain < 0 or (gain == 0 and fixed_usd_per_month > 0):
        full = c / q * MTOK
        return VolumeBreakeven(
            None, None, None, f"unreachable: a full replica costs ${full:.2f} per Mtok, the API ${api_usd_per_mtok:.2f}"
        )
    n = max(least_replicas, _ceil(fixed_usd_per_month / gain) if gain else 1)
    first = (n * c + fixed_usd_per_month) / p
    good = None
    if gain > 0:
        m = max(n, _ceil((fixed_usd_per_month + c) / gain))  # m full replicas save what the next one costs while empty
        good = first if m == n else (m * c + fixed_usd_per_month) / p
    return VolumeBreakeven(first, good, n, f"{n} replicas, {first / (n * q):.0%} full")


def _ceil(x: float) -> int:
    return math.ceil(x - 1e-9)


def serverless_breakeven_duty(
    usd_per_s_always_on: float,
    usd_per_s_serverless: float,
    burst_s: float = math.inf,
    cold_start_s: float = 0.0,
    idle_timeout_s: float = 0.0,
) -> Threshold:
    """The duty (fraction of time in use) at which serverless and always-on cost the same; below, serverless is cheaper.

    Serverless bills a burst of b seconds together with a cold start of c and an idle timeout of t seconds. Equal costs
    over a period P: (b + c + t) * usd_per_s_serverless = P * usd_per_s_always_on, so the duty is
    b / P = usd_per_s_always_on / usd_per_s_serverless * b / (b + c + t). None if that exceeds 1.
    """
    stretch = 1.0 if math.isinf(burst_s) else burst_s / (burst_s + cold_start_s + idle_timeout_s)
    needed = usd_per_s_always_on / usd_per_s_serverless * stretch
    if needed > 1:
        return Threshold(None, needed, "serverless is cheaper at every duty")
    return Threshold(needed, needed, f"serverless is cheaper below {needed:.0%} of the time in use")


def overhead_times_gpu(fixed_usd_per_month: float, gpus: float, usd_per_gpu_hour: float) -> float:
    """A fixed monthly cost divided by the rent of `gpus` GPUs around the clock (730 h). It falls as the fleet grows.

    Cost articles state 1 + this as the overhead multiplier.

    >>> round(overhead_times_gpu(20_800, 16, 2.5), 1)
    0.7
    """
    return fixed_usd_per_month / (gpus * usd_per_gpu_hour * MONTH_S / HOUR_S)
