"""The figures of each application of a run that has several."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sim.ledger.usage import finished_tasks
from sim.records import Facts, is_served
from sim.report.descriptive import Metric, percentiles, ratio
from sim.report.slo import Slo

Columns = dict[str, np.ndarray]


def attained_by_application(requests: Columns, slo: Slo, own: Mapping[int, Slo]) -> np.ndarray:
    """bool[n]: which requests attain the SLO of their application, by number in `own`; `slo` where it has none."""
    attained = slo.attained(requests)
    for number, limits in own.items():
        rows = np.flatnonzero(requests["application"] == number)
        attained[rows] = limits.attained({name: column[rows] for name, column in requests.items()})
    return attained


def figures_by_application(facts: Facts, requests: Columns, attained: np.ndarray) -> dict[str, Metric]:
    """`application_<name>_<figure>` of each application.

    `requests`: those of the tasks that began in the window; `attained` bool[n]: which of them attain the SLO.
    """
    first_rows, _ = finished_tasks(facts.requests, facts.window)
    finished = np.bincount(facts.requests["application"][first_rows], minlength=max(facts.applications) + 1)
    found: dict[str, Metric] = {}
    for number, name in facts.applications.items():
        rows = np.flatnonzero(requests["application"] == number)
        own = {column: values[rows] for column, values in requests.items()}
        figures = _figures(own, attained[rows]) | {"tasks_finished": int(finished[number])}
        found |= {f"application_{name}_{figure}": value for figure, value in figures.items()}
    return found


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
        **dict(zip(("ttft_p50_s", "ttft_p95_s"), percentiles(ttft_s, (50, 95)), strict=True)),
        "e2e_p95_s": percentiles(e2e_s, (95,))[0],
    }
