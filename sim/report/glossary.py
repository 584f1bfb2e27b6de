"""What every reported number means: the keys of summary.json and the columns of the tables that a run writes.

The reference pages are generated from this file, and a test holds it to real output: every key is defined here, and
no definition is without a key. A part of a name in angle brackets, as in `pool_<pool>_usd_gpu`, stands for any name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from sim.records import API_EXTRAS, LOADED, REQUEST_COLUMNS, SPAN_COLUMNS, Column
from sim.report.pooling import CI_SUFFIX


class Definition(NamedTuple):
    """One reported number: its unit ("" for names, states and numbers that have none) and its meaning, a sentence."""

    unit: str
    meaning: str


Glossary = Mapping[str, Definition]
"""Definitions by key, column or pattern of keys."""


def _latency(statistic: str, what: str, over: str) -> Definition:
    return Definition("s", f"{statistic} {what} of {over}.")


def _refused(why: str) -> Definition:
    return Definition("requests", f"Requests of `requests_refused` that {why}.")


_TTFT = "time to first token, from arrival, so that queueing and cold starts are inside,"
_TPOT = "time per output token, (finished - first token) / (output tokens - 1),"
_E2E = "end-to-end latency, from arrival to the last token,"
_ITL = "time between two tokens (inter-token latency), the time out of the batch of a preempted request included,"
_GAPS = (
    "all pairs of tokens that the fleet delivered one after the other since the window's start, or the API in the "
    "answers of the window; from a histogram, within 1 %"
)
_SENT = "all requests sent; infinite if that many never had one"
_LONG = "all requests sent that ask for more than one output token; infinite if that many never finished"
_SERVED = "the requests that have one"

SUMMARY: Glossary = {
    "replications": Definition(
        "count", "Independent replications that figures and intervals are taken over: quotients as ratios of sums."
    ),
    "model_error": Definition(
        "fraction",
        "Mean absolute relative errors of throughput, TTFT and ITL on the measured servers nearest to the least known "
        "card, with its `gpu` and `basis`, and the servers they were `measured_on`; absent without a fleet.",
    ),
    "moment_zero": Definition(
        "", "Date, time and zone of second 0; only where it was given, or where hours are read off the clock."
    ),
    "window_s": Definition("s", "Length of the window: from warmup_s to the horizon."),
    # What arrived, and what became of it.
    "requests": Definition("requests", "Requests sent by the tasks that began in the window, whatever their outcome."),
    "requests_finished": Definition("requests", "Requests of these whose last token was delivered."),
    "requests_refused": Definition(
        "requests", "Requests turned away: too long for the model, or by a full queue or a limit."
    ),
    "requests_refused_over_context": _refused("were longer than the context of the model or of the engine"),
    "requests_refused_over_kv_memory": _refused("were longer than the KV memory of a replica"),
    "requests_refused_over_step": _refused("were longer than the token budget of a step that cuts no prompt"),
    "requests_refused_over_rate_limit": _refused("were larger than a rate limit of the API ever allows at once"),
    "requests_refused_queue_full": _refused("met a full queue, of the fleet or of a replica"),
    "requests_refused_rate_limit": _refused("were over a rate limit of the API, and the client gave up"),
    "requests_refused_api_outage": _refused("met an outage of the API in the last attempt of the client"),
    "requests_abandoned": Definition("requests", "Requests whose client gave up waiting before service began."),
    "requests_unfinished": Definition("requests", "Requests still under way when the simulation ended."),
    "requests_failed": Definition(
        "requests", "Requests whose replica was lost, or whose API failed, once no further attempt was left."
    ),
    "requests_aborted": Definition(
        "requests", "Requests whose client hung up after its timeout, in the middle of service; they miss the SLO."
    ),
    "requests_stopped": Definition(
        "requests",
        "Requests whose client stopped the answer before its end; they are judged by what they got, and count as "
        "finished ones in means, percentiles, tokens and costs.",
    ),
    "requests_never_sent": Definition(
        "requests", "Calls that tasks never sent, because a call before them did not finish; they miss the SLO."
    ),
    "requests_answered": Definition("requests", "Requests of these that got a first token; ttft_mean_s is over them."),
    "requests_streamed": Definition(
        "requests", "Finished or stopped requests of more than one output token; tpot_mean_s is over them."
    ),
    "tasks": Definition("tasks", "Tasks whose first call arrived in the window; all metrics are about these tasks."),
    "tasks_finished": Definition("tasks", "Tasks of these whose every call finished, in the window or after it."),
    "input_tokens": Definition("tokens", "Prompt tokens of the finished requests, cached ones included."),
    "cached_input_tokens": Definition("tokens", "Prompt tokens of the finished requests that a prefix cache supplied."),
    "output_tokens": Definition("tokens", "Tokens that were generated for the finished requests."),
    # How long it took.
    "ttft_mean_s": _latency("Mean", _TTFT, _SERVED),
    "ttft_p50_s": _latency("Median", _TTFT, _SENT),
    "ttft_p95_s": _latency("95th percentile of", _TTFT, _SENT),
    "ttft_p99_s": _latency("99th percentile of", _TTFT, _SENT),
    "tpot_mean_s": _latency("Mean", _TPOT, _SERVED),
    "tpot_p50_s": _latency("Median", _TPOT, _LONG),
    "tpot_p99_s": _latency("99th percentile of", _TPOT, _LONG),
    "itl_p50_s": _latency("Median", _ITL, _GAPS),
    "itl_p95_s": _latency("95th percentile of", _ITL, _GAPS),
    "itl_p99_s": _latency("99th percentile of", _ITL, _GAPS),
    "e2e_mean_s": _latency("Mean", _E2E, _SERVED),
    "e2e_p50_s": _latency("Median", _E2E, _SENT),
    "e2e_p95_s": _latency("95th percentile of", _E2E, _SENT),
    "e2e_p99_s": _latency("99th percentile of", _E2E, _SENT),
    "task_mean_s": Definition(
        "s", "Mean time from the arrival of a task's first call to the end of its last, over the tasks that finished."
    ),
    "task_p95_s": Definition(
        "s", "95th percentile of the same time over all tasks; infinite if more than 5 % of them did not finish."
    ),
    "slo_attainment_fraction": Definition(
        "fraction", "Calls that finished within the limits of the SLO / all calls of these tasks, sent or not."
    ),
    "meets_slo": Definition(
        "yes/no",
        "Whether slo_attainment_fraction is at least slo.attainment_fraction, and with applications whether each meets "
        "its own SLO; over several replications the judgement, and none where it is not resolved.",
    ),
    "slo_judgement": Definition(
        "",
        "meets, misses, not resolved (the 95 % interval of pooled attainment straddles the target, or replications are "
        "too few to tell), or: one replication, not tested.",
    ),
    "slo_target_fraction": Definition("fraction", "slo.attainment_fraction, which attainment is judged by."),
    "slo_attainment_fraction_low": Definition(
        "fraction", "Lower bound of the 95 % interval of attainment that the judgement rests on."
    ),
    "slo_attainment_fraction_high": Definition("fraction", "Its upper bound."),
    # How paid GPU time was used.
    "busy_fraction_of_paid": Definition(
        "fraction", "GPU time in which a request was on the replica (draining included) / GPU time paid for."
    ),
    "token_fraction_of_peak": Definition(
        "fraction",
        "Input and output tokens of the requests that the fleet finished / those that saturated replicas would give in "
        "the GPU time paid for; what articles on cost call utilization.",
    ),
    "batch_fill_fraction": Definition(
        "fraction", "Mean number of running sequences of busy replicas / max_num_seqs of all their attention ranks."
    ),
    "tokens_at_peak": Definition(
        "tokens",
        "What saturated replicas would give in the GPU time paid for: token_fraction_of_peak is a share of these. 0 "
        "where the peak was not measured.",
    ),
    "batch_slot_hours": Definition(
        "sequence-hours",
        "Hours in which replicas were busy x max_num_seqs: batch_fill_fraction is a share of these. Over several pools "
        "they count by GPUs.",
    ),
    "gpu_hours_paid": Definition(
        "GPU-hours",
        "GPU time paid for: all in the window and, except idle time, after it; before any rounding by the price list.",
    ),
    "gpu_hours_after_window": Definition(
        "GPU-hours", "Part of gpu_hours_paid that lies after the window's end, to finish what began in it."
    ),
    "cold_starts": Definition("count", "Starts of replicas, and wakings from sleep, since the window's start."),
    "cold_start_wait_p95_s": Definition(
        "s", "95th percentile, over all requests, of the time that they waited for a replica that was starting."
    ),
    "cold_start_request_fraction": Definition(
        "fraction", "Requests that waited for a replica that was starting / all requests."
    ),
    "preemptions": Definition(
        "count", "Times that a running sequence lost its KV memory to others and had to be computed again."
    ),
    "replicas_lost": Definition(
        "replicas", "Replicas that failed or that their provider took back, since the window's start."
    ),
    "requests_retried": Definition(
        "requests", "Requests that were tried again, because a replica was lost under them or the fleet was full."
    ),
    "prefix_hit_fraction": Definition("fraction", "cached_input_tokens / input_tokens."),
    "kv_<tier>_hit_fraction": Definition(
        "fraction",
        "Input tokens of finished requests that were loaded from this KV tier / input_tokens; only with tiers.",
    ),
    "kv_gpu_hit_fraction": Definition(
        "fraction", "Input tokens that the KV memory of the GPUs still had / input_tokens; only with KV tiers."
    ),
    "requests_returning": Definition(
        "requests",
        "Calls that came back to the replica of the call before; evicted_while_thinking_fraction is of them.",
    ),
    "evicted_while_thinking_fraction": Definition(
        "fraction",
        "Calls that came back to the replica of their task's previous call and found part of the context evicted from "
        "KV memory / all calls that came back.",
    ),
    "recomputed_tokens": Definition(
        "tokens",
        "Tokens that the fleet computed again, after a preemption, or because a task's context was evicted or was on "
        "another replica.",
    ),
    # What went to the API.
    "api_request_fraction": Definition("fraction", "Requests sent to the API / all requests."),
    "api_429s": Definition("count", "Attempts that the API refused because of a rate limit (HTTP 429)."),
    "api_errors": Definition("count", "Attempts that failed because they were made during an outage of the API."),
    "api_attempts_per_request": Definition(
        "attempts per request",
        "All attempts at the API, those that were refused or failed and hedges included / requests sent there.",
    ),
    "api_hedged_fraction": Definition(
        "fraction", "Requests sent to the API a second time because the first token was late / requests sent there."
    ),
    # What it cost.
    "usd_total": Definition("USD", "Cost of the window: usd_gpu + usd_api + usd_overhead."),
    "usd_gpu": Definition("USD", "Cost of GPUs, what lies unused of a commitment and metered power included."),
    "usd_idle": Definition("USD", "Part of usd_gpu for the time in which replicas were idle or asleep."),
    "usd_cold_start": Definition("USD", "Part of usd_gpu for the time in which replicas were starting."),
    "usd_api": Definition("USD", "Cost of the API's tokens and requests."),
    "hindsight_usd": Definition(
        "USD",
        "Lower bound on usd_gpu: what replicas like these cost at least, by any policy that knows the future, to "
        "finish what the fleet finished, in time what was in time. None with several pools, with prefill apart, under "
        "a plan of one's own, and after re-pricing by other terms than the price. Power and time after the window are "
        "left out.",
    ),
    "hindsight_work_usd": Definition(
        "USD", "Part of hindsight_usd for the bare work: if batches were always full and no request had a time limit."
    ),
    "hindsight_cold_start_usd": Definition("USD", "Part of hindsight_usd for starts of replicas."),
    "regret_usd": Definition(
        "USD", "usd_gpu - hindsight_usd: what a better policy of scaling and placement could have saved, at most."
    ),
    "regret_cold_start_usd": Definition("USD", "Part of regret_usd: cold starts beyond those of hindsight."),
    "regret_idle_usd": Definition(
        "USD",
        "Part of regret_usd: idle and sleeping replicas. What neither of the two explains are replicas busy with fewer "
        "requests than they could serve, rounding, commitments.",
    ),
    "usd_overhead": Definition("USD", "Cost of the fleet beyond its GPUs, as prices.overhead states it."),
    "usd_per_mtok_output": Definition("USD per Mtok", "usd_total / million output tokens of finished requests."),
    "usd_per_mtok_total": Definition(
        "USD per Mtok", "usd_total / million tokens of finished requests, input (cached or not) and output together."
    ),
    "usd_per_request": Definition("USD per request", "usd_total / (requests_finished + requests_stopped)."),
    "usd_per_task": Definition("USD per task", "usd_total / tasks_finished."),
    "usd_per_month": Definition("USD per month", "usd_total scaled from the length of the window to 730 h."),
    # Each pool, where a deployment has several.
    "pool_<pool>_busy_fraction_of_paid": Definition("fraction", "busy_fraction_of_paid of this pool."),
    "pool_<pool>_token_fraction_of_peak": Definition("fraction", "token_fraction_of_peak of this pool."),
    "pool_<pool>_batch_fill_fraction": Definition("fraction", "batch_fill_fraction of this pool."),
    "pool_<pool>_tokens_at_peak": Definition("tokens", "tokens_at_peak of this pool."),
    "pool_<pool>_batch_slot_hours": Definition("sequence-hours", "batch_slot_hours of this pool."),
    "pool_<pool>_gpu_hours_paid": Definition("GPU-hours", "gpu_hours_paid of this pool."),
    "pool_<pool>_request_fraction": Definition(
        "fraction", "Requests that a replica of this pool served or began to serve / all requests."
    ),
    "pool_<pool>_usd_gpu": Definition("USD", "Part of usd_gpu that this pool costs."),
    # Each application, where there are several.
    "application_<application>_requests": Definition("requests", "requests of this application's tasks."),
    "application_<application>_requests_never_sent": Definition("requests", "requests_never_sent of its tasks."),
    "application_<application>_requests_finished": Definition("requests", "requests_finished of its tasks."),
    "application_<application>_tasks": Definition("tasks", "Its tasks that began in the window."),
    "application_<application>_tasks_finished": Definition("tasks", "Those of them whose last call finished."),
    "application_<application>_cached_input_tokens": Definition(
        "tokens", "Input tokens of its finished requests that a prefix cache supplied."
    ),
    "application_<application>_input_tokens": Definition("tokens", "input_tokens of its finished requests."),
    "application_<application>_output_tokens": Definition("tokens", "output_tokens of its finished requests."),
    "application_<application>_prefix_hit_fraction": Definition("fraction", "Its cached_input_tokens / input_tokens."),
    "application_<application>_slo_attainment_fraction": Definition(
        "fraction", "Its calls that attain the SLO of the application / all of its calls, those never sent included."
    ),
    "application_<application>_slo_attainment_fraction_low": Definition(
        "fraction", "Lower bound of the 95 % interval of this attainment, with an SLO of its own."
    ),
    "application_<application>_slo_attainment_fraction_high": Definition("fraction", "Its upper bound."),
    "application_<application>_slo_target_fraction": Definition(
        "fraction", "attainment_fraction of its own SLO; only of applications that the configuration lists."
    ),
    "application_<application>_meets_slo": Definition(
        "yes/no", "meets_slo of this application by its own SLO; none without calls, or where it is not resolved."
    ),
    "application_<application>_slo_judgement": Definition("", "slo_judgement of this application by its own SLO."),
    "application_<application>_ttft_p50_s": Definition("s", "Median of the time to first token of its requests."),
    "application_<application>_ttft_p95_s": Definition("s", "95th percentile of it."),
    "application_<application>_ttft_p99_s": Definition("s", "99th percentile of it."),
    "application_<application>_e2e_p50_s": Definition("s", "Median of the time from arrival to last token."),
    "application_<application>_e2e_p95_s": Definition("s", "95th percentile of it."),
    "application_<application>_e2e_p99_s": Definition("s", "99th percentile of it."),
    "application_<application>_usd": Definition(
        "USD",
        "Part of usd_total: API tokens as billed, busy and draining GPU time by the seconds that its requests were on "
        "a replica, and of all else (idle, cold starts, commitments, overhead) the same share as of those.",
    ),
    "application_<application>_usd_fraction": Definition("fraction", "Its part of usd_total / usd_total."),
}
"""Keys of summary.json and, but for `replications`, of each entry of replications.json. Undefined values are null: a
mean over no request, a fleet metric without a fleet; so are, in both files, infinite ones. Every key with a number has
a companion `<key>_ci95` in summary.json, the half-width of its 95 % interval."""

BILL: Glossary = {
    "replication": Definition("", "Number of the replication, from 0."),
    "pool": Definition("", "Name of the pool that the line belongs to, empty for none; only with several pools."),
    "payee": Definition("", "Who is paid, as the price list names it."),
    "item": Definition("", "What is paid for; see the items of a bill."),
    "quantity": Definition("see unit", "How much of it."),
    "unit": Definition("", "Unit of `quantity`."),
    "usd": Definition("USD", "Cost of the line; never negative, 0 where the price list makes it free."),
}
"""Columns of bill.csv."""

BILL_ITEMS: Glossary = {
    "gpu busy": Definition("GPU-hour", "Time in which a request was on the replica."),
    "gpu draining": Definition("GPU-hour", "Time in which a replica finished its requests and accepted no others."),
    "gpu idle": Definition("GPU-hour", "Time in which a replica was ready and had no request."),
    "gpu cold start": Definition("GPU-hour", "Time from the order of a replica, or its waking, until it was ready."),
    "gpu asleep": Definition("GPU-hour", "Time in which a replica slept, its weights in host memory, its GPUs paid."),
    "gpu rounding and minimum": Definition(
        "GPU-hour", "What the plan bills beyond the lives of replicas: rounding up, and the minimum per replica."
    ),
    "gpu committed but unused": Definition("GPU-hour", "Time that was committed to and in which no replica existed."),
    "gpu surcharge beyond commitment": Definition(
        "GPU-hour", "Use beyond the commitment, at the difference between its price and the committed one."
    ),
    "gpu power": Definition("kWh", "Metered electricity of owned GPUs."),
    "api input": Definition("Mtok", "Prompt tokens that were neither read from nor written to a priced prompt cache."),
    "api cached input": Definition("Mtok", "Prompt tokens that were read from the API's prompt cache."),
    "api cache write": Definition("Mtok", "Prompt tokens written to the prompt cache, where writes have a price."),
    "api output": Definition("Mtok", "Tokens that the API generated."),
    "api requests": Definition("request", "Requests, where each has a price of its own."),
    "overhead": Definition("% of GPU rent or times GPU rent", "One overhead on the GPU rent."),
    "overhead: <name>": Definition("month", "A monthly cost of having a fleet, prorated at 730 h a month."),
}
"""Items of a bill. Those of an API may be followed by what sets their price apart: ", batch tier", ", lost hedges",
", prompts over <tokens> tokens", or hours of the week."""

RESULTS: Glossary = {
    "<key>": Definition("", "A configuration key that the sweep gives, with the value given."),
    "given_<key>": Definition("", "The same for a key that has the name of a metric, as `tasks` has."),
    "status": Definition("", "ok, or failed."),
    "error": Definition("", "Why a failed scenario has no numbers; empty otherwise."),
    "folder": Definition("", "Name of the scenario's folder: what the sweep varies, then the digest."),
    "digest": Definition("", "What the scenario is told by: a digest of its configuration and of the program."),
}
"""Columns of results.csv and results.parquet in front of those of SUMMARY. Here infinite values are kept (inf). Where
`applications` are listed, applications.csv has one row for each in each scenario: the same columns, `application`, and
the figures of the application without `application_<application>_` in front, its cost as usd_total."""


def _of(columns: Mapping[str, Column]) -> Glossary:
    return {name: Definition(column.unit, column.meaning) for name, column in columns.items()}


_REPLICATION = {"replication": Definition("", "Number of the replication, from 0.")}

REQUESTS: Glossary = {
    **_of(REQUEST_COLUMNS),
    **_of(API_EXTRAS),
    LOADED: Definition("tokens", "Of `cached_input_tokens`, those that were loaded from KV tiers."),
    **_REPLICATION,
    "pool": Definition("", "Name of the pool that served the request, empty for none; only with several pools."),
    "wait_for": Definition(
        "",
        "Places (`call_index`) of the calls of its task that had to finish before, empty in tasks whose calls wait for "
        "the one before; only where some task is no such chain.",
    ),
}
"""Columns of requests.parquet, one row per request. Moments are seconds of simulated time."""

SPANS: Glossary = {
    **_of(SPAN_COLUMNS),
    **_REPLICATION,
    "pool": Definition("", "Name of the replica's pool; only with several pools."),
}
"""Columns of spans.parquet, one row per stretch of a replica's life. The spans of a replica tile its life, from its
order to its release. Moments are seconds of simulated time."""


def defined(key: str, glossary: Glossary = SUMMARY) -> Definition | None:
    """The definition of a key, or of what matches a pattern; None if there is none. Knows `<key>_ci95`, too.

    >>> defined("pool_spot_usd_gpu")
    Definition(unit='USD', meaning='Part of usd_gpu that this pool costs.')
    >>> defined("usd_gpu_ci95").meaning
    'Half-width of the 95 % interval of usd_gpu over replications, to the farther bound; none if they are too few.'
    """
    if (name := name_in(key, glossary)) is not None:
        return glossary[name]
    mean = key.removesuffix(CI_SUFFIX)
    if mean == key or (found := defined(mean, glossary)) is None:
        return None
    return Definition(
        found.unit,
        f"Half-width of the 95 % interval of {mean} over replications, to the farther bound; none if they are too few.",
    )


def name_in(key: str, glossary: Glossary) -> str | None:
    """The entry, or the pattern, under which a key is defined; a plain entry goes before a pattern."""
    if key in glossary:
        return key
    return next((name for name in glossary if "<" in name and _pattern(name).fullmatch(key)), None)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(
        "".join(".+" if part.startswith("<") else re.escape(part) for part in re.split("(<[^>]+>)", name))
    )
