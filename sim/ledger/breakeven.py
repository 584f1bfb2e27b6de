"""Who is cheaper on paper: closed forms for cost per token, break-even fraction and volume, serverless, overhead.

Pure functions of prices and speeds. They assume what a simulation measures: the fraction of peak, how many tokens per
second a replica gives with this mix. `token_fraction_of_peak` is what cost articles call utilization.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sim.ledger.ownership import OwnedNode
from sim.ledger.task_cost import (
    AgentTask,
    Reuse,
    api_task_usd,
    crossover_calls,
    reused_tokens,
    self_hosted_task_usd,
)
from sim.units import HOUR_S, MONTH_S, MTOK

__all__ = [
    "AgentTask", "OwnedNode", "Reuse", "Threshold", "VolumeBreakeven", "api_task_usd", "blended_usd_per_mtok",
    "breakeven_fraction", "breakeven_volume", "crossover_calls", "overhead_times_gpu", "replicas_for",
    "reused_tokens", "self_hosted_task_usd", "self_hosted_usd_per_month", "serverless_breakeven_duty", "usd_per_mtok",
]  # fmt: skip


class Threshold(NamedTuple):
    """Where two costs meet. `value` is None if they meet nowhere that can be reached; `needed` is where it would be."""

    value: float | None
    needed: float
    reason: str


def usd_per_mtok(
    usd_per_hour: float, tokens_per_s: float, token_fraction_of_peak: float = 1.0, times_gpu: float = 1.0
) -> float:
    """Cost of a million tokens: rent x overhead / (peak speed x 3600 x fraction of peak). Infinite at fraction 0.

    `tokens_per_s` counts what the price is to be per: output tokens, or all.

    >>> round(usd_per_mtok(2.50, 700), 3), round(usd_per_mtok(2.50, 700, 0.1), 2)
    (0.992, 9.92)
    """
    tokens_per_hour = tokens_per_s * HOUR_S * token_fraction_of_peak
    return usd_per_hour * times_gpu / tokens_per_hour * MTOK if tokens_per_hour > 0 else math.inf


def blended_usd_per_mtok(
    usd_per_mtok_input: float, usd_per_mtok_output: float, input_tokens: float, output_tokens: float
) -> float:
    """API price of a million tokens, input and output together, at this mix."""
    total = input_tokens + output_tokens
    return (usd_per_mtok_input * input_tokens + usd_per_mtok_output * output_tokens) / total


def breakeven_fraction(
    usd_per_hour: float, tokens_per_s: float, api_usd_per_mtok: float, times_gpu: float = 1.0
) -> Threshold:
    """The token_fraction_of_peak at which self-hosting costs what the API does; None where it would be over 1.

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
    """Replicas that a monthly volume needs (730 h): its peak rate over what one may be loaded to, rounded up.

    `tokens_per_s` is one replica saturated; `peak_over_mean` 1 is perfectly steady traffic.

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
    """A staircase: as many replicas as the volume fills, at least some, and what is owed beside them."""
    replicas = max(math.ceil(tokens_per_month / tokens_per_replica_month - 1e-9), least_replicas)
    return replicas * usd_per_replica_month + fixed_usd_per_month


class VolumeBreakeven(NamedTuple):
    """Monthly tokens from which self-hosting is cheaper: the first time, and for good (every larger volume)."""

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
    """Where the staircase of replicas first meets the API's straight line, with the limit of what a replica can serve.

    n replicas and a fixed F cost n*c + F and serve at most n*q tokens: the API costs that at v = (n*c + F) / p, which n
    replicas can serve if n * (p*q - c) >= F. Never if a full replica costs more than the API: p*q < c. For good: from
    the last step on which the next replica, still empty, puts self-hosting behind again.

    >>> breakeven_volume(1440, 2.628e9, 0.88, least_replicas=2).first_tokens / 1e9
    3.272...
    """
    c, p, q = usd_per_replica_month, api_usd_per_mtok / MTOK, tokens_per_replica_month
    gain = p * q - c  # USD a full replica saves a month
    if gain < 0 or (gain == 0 and fixed_usd_per_month > 0):
        full = c / q * MTOK
        return VolumeBreakeven(
            None, None, None, f"unreachable: a full replica costs ${full:.2f} per Mtok, the API ${api_usd_per_mtok:.2f}"
        )
    n = max(least_replicas, _ceil(fixed_usd_per_month / gain) if gain else 1)
    first = (n * c + fixed_usd_per_month) / p
    good = None
    if gain > 0:
        m = max(n, _ceil((fixed_usd_per_month + c) / gain))  # m full ones save what the next one costs empty
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
    """The fraction of time in use at which serverless and always-on cost the same; below it serverless is cheaper.

    Each burst of use is paid with its cold start and idle timeout: (b + c + t) * p_sl = period * p_on, so
    duty = b / period = p_on / p_sl * b / (b + c + t). None if serverless is the cheaper one even when always in use.
    """
    stretch = 1.0 if math.isinf(burst_s) else burst_s / (burst_s + cold_start_s + idle_timeout_s)
    needed = usd_per_s_always_on / usd_per_s_serverless * stretch
    if needed > 1:
        return Threshold(None, needed, "serverless is cheaper at every duty")
    return Threshold(needed, needed, f"serverless is cheaper below {needed:.0%} of the time in use")


def overhead_times_gpu(fixed_usd_per_month: float, gpus: float, usd_per_gpu_hour: float) -> float:
    """A fixed monthly cost as a multiple of the GPU rent around the clock: falls with the size of the fleet.

    1 + this is the multiplier that articles state.

    >>> round(overhead_times_gpu(20_800, 16, 2.5), 1)
    0.7
    """
    return fixed_usd_per_month / (gpus * usd_per_gpu_hour * MONTH_S / HOUR_S)
