"""Which fleet wins, and whether the evidence suffices to say so."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sim.report.intervals import CI_SUFFIX, Interval, paired_difference
from sim.report.wording import half_width, is_missing, number, percent, usd

COST = "usd_total"


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
    the paired 95 % interval of the cost difference excludes zero. Columns as in sim.report.tables.print_comparison.
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
        return f"none meets the SLO; the closest is {best[fleet]} ({share} % of requests attain it, {usd(best[COST])})."
    winner = good.iloc[0]
    line = (
        f"{winner[fleet]} is the cheapest that meets the SLO: {usd(winner[COST])}"
        f"{half_width(winner.get(COST + CI_SUFFIX))}, ${number(winner.get('usd_per_mtok_total'))} per Mtok, "
        f"{percent(winner['slo_attainment_fraction'])} % of requests attain it"
    )
    if len(good) == 1:
        return f"{line}. No other fleet meets it."
    second = good.iloc[1]
    return f"{line}; {_lead(winner, second, replications, shape, fleet)}."


def _lead(winner: pd.Series, second: pd.Series, replications: pd.DataFrame | None, shape: str, fleet: str) -> str:
    lead = f"{usd(second[COST] - winner[COST])}"
    if second[COST] > 0:
        lead += f" ({percent((second[COST] - winner[COST]) / second[COST])} %)"
    lead += f" less than {second[fleet]}"
    pairs, difference = _paired(winner, second, replications, shape, fleet)
    if pairs < 2 or difference.half_width is None:
        return f"{lead} (one replication: the lead is not tested)"
    said = "resolved" if difference.excludes_zero else "NOT resolved"
    return f"{lead}, {said} over {pairs} paired replications (±${number(difference.half_width, 2)})"


def _paired(
    winner: pd.Series, second: pd.Series, replications: pd.DataFrame | None, shape: str, fleet: str
) -> tuple[int, Interval]:
    if replications is None or replications.empty:
        return 0, Interval(None, None)

    def costs(row: pd.Series) -> pd.Series:
        mine = (replications[shape] == row[shape]) & (replications[fleet] == row[fleet])
        return replications[mine].set_index("replication")[COST]

    both = pd.concat([costs(second), costs(winner)], axis=1, join="inner", keys=["second", "winner"])
    return len(both), paired_difference(both["second"].tolist(), both["winner"].tolist())
