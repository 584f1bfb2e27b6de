"""How well paid GPU seconds were used: three fractions in place of "utilization", for the fleet and for each pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sim.ledger.usage import Pool, Usage, of_window
from sim.records import Backend, Facts, PoolFacts, ReplicaState, is_served
from sim.report.descriptive import Metric, ratio
from sim.units import HOUR_S


def use_of_the_fleet(facts: Facts, usage: Usage) -> dict[str, Metric]:
    """The three ways to say how well paid GPU seconds were used, always together. None without paid seconds.

    busy_fraction_of_paid: at least one request on the replica (draining ones included) / paid.
    token_fraction_of_peak: tokens of requests the fleet finished since the window's start / those of the same seconds
    saturated, at the rate of the saturated mix or, where that is higher, at the rate that the replicas reached while
    busy (in an overload whose tasks never end, an easier mix is served than the whole); never above
    busy_fraction_of_paid. batch_fill_fraction: mean running sequences while busy / max_num_seqs. Over several pools,
    each has its own peak and cap, and seconds count by GPUs.
    """
    return {
        **_fractions([_use(facts, pool, usage_of_pool, i) for i, (pool, (_, usage_of_pool)) in _pools(facts, usage)]),
        "gpu_hours_paid": usage.gpu_hours_paid,
        "gpu_hours_after_window": usage.gpu_hours_after_window,
    }


def use_by_pool(facts: Facts, usage: Usage, n: int) -> dict[str, Metric]:
    """The three fractions and the paid hours of each pool, and the share of `n` requests that it began to serve."""
    found: dict[str, Metric] = {}
    requests = facts.requests
    begun = of_window(requests, facts.window) & (requests["backend"] == Backend.FLEET)
    begun &= np.isfinite(requests["admitted_s"])
    pool_of_request = requests["pool"][begun]
    for i, (pool, (_, usage_of_pool)) in _pools(facts, usage):
        figures = _fractions([_use(facts, pool, usage_of_pool, i)]) | {
            "gpu_hours_paid": usage_of_pool.gpu_hours_paid,
            "request_fraction": ratio(int(np.count_nonzero(pool_of_request == i)), n),
        }
        found |= {f"pool_{pool.name}_{name}": figure for name, figure in figures.items()}
    return found


class _Use(NamedTuple):
    """What the fractions of one pool are made of.

    `weight` is GPUs per replica, in units of the first pool's. Seconds are summed over the pool's replicas:
    `running_s` over running sequences, `slots_s` over the sequences that the busy replicas could have run. `tokens`
    and `peak_tokens` are those served and those that the paid seconds would have given saturated.
    """

    weight: float
    paid_s: float
    busy_s: float
    tokens: float
    peak_tokens: float
    running_s: float
    slots_s: float


def _pools(facts: Facts, usage: Usage) -> Iterator[tuple[int, tuple[PoolFacts, tuple[Pool, Usage]]]]:
    return enumerate(zip(facts.pools, usage.by_pool, strict=True))


def _use(facts: Facts, pool: PoolFacts, usage: Usage, pool_index: int) -> _Use:
    paid_s = usage.state_seconds()
    busy_s = usage.state_seconds(ReplicaState.BUSY, ReplicaState.DRAINING)
    requests = facts.requests
    in_pool = (requests["backend"] == Backend.FLEET) & (requests["pool"] == pool_index)
    tokens = _finished_tokens(facts, in_pool)
    # Replicas that gave more tokens per busy second than the saturated mix served an easier mix: they were full.
    peak_tokens_per_s = max(pool.peak_tokens_per_s or 0.0, tokens / busy_s if busy_s else 0.0)
    return _Use(
        weight=pool.gpus_per_replica / facts.pools[0].gpus_per_replica,
        paid_s=paid_s,
        busy_s=busy_s,
        tokens=tokens,
        peak_tokens=paid_s * peak_tokens_per_s if pool.peak_tokens_per_s else 0.0,
        running_s=_running_sequence_seconds(facts, in_pool),
        slots_s=busy_s * pool.max_num_seqs,
    )


def _fractions(uses: list[_Use]) -> dict[str, Metric]:
    def total(amount: Callable[[_Use], float]) -> float:
        return sum(map(amount, uses), 0.0)

    return {
        "busy_fraction_of_paid": ratio(total(lambda u: u.busy_s * u.weight), total(lambda u: u.paid_s * u.weight)),
        "token_fraction_of_peak": ratio(total(lambda u: u.tokens), total(lambda u: u.peak_tokens)),
        "batch_fill_fraction": ratio(total(lambda u: u.running_s * u.weight), total(lambda u: u.slots_s * u.weight)),
        # Denominators, by which the fractions of several replications are pooled.
        "tokens_at_peak": total(lambda u: u.peak_tokens),
        "batch_slot_hours": total(lambda u: u.slots_s * u.weight) / HOUR_S,
    }


def _finished_tokens(facts: Facts, in_pool: np.ndarray) -> float:
    """Tokens of the finished requests among `in_pool`, bool[n requests], computed since the window's start.

    A request admitted before that start counts with the share of its time on the replica that lies after it.
    """
    requests, since_s = facts.requests, facts.window.start_s
    rows = in_pool & is_served(requests["outcome"]) & (requests["finished_s"] > since_s)
    start_s, end_s = requests["admitted_s"][rows], requests["finished_s"][rows]
    share = np.where(start_s < since_s, (end_s - since_s) / np.maximum(end_s - start_s, 1e-9), 1.0)
    return float((share * (requests["input_tokens"][rows] + requests["output_tokens"][rows])).sum())


def _running_sequence_seconds(facts: Facts, in_pool: np.ndarray) -> float:
    """Seconds that the requests among `in_pool`, bool[n requests], ran since the window's start, summed.

    The seconds in which a request was preempted are taken off, evenly over its time on the replica. A request that
    outlived a replica ran only during its stays on replicas: between two of them it waited.
    """
    requests, stays = facts.requests, facts.stays
    rows = in_pool & np.isfinite(requests["admitted_s"])
    rows[stays["request_row"]] = False
    end_s = _until(facts, requests["finished_s"][rows])
    running_s = _inside_and_running(facts, requests["admitted_s"][rows], end_s, requests["preempted_s"][rows])
    stays_in_pool = in_pool[stays["request_row"]]
    if stays_in_pool.any():
        n_stays = np.bincount(stays["request_row"], minlength=len(in_pool))
        row, start_s = stays["request_row"][stays_in_pool], stays["start_s"][stays_in_pool]
        end_s = _until(facts, stays["end_s"][stays_in_pool])
        order = np.lexsort((start_s, row))
        row, start_s, end_s = row[order], start_s[order], end_s[order]
        follows = row[1:] == row[:-1]
        between_s = np.bincount(row[1:], np.where(follows, start_s[1:] - end_s[:-1], 0.0), minlength=len(in_pool))
        preempted_s = np.maximum(requests["preempted_s"] - between_s, 0.0)[row] / n_stays[row]
        running_s += _inside_and_running(facts, start_s, end_s, preempted_s)
    return running_s


def _until(facts: Facts, end_s: np.ndarray) -> np.ndarray:
    """The ends of stretches, float64[n] in s; the end of the run for those that had none."""
    return np.where(np.isnan(end_s), facts.ended_s, end_s)


def _inside_and_running(facts: Facts, start_s: np.ndarray, end_s: np.ndarray, preempted_s: np.ndarray) -> float:
    """Seconds of stretches [start, end] after the window's start, less their share of the preempted seconds in them.

    All three are float64[n] in s, one entry per stretch.
    """
    resident_s = np.maximum(end_s - start_s, 0.0)
    inside_s = np.maximum(end_s - np.maximum(start_s, facts.window.start_s), 0.0)
    share = np.divide(inside_s, resident_s, out=inside_s, where=resident_s > 0)  # 0 stays 0 where nothing was resident
    resident_s -= preempted_s
    share *= np.maximum(resident_s, 0.0, out=resident_s)
    return float(share.sum())
