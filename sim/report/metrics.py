"""The metrics of one run: what happened to the tasks that began in the window, and how the paid seconds were used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sim.ledger.usage import Pool, Usage, finished_tasks, of_window
from sim.records import Backend, Facts, Outcome, PoolFacts, ReplicaState
from sim.report.attainment import reaches
from sim.report.slo import Slo
from sim.schema import AuditError

Metric = float | int | bool | None


def summarize(facts: Facts, usage: Usage, money: Mapping[str, float | None], slo: Slo) -> dict[str, Metric]:
    """Every metric of one run by name; `money` is what sim.ledger.bill.money read off its bill.

    Tasks count if they BEGIN in the window [start, end), and so do all their calls, whenever these come: every fleet is
    judged by the same tasks. Tokens are those of requests that finished. A call that does not finish ends its task: the
    calls then never sent are `requests_never_sent`, and miss the SLO, whose attainment is the share of all calls of
    these tasks. Percentiles are over the requests that were sent (`requests`): one that never got a first token has an
    infinite TTFT, one that never finished an infinite TPOT, E2E and task time. Means are over those served. TTFT and
    E2E count from arrival, so queueing and cold starts are inside; TPOT = (finished - first token) /
    (output_tokens - 1), over requests that ask for more than one token.

    None means undefined: a mean over nobody, a fleet metric without a fleet. Raises AuditError if a fraction is not
    within [0, 1].
    """
    window = facts.window
    rows = of_window(facts.requests, window)
    mine = facts.requests if rows.all() else {name: column[rows] for name, column in facts.requests.items()}
    n = len(mine["arrived_s"])
    attained = int(np.count_nonzero(slo.attained(mine)))
    counts = _counts(mine, usage)
    attainment = _ratio(attained, n + counts["requests_never_sent"])
    summary: dict[str, Metric] = {
        "window_s": window.length_s,
        **counts,
        **_latencies(mine),
        **_task_times(facts, counts["tasks"]),
        "slo_attainment_fraction": attainment,
        "meets_slo": attainment is not None and reaches(attainment, slo.attainment_fraction),
        **_use_of_the_fleet(facts, usage),
        **(_use_by_pool(facts, usage, n) if len(facts.pools) > 1 else {}),
        **_cold_starts(facts, mine),
        **_at_the_api(facts, mine),
        "preemptions": int(mine["preemptions"].sum()),
        "requests_retried": int(np.count_nonzero(mine["retries"])),
        "replicas_lost": facts.replicas_lost,
        "prefix_hit_fraction": _ratio(usage.cached_input_tokens, usage.input_tokens),
        **_lost_context(facts),
        **money,
    }
    audit_fractions(summary)
    return summary


def is_fraction(key: str) -> bool:
    """Whether a metric is a share of something, within [0, 1] by law."""
    return "_fraction" in key


def audit_fractions(summary: Mapping[str, Metric]) -> None:
    """Raise AuditError if a share of something is not within [0, 1], up to rounding."""
    for key, value in summary.items():
        if is_fraction(key) and value is not None and not -1e-9 <= value <= 1 + 1e-9:
            raise AuditError(f"audit: a fraction is within [0, 1]: {key} = {value}")


def finite_or_none(summary: Mapping[str, Metric]) -> dict[str, Metric]:
    """The summary as JSON can hold it: infinite and undefined values become None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in summary.items()}


def percentile(values: np.ndarray, percent: float) -> float | None:
    """The percentile by linear interpolation; values may be infinite (numpy's own gives NaN then). None over nobody."""
    return _percentiles(values, (percent,))[0]


def _percentiles(values: np.ndarray, percents: tuple[float, ...]) -> list[float | None]:
    if not len(values):
        return [None] * len(percents)
    places = [(len(values) - 1) * percent / 100 for percent in percents]
    ordered = np.partition(values, sorted({whole for at in places for whole in (math.floor(at), math.ceil(at))}))
    found: list[float | None] = []
    for at in places:
        low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
        found.append(float(low if low == high else high if math.isinf(high) else low + (high - low) * (at % 1)))
    return found


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _mean(values: np.ndarray) -> float | None:
    served = values[np.isfinite(values)]
    return float(served.mean()) if len(served) else None


def _counts(mine: dict[str, np.ndarray], usage: Usage) -> dict[str, int]:
    by_outcome = np.bincount(mine["outcome"], minlength=len(Outcome))
    first = mine["call_index"] == 0
    n, wanted = len(first), int(mine["calls_in_task"][first].sum(dtype=np.int64))
    return {
        "requests": n,
        **{f"requests_{outcome.name.lower()}": int(by_outcome[outcome]) for outcome in Outcome},
        "requests_never_sent": wanted - n,
        "requests_answered": int(np.count_nonzero(np.isfinite(mine["first_token_s"]))),
        "requests_streamed": int(np.count_nonzero((mine["outcome"] == Outcome.FINISHED) & (mine["output_tokens"] > 1))),
        "tasks": int(np.count_nonzero(first)),
        "tasks_finished": usage.tasks_finished,
        "input_tokens": usage.input_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
    }


def _latencies(mine: dict[str, np.ndarray]) -> dict[str, Metric]:
    finished = mine["outcome"] == Outcome.FINISHED
    ttft_s = np.nan_to_num(mine["first_token_s"] - mine["arrived_s"], nan=np.inf)
    e2e_s = np.where(finished, mine["finished_s"] - mine["arrived_s"], np.inf)
    streams = mine["output_tokens"] > 1
    tpot_s = (mine["finished_s"] - mine["first_token_s"])[streams] / (mine["output_tokens"][streams] - 1)
    tpot_s = np.where(finished[streams], tpot_s, np.inf)
    found: dict[str, Metric] = {}
    for name, values, percents in (
        ("ttft", ttft_s, (50, 95, 99)),
        ("tpot", tpot_s, (50, 99)),
        ("e2e", e2e_s, (50, 95, 99)),
    ):
        found[f"{name}_mean_s"] = _mean(values)
        found |= zip([f"{name}_p{p}_s" for p in percents], _percentiles(values, percents), strict=True)
    return found


def _task_times(facts: Facts, tasks: int) -> dict[str, Metric]:
    """From the arrival of a task's first call to the end of its last; infinite for tasks that did not finish."""
    first, last = finished_tasks(facts.requests, facts.window)
    task_s = np.full(tasks, np.inf)
    task_s[: len(first)] = facts.requests["finished_s"][last] - facts.requests["arrived_s"][first]
    return {"task_mean_s": _mean(task_s), "task_p95_s": percentile(task_s, 95)}


def _use_of_the_fleet(facts: Facts, usage: Usage) -> dict[str, Metric]:
    """The three ways to say how well paid GPU seconds were used, always together. None without paid seconds.

    busy_fraction_of_paid: at least one request on the replica (draining ones included) / paid.
    token_fraction_of_peak: tokens of requests the fleet finished since the window's start / those of the same seconds
    saturated, at the rate of the saturated mix or, where that is higher, at the rate that the replicas reached while
    busy (in an overload whose tasks never end, an easier mix is served than the whole); never above
    busy_fraction_of_paid. batch_fill_fraction: mean running sequences while busy / max_num_seqs. Over several pools,
    each has its own peak and cap, and seconds count by GPUs.
    """
    return {
        **_fractions([_used(facts, pool, part, at) for at, (pool, (_, part)) in _pools(facts, usage)]),
        "gpu_hours_paid": usage.gpu_hours_paid,
        "gpu_hours_after_window": usage.gpu_hours_after_window,
    }


def _use_by_pool(facts: Facts, usage: Usage, n: int) -> dict[str, Metric]:
    """The same for each pool, and of `n` requests the share that it began to serve."""
    found: dict[str, Metric] = {}
    requests = facts.requests
    inside = of_window(requests, facts.window) & (requests["backend"] == Backend.FLEET)
    inside &= np.isfinite(requests["admitted_s"])
    pool_of = requests["pool"][inside]
    for at, (pool, (_, part)) in _pools(facts, usage):
        figures = _fractions([_used(facts, pool, part, at)]) | {
            "gpu_hours_paid": part.gpu_hours_paid,
            "request_fraction": _ratio(int(np.count_nonzero(pool_of == at)), n),
        }
        found |= {f"pool_{pool.name}_{name}": figure for name, figure in figures.items()}
    return found


class _Used(NamedTuple):
    """Of one pool; seconds are those of its replicas, `weight` is the size of one."""

    weight: float
    paid_s: float
    busy_s: float
    tokens: float
    peak_tokens: float
    running_s: float
    slots_s: float


def _pools(facts: Facts, usage: Usage) -> Iterator[tuple[int, tuple[PoolFacts, tuple[Pool, Usage]]]]:
    return enumerate(zip(facts.pools, usage.by_pool, strict=True))


def _used(facts: Facts, pool: PoolFacts, usage: Usage, at: int) -> _Used:
    paid_s = usage.state_seconds()
    busy_s = usage.state_seconds(ReplicaState.BUSY, ReplicaState.DRAINING)
    requests = facts.requests
    mine = (requests["backend"] == Backend.FLEET) & (requests["pool"] == at)
    tokens = _fleet_tokens(facts, mine)
    # Replicas that gave more tokens per busy second than the saturated mix served an easier mix: they were full.
    peak_tokens_per_s = max(pool.peak_tokens_per_s or 0.0, tokens / busy_s if busy_s else 0.0)
    return _Used(
        weight=pool.gpus_per_replica / facts.pools[0].gpus_per_replica,
        paid_s=paid_s,
        busy_s=busy_s,
        tokens=tokens,
        peak_tokens=paid_s * peak_tokens_per_s if pool.peak_tokens_per_s else 0.0,
        running_s=_running_sequence_seconds(facts, mine),
        slots_s=busy_s * pool.max_num_seqs,
    )


def _fractions(used: list[_Used]) -> dict[str, Metric]:
    def total(of: Callable[[_Used], float]) -> float:
        return sum(map(of, used))

    return {
        "busy_fraction_of_paid": _ratio(total(lambda u: u.busy_s * u.weight), total(lambda u: u.paid_s * u.weight)),
        "token_fraction_of_peak": _ratio(total(lambda u: u.tokens), total(lambda u: u.peak_tokens)),
        "batch_fill_fraction": _ratio(total(lambda u: u.running_s * u.weight), total(lambda u: u.slots_s * u.weight)),
    }


def _fleet_tokens(facts: Facts, mine: np.ndarray) -> float:
    """Tokens of finished requests since the window's start; of a request under way then, pro rata of its stay."""
    requests, since_s = facts.requests, facts.window.start_s
    rows = mine & (requests["outcome"] == Outcome.FINISHED) & (requests["finished_s"] > since_s)
    start_s, end_s = requests["admitted_s"][rows], requests["finished_s"][rows]
    share = np.where(start_s < since_s, (end_s - since_s) / np.maximum(end_s - start_s, 1e-9), 1.0)
    return float((share * (requests["input_tokens"][rows] + requests["output_tokens"][rows])).sum())


def _running_sequence_seconds(facts: Facts, mine: np.ndarray) -> float:
    """Seconds of running sequences since the window's start; a request under way then was preempted pro rata.

    A request that outlived a replica ran during its stays alone: between two of them it waited.
    """
    requests, stays = facts.requests, facts.stays
    n_stays = np.bincount(stays["request_row"], minlength=len(mine))
    rows = mine & np.isfinite(requests["admitted_s"]) & (n_stays == 0)
    start_s, end_s = requests["admitted_s"][rows], _until(facts, requests["finished_s"][rows])
    running_s = _inside_and_running(facts, start_s, end_s, requests["preempted_s"][rows])
    of_mine = mine[stays["request_row"]]
    if of_mine.any():
        row, start_s = stays["request_row"][of_mine], stays["start_s"][of_mine]
        end_s = _until(facts, stays["end_s"][of_mine])
        order = np.lexsort((start_s, row))
        row, start_s, end_s = row[order], start_s[order], end_s[order]
        follows = row[1:] == row[:-1]
        between_s = np.bincount(row[1:], np.where(follows, start_s[1:] - end_s[:-1], 0.0), minlength=len(mine))
        preempted_s = np.maximum(requests["preempted_s"] - between_s, 0.0)[row] / n_stays[row]
        running_s += _inside_and_running(facts, start_s, end_s, preempted_s)
    return running_s


def _until(facts: Facts, end_s: np.ndarray) -> np.ndarray:
    """The ends of stretches, float64[n] in s; the end of the run for those that had none."""
    return np.where(np.isnan(end_s), facts.ended_s, end_s)


def _inside_and_running(facts: Facts, start_s: np.ndarray, end_s: np.ndarray, preempted_s: np.ndarray) -> float:
    """Seconds of stretches [start, end] after the window's start, less their share of the preempted seconds in them."""
    resident_s = np.maximum(end_s - start_s, 0.0)
    inside_s = np.maximum(end_s - np.maximum(start_s, facts.window.start_s), 0.0)
    share = np.divide(inside_s, resident_s, out=np.zeros_like(inside_s), where=resident_s > 0)
    return float((share * np.maximum(resident_s - preempted_s, 0.0)).sum())


def _cold_starts(facts: Facts, mine: dict[str, np.ndarray]) -> dict[str, Metric]:
    """Cold starts and wakings since the window's start, and how long requests waited for them: p95, and who did."""
    spans = facts.spans
    rows = np.flatnonzero(spans["state"] <= ReplicaState.ENGINE_START)
    rows = rows[np.lexsort((spans["start_s"][rows], spans["replica_id"][rows]))]
    replica, start_s = spans["replica_id"][rows], spans["start_s"][rows]
    begins = np.ones(len(rows), bool)  # a stage that no other stage of the same start goes before
    begins[1:] = (replica[1:] != replica[:-1]) | (start_s[1:] > spans["end_s"][rows][:-1] + 1e-6)
    begun_s = start_s[begins]
    waited_s, fleet = mine["cold_start_wait_s"], bool(facts.pools)
    return {
        "cold_starts": int(np.count_nonzero(begun_s >= facts.window.start_s)),
        "cold_start_wait_p95_s": percentile(waited_s, 95) if fleet else None,
        "cold_start_request_fraction": _ratio(int(np.count_nonzero(waited_s > 0)), len(waited_s)) if fleet else None,
    }


def _at_the_api(facts: Facts, mine: dict[str, np.ndarray]) -> dict[str, Metric]:
    """Who went to the API, and how often they had to be sent: `api_429s` over a limit, `api_errors` during an outage.

    api_attempts_per_request: both, and how often they or second copies of them were let in, per request sent there.
    api_hedged_fraction: of those, the share that was sent a second time because the first token was late.
    """
    row = facts.api_extras["request_row"]
    counts = of_window(facts.requests, facts.window)[row]
    its = {name: column[counts] for name, column in facts.api_extras.items()}
    throttled, failed = int(its["throttled_attempts"].sum()), int(its["failed_attempts"].sum())
    hedged, there = int(its["is_hedged"].sum()), mine["backend"] == Backend.API
    n, let_in = int(np.count_nonzero(there)), int(np.count_nonzero(there & np.isfinite(mine["admitted_s"])))
    return {
        "api_request_fraction": _ratio(n, len(there)),
        "api_429s": throttled,
        "api_errors": failed,
        "api_attempts_per_request": _ratio(throttled + failed + let_in + hedged, n),
        "api_hedged_fraction": _ratio(hedged, n),
    }


def _lost_context(facts: Facts) -> dict[str, Metric]:
    """What the KV memory of the fleet did not keep for those who came back to it, over arrivals in the window.

    evicted_while_thinking_fraction: of the calls that follow another of their task on the same replica, those that
    found fewer of its context's full blocks than it had left (the last token's block does not count: it is always
    computed), because some were evicted meanwhile. recomputed_tokens: what the fleet had computed before and computed
    again, after a preemption, or because a task's context had been evicted or was on another replica.
    """
    requests = facts.requests
    served = (requests["backend"] == Backend.FLEET) & np.isfinite(requests["admitted_s"])
    mine = served & of_window(requests, facts.window)
    recomputed = int(requests["recomputed_tokens"][mine].sum(dtype=np.int64))
    calls = np.flatnonzero(requests["calls_in_task"] > 1)
    calls = calls[np.lexsort((requests["call_index"][calls], requests["task_id"][calls]))]
    now, before = calls[1:], calls[:-1]
    follows = (requests["call_index"][now] > 0) & mine[now] & served[before]
    now, before = now[follows], before[follows]
    had, wanted = requests["returning_tokens"][now], requests["input_tokens"][now]
    lost = _not_found(np.minimum(had, wanted - 1), requests, now, facts.block_tokens)
    at = np.where(requests["prefill_replica_id"] < 0, requests["replica_id"], requests["prefill_replica_id"])
    apart = requests["prefill_replica_id"][before] >= 0  # then the answer was never where the prompts are
    kept = np.minimum(np.where(apart, np.minimum(had, requests["input_tokens"][before]), had), wanted - 1)
    stayed = (at[now] == at[before]) & (kept >= facts.block_tokens)
    evicted = _not_found(kept, requests, now, facts.block_tokens)[stayed]
    return {
        "requests_returning": len(evicted),
        "evicted_while_thinking_fraction": _ratio(int(np.count_nonzero(evicted)), len(evicted)),
        "recomputed_tokens": recomputed + int(lost.sum(dtype=np.int64)),
    }


def _not_found(tokens: np.ndarray, requests: dict[str, np.ndarray], rows: np.ndarray, block_tokens: int) -> np.ndarray:
    """Of `tokens` leading tokens of each prompt, those in full blocks that were not found cached, int64[n]."""
    return np.maximum(tokens - tokens % block_tokens - requests["cached_input_tokens"][rows], 0)
