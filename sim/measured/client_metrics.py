"""What the clients of a played run would have measured: latencies and rates as load generators define them."""

from __future__ import annotations

import numpy as np

from sim.columns import Columns
from sim.work import Outcome

_PERCENTILES = (50, 90, 99)


def seen_by_clients(requests: Columns, rows: slice = slice(None), makespan_s: float | None = None) -> dict[str, float]:
    """Metrics of some requests, as load generators define them; latencies over those that finished.

    `requests` holds columns of sim.records.REQUEST_COLUMNS, of which the `rows` count; times are in s.
    ITL = (mean E2E - mean TTFT) / (mean output tokens - 1); TPOT the same request by request; rates from the first
    arrival to the last completion, or over `makespan_s`.
    """
    part = {name: column[rows] for name, column in requests.items()}
    part = {name: column[part["outcome"] == Outcome.FINISHED] for name, column in part.items()}
    output = part["output_tokens"]
    if not len(output):
        return {}
    ttft_s, e2e_s = part["first_token_s"] - part["arrived_s"], part["finished_s"] - part["arrived_s"]
    found = _statistics("ttft", ttft_s) | _statistics("e2e", e2e_s)
    if output.mean() > 1:
        found["itl_mean_s"] = float((e2e_s.mean() - ttft_s.mean()) / (output.mean() - 1))
        several = output > 1
        found |= _statistics("tpot", (e2e_s - ttft_s)[several] / (output[several] - 1))
    if makespan_s is None:
        makespan_s = float(part["finished_s"].max() - requests["arrived_s"][rows].min())
    found |= {"makespan_s": makespan_s, "requests_per_s": len(output) / makespan_s}
    found["output_tok_per_s"] = float(output.sum()) / makespan_s
    found["total_tok_per_s"] = float(output.sum() + part["input_tokens"].sum()) / makespan_s
    return found


def means(found: list[dict[str, float]]) -> dict[str, float]:
    """Every metric over the replications that have it."""
    metrics = dict.fromkeys(metric for once in found for metric in once)
    return {metric: float(np.mean([once[metric] for once in found if metric in once])) for metric in metrics}


def _statistics(name: str, values_s: np.ndarray) -> dict[str, float]:
    percentiles = np.percentile(values_s, _PERCENTILES)
    found = {f"{name}_p{p}_s": float(value) for p, value in zip(_PERCENTILES, percentiles, strict=True)}
    return {f"{name}_mean_s": float(values_s.mean())} | found
