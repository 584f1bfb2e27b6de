"""One row from several replications: ratios as ratios of sums, all else as means, each with its interval."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sim.report.attainment import Judgement, judge
from sim.report.by_application import CI_SUFFIX, TARGET_OF, of_all
from sim.report.descriptive import Metric
from sim.report.estimators import CONFIDENCE, Interval, Support, Sureness, mean, ratio_of_sums
from sim.report.metrics import is_fraction
from sim.units import MONTH_S, MTOK

ATTAINMENT = "slo_attainment_fraction"
Row = Mapping[str, Metric]
Judgements = Mapping[str, Judgement]
"""The judgement of the SLO under "", and those of applications under their prefixes, such as "application_chat_"."""


class Ratio(NamedTuple):
    """A metric that is a quotient in every replication: what to sum for it over replications.

    `denominator` reads its number off a replication's row. `numerator` names a key; None where the metric is a mean
    over the denominator's units, whose sum is metric x denominator.
    """

    denominator: Callable[[Row, str], float]
    numerator: str | None = None


def sum_of(*keys: str, per: float = 1.0) -> Callable[[Row, str], float]:
    """The sum of these keys, each with the row's prefix before it, in units of `per`."""
    return lambda row, prefix: sum(_number(row[prefix + key]) for key in keys) / per


def product_of(*keys: str) -> Callable[[Row, str], float]:
    """The product of these keys, each with the row's prefix before it."""
    return lambda row, prefix: math.prod(_number(row[prefix + key]) for key in keys)


_PAID = Ratio(sum_of("gpu_hours_paid"))
_REQUESTS = Ratio(sum_of("requests"))
_AT_THE_API = Ratio(product_of("requests", "api_request_fraction"))
RATIOS: Mapping[str, Ratio] = {
    "usd_per_mtok_output": Ratio(sum_of("output_tokens", per=MTOK), "usd_total"),
    "usd_per_mtok_total": Ratio(sum_of("input_tokens", "output_tokens", per=MTOK), "usd_total"),
    "usd_per_request": Ratio(sum_of("requests_finished", "requests_stopped"), "usd_total"),
    "usd_per_task": Ratio(sum_of("tasks_finished"), "usd_total"),
    "usd_per_month": Ratio(sum_of("window_s", per=MONTH_S), "usd_total"),
    "ttft_mean_s": Ratio(sum_of("requests_answered")),
    "tpot_mean_s": Ratio(sum_of("requests_streamed")),
    "e2e_mean_s": Ratio(sum_of("requests_finished", "requests_stopped")),
    "task_mean_s": Ratio(sum_of("tasks_finished")),
    ATTAINMENT: Ratio(sum_of("requests", "requests_never_sent")),
    "busy_fraction_of_paid": _PAID,
    "token_fraction_of_peak": Ratio(sum_of("tokens_at_peak")),
    "batch_fill_fraction": Ratio(sum_of("batch_slot_hours")),
    "cold_start_request_fraction": _REQUESTS,
    "prefix_hit_fraction": Ratio(sum_of("input_tokens")),
    "evicted_while_thinking_fraction": Ratio(sum_of("requests_returning")),
    "api_request_fraction": _REQUESTS,
    "api_attempts_per_request": _AT_THE_API,
    "api_hedged_fraction": _AT_THE_API,
}
"""Every metric of a replication that is a quotient; percentiles are none, and are averaged over replications."""

_OF_A_POOL = re.compile("(pool_.+_)(busy_fraction_of_paid|token_fraction_of_peak|batch_fill_fraction)")
_OF_AN_APPLICATION = re.compile("(application_.+_)(slo_attainment_fraction|prefix_hit_fraction)")
_TIER_HITS = re.compile("kv_.+_hit_fraction")
_COST = re.compile("(application_.+_usd)(_fraction)?")
"""What an application costs, and its share of usd_total: None in replications in which none caused a cost."""
_SHARE_OF_A_POOL = re.compile("pool_.+_request_fraction")


def estimate(key: str, rows: Sequence[Row], confidence: float = CONFIDENCE) -> Interval:
    """A metric over replications. Rows that lack a ratio's terms, as older files do, are averaged.

    With a single replication the estimate is that replication's value, to the last bit.
    """
    support = Support.FRACTION if is_fraction(key) else Support.NON_NEGATIVE
    cost = _COST.fullmatch(key)
    values = _costs(key, rows) if cost and not cost[2] else [_number_or_none(row.get(key)) for row in rows]
    terms = None if len(rows) < 2 else _terms(key, rows, values)
    if terms is None or not any(terms[1]):
        return mean(values, support, confidence)
    return ratio_of_sums(*terms, support, confidence)


def over_replications(
    rows: Sequence[Row],
    attainment_target: float | None = None,
    judgements: Judgements | None = None,
    confidence: float = CONFIDENCE,
) -> dict[str, Metric | str]:
    """One row from several replications: `<key>` the estimate, `<key>_ci95` its half-width, and `replications`.

    A half-width is given if there are replications enough for it to be one (FEWEST), and it is not above the estimate.
    `meets_slo` is the judgement of the SLO whose target is `attainment_target` (or `judgements`, if they are at hand),
    and None where it is not resolved; `slo_judgement` says it in words, and slo_attainment_fraction_low and _high are
    the bounds of attainment that it rests on. Without a target there is no judgement. Applications with an SLO of their
    own have these figures, too, and then those of all are what `of_all` says.
    """
    found: dict[str, Metric | str] = {"replications": len(rows)}
    if judgements is None and attainment_target is not None and rows:
        # A log that is played again without any chance in it is one replication, however often it is played.
        judgements = judged(rows[:1] if all(row == rows[0] for row in rows) else rows, attainment_target)
    for key in rows[0] if rows else ():
        values = [row.get(key) for row in rows]
        if key.endswith("meets_slo"):
            prefix = key.removesuffix("meets_slo")
            found |= _in_a_row(prefix, judgements[prefix]) if judgements else {}
        elif TARGET_OF.fullmatch(key):
            found[key] = values[0]
        elif all(
            value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values
        ):
            interval = estimate(key, rows, confidence)
            found[key] = interval.mean
            found[key + CI_SUFFIX] = interval.half_width if interval.sureness is Sureness.KNOWN else None
    return found


def attained_calls(rows: Sequence[Row], prefix: str = "") -> tuple[list[int], list[int]]:
    """(calls that attain the SLO, all calls, never sent ones included) of each replication.

    `prefix` is that of an application, such as "application_chat_".
    """
    calls = [int(RATIOS[ATTAINMENT].denominator(row, prefix)) for row in rows]
    return [round(n * _number(row[prefix + ATTAINMENT])) for n, row in zip(calls, rows, strict=True)], calls


def judged(
    rows: Sequence[Row], target: float, by: Callable[[list[int], list[int], float], Judgement] = judge
) -> Judgements:
    """The judgement of the SLO, under "", and of each application that has one of its own, under its prefix.

    `by(attained, calls, target)` judges one of them. With applications the one of all is `of_all` of theirs.
    """
    own = {
        match[1]: by(*attained_calls(rows, match[1]), _number(rows[0][key]))
        for key in rows[0]
        if (match := TARGET_OF.fullmatch(key))
    }
    whole = by(*attained_calls(rows), target)
    return {"": of_all(whole, list(own.values())) if own else whole, **own}


def _in_a_row(prefix: str, judgement: Judgement) -> dict[str, Metric | str]:
    return {
        f"{prefix}meets_slo": judgement.meets,
        f"{prefix}slo_judgement": str(judgement.verdict),
        f"{prefix}slo_target_fraction": judgement.target,
        f"{prefix}{ATTAINMENT}_low": judgement.attainment.low,
        f"{prefix}{ATTAINMENT}_high": judgement.attainment.high,
    }


def _terms(key: str, rows: Sequence[Row], values: list[float | None]) -> tuple[list[float], list[float]] | None:
    """(numerators, denominators) of a ratio, by replication; None if the metric is none, or its terms are not known.

    A replication without a denominator counts with its numerator: what an idle night costs, tasks of the day pay for.
    """
    ratio, prefix = RATIOS.get(key), ""
    if part := _OF_A_POOL.fullmatch(key) or _OF_AN_APPLICATION.fullmatch(key):
        prefix, ratio = part[1], RATIOS[part[2]]
    elif cost := _COST.fullmatch(key):
        costs = _costs(cost[1], rows)
        return ([_number(usd) for usd in costs], _totals(rows)) if cost[2] and None not in costs else None
    elif _TIER_HITS.fullmatch(key):
        ratio = RATIOS["prefix_hit_fraction"]
    elif _SHARE_OF_A_POOL.fullmatch(key):
        ratio = _REQUESTS
    if ratio is None:
        return None
    try:
        denominators = [ratio.denominator(row, prefix) for row in rows]
        if ratio.numerator is not None:
            return [_number(row[ratio.numerator]) for row in rows], denominators
    except KeyError:
        return None
    if any(value is None and n > 0 for value, n in zip(values, denominators, strict=True)):
        return None
    return [(value or 0.0) * n for value, n in zip(values, denominators, strict=True)], denominators


def _costs(key: str, rows: Sequence[Row]) -> list[float | None]:
    """What an application costs in each replication. Where no application caused a cost, the bill of the replication is
    divided as those of the others are together: what an idle night costs, the applications of the day pay for, so that
    their costs add up to usd_total, and each is its share of it. All None if no application ever caused a cost.
    """
    costs, totals = [_number_or_none(row.get(key)) for row in rows], _totals(rows)
    known = [(usd, total) for usd, total in zip(costs, totals, strict=True) if usd is not None]
    billed = math.fsum(total for _, total in known)
    if not billed:
        return costs
    share = math.fsum(usd for usd, _ in known) / billed
    return [share * total if usd is None else usd for usd, total in zip(costs, totals, strict=True)]


def _totals(rows: Sequence[Row]) -> list[float]:
    return [_number(row.get("usd_total")) for row in rows]


def _number(value: Metric | str) -> float:
    return float(value) if value is not None else 0.0


def _number_or_none(value: Metric | str) -> float | None:
    return None if value is None else float(value)
