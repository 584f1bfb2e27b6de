"""Which fleet wins, and whether the evidence suffices to say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sim.report.intervals import CI_SUFFIX, Interval, paired_difference
from sim.report.wording import half_width, is_missing, number, percent, usd

COST = "usd_total"
TRAFFIC = ("requests", "tasks", "input_tokens", "output_tokens")
"""Counts that differ between replications of random traffic: fixed only where both number and sizes are."""
_ALIKE = (COST, "ttft_p50_s", "ttft_p99_s", "e2e_p50_s", "e2e_p99_s")  # as an API is, whatever GPU it is not run on


def is_yes(value: Any) -> bool:
    """A yes/no metric, also as a table read back from CSV holds it."""
    return not is_missing(value) and str(value).lower() in ("true", "1", "1.0")


def failure(row: pd.Series) -> str:
    """Why this scenario has no numbers; '' if it has."""
    error = row.get("error")
    return "" if is_missing(error) else str(error).strip()


def verdicts(
    table: pd.DataFrame, replications: pd.DataFrame | None = None, shape: str = "arrivals", fleet: str = "fleet"
) -> list[str]:
    """One line per shape: the cheapest fleet that meets the SLO, its interval, and whether its lead is resolved.

    A fleet meets the SLO if every replication does. The lead over the next cheapest fleet that meets it is resolved if
    the paired 95 % interval of the cost difference excludes zero. Replications that repeat the same requests at
    the same cost, as those of a replayed log do, test nothing. Columns as in sim.report.tables.print_comparison.
    """
    return [f"{name}: {_verdict(rows, replications, shape, fleet)}" for name, rows in table.groupby(shape, sort=False)]


def _verdict(rows: pd.DataFrame, replications: pd.DataFrame | None, shape: str, fleet: str) -> str:
    ran = rows[[not failure(row) and not is_missing(row.get(COST)) for _, row in rows.iterrows()]]
    if ran.empty:
        return "no fleet ran."
    good = ran[[is_yes(v) for v in ran["meets_slo"]]].sort_values(COST, kind="stable")
    if good.empty:
        best = ran.sort_values(["slo_attainment_fraction", COST], ascending=[False, True]).iloc[0]
        share = percent(best["slo_attainment_fraction"])
        if len(rows) == 1:
            return f"{best[fleet]} does not meet the SLO ({share} % of requests attain it, {usd(best[COST])})."
        return f"none meets the SLO; the closest is {best[fleet]} ({share} % of requests attain it, {usd(best[COST])})."
    winner = good.iloc[0]
    alike = (good[list(_ALIKE)] == winner[list(_ALIKE)]).all(axis=1)
    twins = "; ".join(good[fleet][alike].astype(str).iloc[1:])
    name = f"{winner[fleet]} (alike: {twins})" if twins else f"{winner[fleet]}"
    line = (
        f"{name} {'is the cheapest that meets' if len(rows) > 1 else 'meets'} the SLO: {usd(winner[COST])}"
        f"{half_width(winner.get(COST + CI_SUFFIX))}, ${number(winner.get('usd_per_mtok_total'))} per Mtok, "
        f"{percent(winner['slo_attainment_fraction'])} % of requests attain it"
    )
    if len(rows) == 1:
        return f"{line}. Nothing else was tried."
    if alike.all():
        return f"{line}. No other fleet meets it."
    second = good[~alike].iloc[0]
    return f"{line}; {_lead(winner, second, replications, shape, fleet)}."


def _lead(winner: pd.Series, second: pd.Series, replications: pd.DataFrame | None, shape: str, fleet: str) -> str:
    lead = f"{usd(second[COST] - winner[COST])}"
    if second[COST] > 0:
        lead += f" ({percent((second[COST] - winner[COST]) / second[COST])} %)"
    lead += f" less than {second[fleet]}"
    both = [_replications_of(row, replications, shape, fleet) for row in (second, winner)]
    pairs, difference = _paired(*both)
    if pairs < 2 or difference.half_width is None:
        return f"{lead} (one replication: the lead is not tested)"
    repeated = all(_same_in_all(rows, *TRAFFIC) for rows in both)
    if repeated and all(_same_in_all(rows, COST) for rows in both):
        # a fleet without chance of its own shows whether the moments of arrival were the same, too
        what = "traffic" if any(_same_in_all(rows, "ttft_mean_s", "e2e_mean_s") for rows in both) else "requests"
        return f"{lead} (all replications played the same {what}: the lead is not tested)"
    said = "resolved" if difference.excludes_zero else "NOT resolved"
    of_what, rest = (" of the same requests", ": only their timing and service differ") if repeated else ("", "")
    return f"{lead}, {said} over {pairs} paired replications{of_what} (±${number(difference.half_width, 2)}){rest}"


def _replications_of(row: pd.Series, replications: pd.DataFrame | None, shape: str, fleet: str) -> pd.DataFrame:
    if replications is None or replications.empty:
        return pd.DataFrame(columns=["replication", COST]).set_index("replication")
    mine = (replications[shape] == row[shape]) & (replications[fleet] == row[fleet])
    return replications[mine].set_index("replication")


def _paired(a: pd.DataFrame, b: pd.DataFrame) -> tuple[int, Interval]:
    both = pd.concat([a[COST], b[COST]], axis=1, join="inner", keys=["a", "b"])
    return len(both), paired_difference(both["a"].tolist(), both["b"].tolist())


def _same_in_all(rows: pd.DataFrame, *keys: str) -> bool:
    """Whether each of these figures is there and the same in all replications, up to rounding."""
    columns = [rows[key].to_numpy(float) for key in keys if key in rows]
    return len(columns) == len(keys) and all(np.allclose(c, c[0], rtol=1e-9, atol=0) for c in columns)
