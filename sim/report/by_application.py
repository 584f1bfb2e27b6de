"""The figures of each application of a run that has several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim.columns import Columns, select
from sim.ledger.usage import finished_tasks
from sim.records import Facts, is_served
from sim.report.attainment import Judgement, Verdict, reaches
from sim.report.descriptive import Metric, percentiles, ratio
from sim.report.formatting import is_missing
from sim.report.slo import Slo
from sim.units import MTOK

CI_SUFFIX = "_ci95"
TARGET_OF = re.compile("(application_.+_)slo_target_fraction")
"""The key of an application's target; its group is the prefix of all figures of that application."""


def attained_by_application(requests: Columns, slo: Slo, own: Mapping[int, Slo]) -> np.ndarray:
    """bool[n]: which requests attain the SLO of their application, by number in `own`; `slo` where it has none."""
    attained = slo.attained(requests)
    for number, limits in own.items():
        rows = np.flatnonzero(requests["application"] == number)
        attained[rows] = limits.attained(select(requests, rows))
    return attained


def figures_by_application(
    facts: Facts, requests: Columns, attained: np.ndarray, own: Mapping[int, Slo]
) -> dict[str, Metric]:
    """`application_<name>_<figure>` of each application; with its target, and whether it meets it, if it is in `own`.

    `requests`: those of the tasks that began in the window; `attained` bool[n]: which of them attain the SLO.
    """
    first_rows, _ = finished_tasks(facts.requests, facts.window)
    finished = np.bincount(facts.requests["application"][first_rows], minlength=max(facts.applications) + 1)
    found: dict[str, Metric] = {}
    for number, name in facts.applications.items():
        rows = np.flatnonzero(requests["application"] == number)
        figures = _figures(select(requests, rows), attained[rows]) | {"tasks_finished": int(finished[number])}
        if number in own:
            target, share = own[number].attainment_fraction, figures["slo_attainment_fraction"]
            figures |= {
                "meets_slo": None if share is None else reaches(share, target),
                "slo_target_fraction": target,
            }
        found |= {f"application_{name}_{figure}": value for figure, value in figures.items()}
    return found


def application_rows(row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of each application with an SLO of its own, by its name, called as those of a scenario are.

    `row` is a summary, or a row of a sweep's table. `usd_total` is what the application costs.
    """
    found = {}
    for match in filter(None, map(TARGET_OF.fullmatch, map(str, row.keys()))):
        if is_missing(row[match[0]]):  # another scenario of the sweep has this application
            continue
        prefix = match[1]
        own = {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
        tokens = _size(own.get("input_tokens")) + _size(own.get("output_tokens"))
        usd = own.pop("usd", None)
        per_mtok = None if is_missing(usd) or not tokens else usd / tokens * MTOK
        beside = {"usd_total": usd, "usd_per_mtok_total": per_mtok, "replications": row.get("replications", 1)}
        if f"usd{CI_SUFFIX}" in own:
            beside[f"usd_total{CI_SUFFIX}"] = own.pop(f"usd{CI_SUFFIX}")
        found[prefix.removeprefix("application_").removesuffix("_")] = own | beside
    return found


def _size(tokens: Any) -> float:
    return 0.0 if is_missing(tokens) else float(tokens)


def of_all(whole: Judgement, own: Sequence[Judgement]) -> Judgement:
    """The judgement of several applications together, from that of all their calls and those of each: the SLO is met if
    each application that has calls meets its own, and missed if one misses it.

    That all meet it is claimed no more often in error than that one does. That one of k misses it is claimed in error
    up to k times as often as for a single application.
    """
    counted = [judgement for judgement in own if judgement.verdict is not Verdict.NO_CALLS]
    if not counted:
        return whole._replace(verdict=Verdict.NO_CALLS, reached=None)
    found = {judgement.verdict for judgement in counted}
    order = (Verdict.MISSES, Verdict.NOT_TESTED, Verdict.NOT_RESOLVED, Verdict.MEETS)
    verdict = next(verdict for verdict in order if verdict in found)
    return whole._replace(verdict=verdict, reached=all(judgement.reached for judgement in counted))


def _figures(requests: Columns, attained: np.ndarray) -> dict[str, Metric]:
    first, served = requests["call_index"] == 0, is_served(requests["outcome"])
    n, wanted = len(first), int(requests["calls_in_task"][first].sum(dtype=np.int64))
    tokens = {
        name: int(requests[name][served].sum(dtype=np.int64))
        for name in ("input_tokens", "cached_input_tokens", "output_tokens")
    }
    ttft_s = np.nan_to_num(requests["first_token_s"] - requests["arrived_s"], nan=np.inf)
    e2e_s = np.where(served, requests["finished_s"] - requests["arrived_s"], np.inf)
    return {
        "requests": n,
        "requests_never_sent": wanted - n,
        "requests_finished": int(np.count_nonzero(served)),
        "tasks": int(np.count_nonzero(first)),
        **tokens,
        "prefix_hit_fraction": ratio(tokens["cached_input_tokens"], tokens["input_tokens"]),
        "slo_attainment_fraction": ratio(int(np.count_nonzero(attained)), wanted),
        **dict(zip(("ttft_p50_s", "ttft_p95_s", "ttft_p99_s"), percentiles(ttft_s, (50, 95, 99)), strict=True)),
        **dict(zip(("e2e_p50_s", "e2e_p95_s", "e2e_p99_s"), percentiles(e2e_s, (50, 95, 99)), strict=True)),
    }
