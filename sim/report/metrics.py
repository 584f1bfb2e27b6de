"""The metrics of one run: what happened to the tasks that began in the window, and how the paid seconds were used."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sim.columns import Columns, blocks, n_rows, select
from sim.gap_histogram import N_BINS, bin_of, percentiles_s
from sim.ledger.usage import Usage, finished_tasks, of_window
from sim.records import Backend, Facts, Outcome, Refusal, ReplicaState, is_served, rows_of_previous_calls
from sim.report.attainment import reaches
from sim.report.by_application import attained_by_application, figures_by_application
from sim.report.descriptive import Metric, mean_of_finite, percentile, percentiles, ratio
from sim.report.fleet_use import use_by_pool, use_of_the_fleet
from sim.report.slo import Slo
from sim.schema import AuditError


def summarize(
    facts: Facts,
    usage: Usage,
    money: Mapping[str, float | None],
    slo: Slo,
    slo_by_application: Mapping[int, Slo] | None = None,
) -> dict[str, Metric]:
    """Every metric of one run by name; `money` is what sim.ledger.bill.money read off its bill.

    Tasks count if they BEGIN in the window [start, end), and so do all their calls, whenever these come: every fleet is
    judged by the same tasks. Tokens are those of requests that finished. A call that does not finish ends its task: the
    calls then never sent are `requests_never_sent`, and miss the SLO, whose attainment is the share of all calls of
    these tasks. A call that its client stopped is judged by what it got, and counts as finished here and below; one
    that its client's timeout aborted has not finished. Percentiles are over the requests that were sent (`requests`):
    one that never got a first token has an infinite TTFT, one that never finished an infinite TPOT, E2E and task time.
    Means are over those served. TTFT and E2E count from arrival, so queueing and cold starts are inside; TPOT =
    (finished - first token) / (output_tokens - 1), over requests that ask for more than one token. ITL is the time
    between two tokens: its percentiles are over all gaps of the fleet that ended since the window's start, and those of
    the requests that an API finished, each within 1 % (see sim.gap_histogram).

    Calls of the applications (by number) in `slo_by_application` are judged by those limits, and the SLO is met if each
    of these applications reaches its own target. With several applications, `application_<name>_...` are of one.

    None means undefined: a mean over no requests, a fleet metric without a fleet. Raises AuditError if a fraction is
    not within [0, 1].
    """
    window = facts.window
    rows = of_window(facts.requests, window)
    requests = facts.requests if rows.all() else select(facts.requests, rows)
    n = n_rows(requests)
    own = slo_by_application or {}
    attained = attained_by_application(requests, slo, own)
    counts = _counts(requests, usage)
    attainment = ratio(int(np.count_nonzero(attained)), n + counts["requests_never_sent"])
    has_parts = len(facts.applications) > 1 or bool(own)
    by_application = figures_by_application(facts, requests, attained, own) if has_parts else {}
    summary: dict[str, Metric] = {
        "window_s": window.length_s,
        **counts,
        **_latencies(requests),
        **_token_gaps(facts, requests),
        **_task_times(facts, counts["tasks"]),
        "slo_attainment_fraction": attainment,
        "meets_slo": _meets(attainment, slo, by_application),
        **use_of_the_fleet(facts, usage),
        **(use_by_pool(facts, usage, n) if len(facts.pools) > 1 else {}),
        **by_application,
        **_cold_starts(facts, requests),
        **_api_attempts(facts, requests),
        "preemptions": int(requests["preemptions"].sum()),
        "requests_retried": int(np.count_nonzero(requests["retries"])),
        "replicas_lost": facts.replicas_lost,
        "prefix_hit_fraction": ratio(usage.cached_input_tokens, usage.input_tokens),
        **(_tier_hits(facts, usage) if facts.kv_tiers else {}),
        **_lost_context(facts),
        **money,
    }
    audit_fractions(summary)
    return summary


def _meets(attainment: Metric, slo: Slo, by_application: Mapping[str, Metric]) -> bool:
    """Whether the SLO is met: by each application that has calls; by all calls where none has an SLO of its own."""
    own = [met for key, met in by_application.items() if key.endswith("_meets_slo")]
    if own:
        judged = [met for met in own if met is not None]
        return bool(judged) and all(judged)
    return attainment is not None and reaches(attainment, slo.attainment_fraction)


def is_fraction(key: str) -> bool:
    """Whether a metric is a share of something, within [0, 1] by law. Its last words say so: a pool or an application
    may be called anything, `low_fraction` too, but what is counted of it comes after its name."""
    return key.endswith(("_fraction", "_fraction_of_paid", "_fraction_of_peak"))


def audit_fractions(summary: Mapping[str, Metric]) -> None:
    """Raise AuditError if a share of something is not within [0, 1], up to rounding."""
    for key, value in summary.items():
        if is_fraction(key) and value is not None and not -1e-9 <= value <= 1 + 1e-9:
            raise AuditError(f"audit: a fraction is within [0, 1]: {key} = {value}")


def finite_or_none(summary: Mapping[str, Metric]) -> dict[str, Metric]:
    """The summary as JSON can hold it: infinite and undefined values become None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in summary.items()}


def _counts(requests: Columns, usage: Usage) -> dict[str, int]:
    by_outcome = np.bincount(requests["outcome"], minlength=len(Outcome))
    by_reason = np.bincount(requests["refusal"], minlength=len(Refusal))
    first = requests["call_index"] == 0
    n, wanted = len(first), int(requests["calls_in_task"][first].sum(dtype=np.int64))
    streamed = is_served(requests["outcome"]) & (requests["output_tokens"] > 1)
    return {
        "requests": n,
        **{f"requests_{outcome.name.lower()}": int(by_outcome[outcome]) for outcome in Outcome},
        **{f"requests_refused_{reason.name.lower()}": int(by_reason[reason]) for reason in Refusal if reason},
        "requests_never_sent": wanted - n,
        "requests_answered": int(np.count_nonzero(np.isfinite(requests["first_token_s"]))),
        "requests_streamed": int(np.count_nonzero(streamed)),
        "tasks": int(np.count_nonzero(first)),
        "tasks_finished": usage.tasks_finished,
        "input_tokens": usage.input_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
    }


def _latencies(requests: Columns) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for name, latencies, percents in (
        ("ttft", _ttft_s, (50, 95, 99)),
        ("tpot", _tpot_s, (50, 99)),
        ("e2e", _e2e_s, (50, 95, 99)),
    ):
        values = latencies(requests)
        found[f"{name}_mean_s"] = mean_of_finite(values)
        found |= zip([f"{name}_p{p}_s" for p in percents], percentiles(values, percents), strict=True)
    return found


def _ttft_s(requests: Columns) -> np.ndarray:
    return np.nan_to_num(requests["first_token_s"] - requests["arrived_s"], nan=np.inf)


def _tpot_s(requests: Columns) -> np.ndarray:
    """Of the requests that ask for more than one token."""
    tokens = requests["output_tokens"]
    streams = tokens > 1
    streamed_s = (requests["finished_s"] - requests["first_token_s"])[streams]
    streamed_s /= tokens[streams] - 1
    return np.where(is_served(requests["outcome"])[streams], streamed_s, np.inf)


def _e2e_s(requests: Columns) -> np.ndarray:
    return np.where(is_served(requests["outcome"]), requests["finished_s"] - requests["arrived_s"], np.inf)


def _token_gaps(facts: Facts, requests: Columns) -> dict[str, Metric]:
    """Percentiles over all gaps between tokens: those of the fleet by their histogram, those of an API by request.

    The tokens of an answer of the API come evenly, so its gaps are all as long as its longest.
    """
    counts = facts.token_gaps
    for _, block in blocks(requests, "backend", "itl_max_s", "output_tokens"):
        evenly = (block["backend"] == Backend.API) & (block["itl_max_s"] > 0)
        if evenly.any():
            bins = np.array([bin_of(gap_s) for gap_s in block["itl_max_s"][evenly].tolist()])
            counts = counts + np.bincount(bins, block["output_tokens"][evenly] - 1, N_BINS).astype(np.int64)
    percents = (50, 95, 99)
    return dict(zip([f"itl_p{p}_s" for p in percents], percentiles_s(counts.tolist(), percents), strict=True))


def _task_times(facts: Facts, tasks: int) -> dict[str, Metric]:
    """From the arrival of a task's first call to the end of its last; infinite for tasks that did not finish."""
    first, last = finished_tasks(facts.requests, facts.window)
    task_s = np.full(tasks, np.inf)
    task_s[: len(first)] = facts.requests["finished_s"][last] - facts.requests["arrived_s"][first]
    return {"task_mean_s": mean_of_finite(task_s), "task_p95_s": percentile(task_s, 95)}


def _cold_starts(facts: Facts, requests: Columns) -> dict[str, Metric]:
    """Cold starts and wakings since the window's start; the p95 of the seconds that requests waited for one; the share
    of requests that waited for one."""
    spans = facts.spans
    rows = np.flatnonzero(spans["state"] <= ReplicaState.ENGINE_START)
    rows = rows[np.lexsort((spans["start_s"][rows], spans["replica_id"][rows]))]
    replica, start_s = spans["replica_id"][rows], spans["start_s"][rows]
    begins = np.ones(len(rows), bool)  # The first stage of a start: no other stage of the replica ends where it begins.
    begins[1:] = (replica[1:] != replica[:-1]) | (start_s[1:] > spans["end_s"][rows][:-1] + 1e-6)
    begun_s = start_s[begins]
    waited_s, has_fleet = requests["cold_start_wait_s"], bool(facts.pools)
    waiting_requests = int(np.count_nonzero(waited_s > 0))
    return {
        "cold_starts": int(np.count_nonzero(begun_s >= facts.window.start_s)),
        "cold_start_wait_p95_s": percentile(waited_s, 95) if has_fleet else None,
        "cold_start_request_fraction": ratio(waiting_requests, len(waited_s)) if has_fleet else None,
    }


def _api_attempts(facts: Facts, requests: Columns) -> dict[str, Metric]:
    """The share of requests sent to the API, and their attempts: `api_429s` over a limit, `api_errors` in an outage.

    api_attempts_per_request: attempts of all kinds (refused, failed, let in, and second copies), per request sent to
    the API. api_hedged_fraction: of those requests, the share that was sent a second time because the first token was
    late.
    """
    row = facts.api_extras["request_row"]
    counted = of_window(facts.requests, facts.window)[row]
    extras = select(facts.api_extras, counted)
    throttled, failed = int(extras["throttled_attempts"].sum()), int(extras["failed_attempts"].sum())
    hedged, to_api = int(extras["is_hedged"].sum()), requests["backend"] == Backend.API
    n, let_in = int(np.count_nonzero(to_api)), int(np.count_nonzero(to_api & np.isfinite(requests["admitted_s"])))
    return {
        "api_request_fraction": ratio(n, len(to_api)),
        "api_429s": throttled,
        "api_errors": failed,
        "api_attempts_per_request": ratio(throttled + failed + let_in + hedged, n),
        "api_hedged_fraction": ratio(hedged, n),
    }


def _tier_hits(facts: Facts, usage: Usage) -> dict[str, Metric]:
    """The shares of the input tokens of finished requests that came from each KV tier, and from the GPUs' memory."""
    hits, requests = facts.tier_hits, facts.requests
    counted = is_served(requests["outcome"]) & of_window(requests, facts.window)
    tokens = np.where(counted[hits["request_row"]], hits["tokens"], 0)
    loaded = np.bincount(hits["tier"], tokens, len(facts.kv_tiers)).astype(np.int64).tolist()
    found = dict(zip(facts.kv_tiers, loaded, strict=True))
    on_the_fleet = counted & (requests["backend"] == Backend.FLEET)
    found["gpu"] = int(requests["cached_input_tokens"][on_the_fleet].sum(dtype=np.int64)) - sum(loaded)
    return {f"kv_{name}_hit_fraction": ratio(n, usage.input_tokens) for name, n in found.items()}


def _lost_context(facts: Facts) -> dict[str, Metric]:
    """What the KV memory of the fleet did not keep for the next call of a task, over the tasks of the window.

    evicted_while_thinking_fraction: of the calls that follow another of their task on the same replica, those that
    found fewer of its context's full blocks than it had left (the last token's block does not count: it is always
    computed), because some were evicted meanwhile. recomputed_tokens: what the fleet had computed before and computed
    again, after a preemption, or because a task's context had been evicted or was on another replica.
    """
    requests = facts.requests
    served = (requests["backend"] == Backend.FLEET) & np.isfinite(requests["admitted_s"])
    counted = served & of_window(requests, facts.window)
    recomputed = int(requests["recomputed_tokens"][counted].sum(dtype=np.int64))
    before = rows_of_previous_calls(requests)
    now = np.flatnonzero((before >= 0) & counted)
    now = now[served[before[now]]]
    before = before[now]
    had, wanted = requests["returning_tokens"][now], requests["input_tokens"][now]
    lost = _not_found(np.minimum(had, wanted - 1), requests, now, facts.block_tokens)
    prefill_id = requests["prefill_replica_id"]
    prompt_replica_id = np.where(prefill_id < 0, requests["replica_id"], prefill_id)
    # Where prefill and decode run apart, the answer is computed on another replica than the prompts: only the prompt
    # of the call before can be cached where the next prompt is computed.
    apart = prefill_id[before] >= 0
    kept = np.minimum(np.where(apart, np.minimum(had, requests["input_tokens"][before]), had), wanted - 1)
    same_replica = prompt_replica_id[now] == prompt_replica_id[before]
    evicted = _not_found(kept, requests, now, facts.block_tokens)[same_replica & (kept >= facts.block_tokens)]
    return {
        "requests_returning": len(evicted),
        "evicted_while_thinking_fraction": ratio(int(np.count_nonzero(evicted)), len(evicted)),
        "recomputed_tokens": recomputed + int(lost.sum(dtype=np.int64)),
    }


def _not_found(tokens: np.ndarray, requests: Columns, rows: np.ndarray, block_tokens: int) -> np.ndarray:
    """Of the `tokens` leading tokens of each prompt (int64[n], of request `rows`, int64[n]), those in full blocks that
    were not found cached, int64[n]."""
    return np.maximum(tokens - tokens % block_tokens - requests["cached_input_tokens"][rows], 0)
