"""Which fleet wins, and whether the evidence suffices to say so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sim.report.attainment import MEETS_FROM, Verdict, reaches
from sim.report.by_application import application_rows
from sim.report.estimators import Interval, PairedDifference, paired_difference, paired_ratio_difference
from sim.report.formatting import half_width, is_missing, number, percent, usd
from sim.report.monthly import common_factor, is_a_month
from sim.report.pooling import CI_SUFFIX
from sim.units import MTOK

Row = Mapping[str, Any]
"""A scenario's figures by name, as a row of a table or a summary."""
COST = "usd_total"
MONTHLY = "usd_per_month"
TRAFFIC = ("requests", "tasks", "input_tokens", "output_tokens")
"""Counts that differ between replications of random traffic: fixed only where both number and sizes are."""
SAME_WORK = 0.01
"""Fleets that finished tasks and tokens within this fraction of each other did the same work."""
_UNITS = {"usd_per_task": " per task", "usd_per_mtok_total": " per Mtok"}
_UNIT_OF = {"usd_per_task": ("tasks_finished",), "usd_per_mtok_total": ("input_tokens", "output_tokens")}
"""What unit costs divide by."""
UNKNOWN = " ±?"
_SHOWN_GAIN = 1.5
"""The least factor by which pairing shrank the variance of a difference, for the verdict to mention it."""
_EQUAL_IN_TWINS = (COST, "ttft_p50_s", "ttft_p99_s", "e2e_p50_s", "e2e_p99_s")
"""Rows that are equal in all of these are one competitor, e.g. the API-only row repeated for each swept GPU."""


def is_yes(value: Any) -> bool:
    """A yes/no metric, also as a table read back from CSV holds it."""
    return not is_missing(value) and str(value).lower() in ("true", "1", "1.0")


def is_unresolved(row: Row) -> bool:
    """Whether replications leave it open that this fleet meets its SLO."""
    return bool(row.get("slo_judgement") == Verdict.NOT_RESOLVED)


def may_meet(row: Row) -> bool:
    """Whether this fleet meets its SLO, or reaches the target in replications that do not resolve it."""
    return is_yes(row.get("meets_slo")) or (is_unresolved(row) and _reaches_target(row))


def _reaches_target(row: Row) -> bool:
    parts = application_rows(row).values()
    if parts:
        return all(is_missing(part["slo_attainment_fraction"]) or _reaches_target(part) for part in parts)
    return reaches(float(row["slo_attainment_fraction"]), float(row["slo_target_fraction"]))


def failure(row: Row) -> str:
    """Why this scenario has no numbers; '' if it has."""
    error = row.get("error")
    return "" if is_missing(error) else str(error).strip()


def verdicts(
    table: pd.DataFrame,
    replications: pd.DataFrame | None = None,
    shape: str = "arrivals",
    fleet: str = "fleet",
    complete: bool = True,
) -> list[str]:
    """One line per shape: the cheapest fleet that meets the SLO, its interval, and whether its lead is resolved.

    Whether a fleet meets the SLO is the judgement of sim.report.attainment. Those that meet it are compared by what the
    whole run cost, or, if they did not finish the same work, by unit cost (see `_measure`). The lead over the next
    cheapest is resolved if the paired 95 % interval of the difference excludes zero. Fleets of which it is not resolved
    whether they meet the SLO are named, too; they are compared only where none is known to meet it. Replications that
    repeat the same requests at the same cost, as those of a replayed log do, test nothing. Columns as in
    sim.report.tables.print_comparison. Unless `complete`, some scenarios have not been played: then the lines are about
    those that have been so far.
    """
    by_shape: dict[Any, list[Row]] = {}
    for row in table.to_dict("records"):
        by_shape.setdefault(row[shape], []).append(row)
    so_far = "" if complete else " so far"
    return [f"{name}: {_verdict(rows, replications, shape, fleet, so_far)}" for name, rows in by_shape.items()]


def _verdict(rows: list[Row], replications: pd.DataFrame | None, shape: str, fleet: str, so_far: str) -> str:
    ran = [row for row in rows if not failure(row) and not is_missing(row.get(COST))]
    if not ran:
        return f"no fleet ran{so_far}."
    good = [row for row in ran if is_yes(row["meets_slo"])]
    unresolved = [row for row in ran if is_unresolved(row)]
    may_be_good = [row for row in unresolved if may_meet(row)]
    if not good and not may_be_good:
        return _none_meets(rows, ran, fleet, so_far)
    shown = bool(good)
    by = _measure(good or may_be_good)
    compared = sorted(good or may_be_good, key=lambda row: _ascending(row[by.key]))
    winner, *others_that_do = compared
    twins = [row for row in others_that_do if all(row[key] == winner[key] for key in _EQUAL_IN_TWINS)]
    alike = "; ".join(str(row[fleet]) for row in twins)
    name = f"{winner[fleet]} (alike: {alike})" if alike else f"{winner[fleet]}"
    verb = "meets" if shown else "may meet"
    claim = f"is the cheapest{by.unit}{so_far} that {verb}" if len(rows) > 1 else verb
    line = f"{name} {claim} the SLO: {_costs(winner, by)}, {_attained(winner)}"
    others = [row for row in unresolved if not any(row is one for one in compared)]
    rivals = [row for row in others_that_do if not any(row is twin for twin in twins)]
    if len(rows) == 1:
        return f"{line}. Nothing else was {'played so far' if so_far else 'tried'}."
    if rivals:
        return f"{line}; {_lead(winner, rivals[0], replications, shape, fleet, by)}{by.why}.{_open(others, fleet)}"
    if not others:
        every = "No other fleet" if len(ran) == len(rows) else "No other fleet that ran"
        return f"{line}. {every} {verb} it{so_far}."
    return f"{line}.{_open(others, fleet)}"


def _ascending(value: Any, sign: float = 1.0) -> tuple[bool, float]:
    """A key to sort by `sign` times a value: what is missing comes last."""
    return (True, 0.0) if is_missing(value) else (False, sign * float(value))


def _none_meets(rows: list[Row], ran: list[Row], fleet: str, so_far: str) -> str:
    """Where no fleet is known to meet the SLO, and none may on the evidence so far."""
    best = min(ran, key=lambda row: (_ascending(row["slo_attainment_fraction"], -1.0), row[COST]))
    evidence = f"({'; '.join(part for part in (f'{_share(best)}, {_whole(best)}', _doubt(best)) if part)})."
    if len(rows) == 1:
        verb = "is not shown to meet" if is_unresolved(best) else "does not meet"
        return f"{best[fleet]} {verb} the SLO {evidence}"
    verb = "is shown to meet" if any(map(is_unresolved, ran)) else "meets"
    return f"none{so_far} {verb} the SLO; the closest is {best[fleet]} {evidence}"


def _attained(row: Row) -> str:
    """The share of calls that attain the SLO, with its judgement where that is open."""
    doubt = _doubt(row)
    return f"{_share(row)} ({doubt})" if doubt else _share(row)


def _share(row: Row) -> str:
    parts = "; ".join(_share_of_one(name, part) for name, part in application_rows(row).items())
    return f"{percent(row['slo_attainment_fraction'])} % of calls attain it{f' ({parts})' if parts else ''}"


def _share_of_one(name: str, row: Mapping[str, Any]) -> str:
    """An application's attainment, its target, and its verdict where it does not meet it."""
    share, verdict = row["slo_attainment_fraction"], row.get("slo_judgement")
    if is_missing(share):
        return f"{name}: {Verdict.NO_CALLS}"
    shown = "" if is_yes(row["meets_slo"]) else f", {Verdict.MISSES if verdict == Verdict.NOT_TESTED else verdict}"
    return f"{name} {percent(share)} of {percent(row['slo_target_fraction'])} %{shown}"


def _doubt(row: Row) -> str:
    """Why the judgement of the SLO is open: not tested, or not resolved; '' where it is settled."""
    if row.get("slo_judgement") == Verdict.NOT_TESTED:
        return str(Verdict.NOT_TESTED)
    if not is_unresolved(row):
        return ""
    n = int(row["replications"])
    too_few = f", of the {MEETS_FROM} that could show it" if n < MEETS_FROM and _reaches_target(row) else ""
    parts = application_rows(row).items()
    open_parts = [f"{name} {_bounds(part)}" for name, part in parts if is_unresolved(part)]
    return f"NOT resolved: {' and '.join(open_parts) or _bounds(row)} by {n} replications{too_few}"


def _bounds(row: Row) -> str:
    low, high = (row.get(f"slo_attainment_fraction_{bound}") for bound in ("low", "high"))
    return "bounds unknown" if is_missing(low) or is_missing(high) else f"{percent(low)} to {percent(high)} %"


def judgement_in_words(row: Row) -> str:
    """One fleet's summary as a sentence on its SLO."""
    doubt = _doubt(row)
    if is_unresolved(row):
        return f"may meet the SLO or not: {_share(row)} ({doubt})"
    if row.get("slo_judgement") == Verdict.NO_CALLS:
        return "no calls, so nothing to judge by the SLO"
    verb = "meets" if is_yes(row["meets_slo"]) else "does not meet"
    return f"{verb} the SLO: {_share(row)}{f' ({doubt})' if doubt else ''}"


def _open(unresolved: list[Row], fleet: str) -> str:
    """The fleets of which it is open whether they meet the SLO, as a sentence; '' if there are none."""
    if not unresolved:
        return ""
    named = "; ".join(
        f"{row[fleet]} ({_whole(row)}, {percent(row['slo_attainment_fraction'])} %)"
        for row in sorted(unresolved, key=lambda row: row[COST])
    )
    return f" NOT resolved whether they meet it: {named}."


class _Measure(NamedTuple):
    """The figure by which fleets are compared: its column, its unit in words, and why it is not the whole cost.

    Differences are told times `factor`, `of_what`: as dollars of a month where all windows are equally long.
    """

    key: str = COST
    unit: str = ""
    why: str = ""
    factor: float = 1.0
    of_what: str = ""


def _measure(rivals: list[Row]) -> _Measure:
    """The whole cost if all fleets finished the same tasks and tokens, within SAME_WORK; otherwise a unit cost.

    Fleets finish unequal work in a closed loop that is cut at a horizon, or where requests were refused. By whole cost
    the fleet that did less would win. The unit is a task if the finished tasks had the same mean size in all fleets,
    else a token.
    """
    factor = common_factor(rivals)
    whole = _Measure(factor=factor, of_what="" if factor == 1 else " a month")
    if not {"tasks_finished", "input_tokens", "output_tokens", *_UNITS} <= set(rivals[0]):
        return whole
    tasks, tokens_in, tokens_out = (
        np.array([row[key] for row in rivals], float) for key in ("tasks_finished", "input_tokens", "output_tokens")
    )
    tokens = tokens_in + tokens_out
    if _same(tasks) and _same(tokens):
        return whole
    with np.errstate(divide="ignore", invalid="ignore"):  # of a fleet that finished nothing
        tokens_per_task = tokens / tasks
    key = "usd_per_task" if _same(tokens_per_task) else "usd_per_mtok_total"
    amounts, what = (tasks, "tasks") if key == "usd_per_task" else (tokens / MTOK, "Mtok")
    work = f"they did not finish the same work ({number(amounts.min())} to {number(amounts.max())} {what})"
    return _Measure(key, _UNITS[key], f"; compared{_UNITS[key]}, as {work}", of_what=_UNITS[key])


def _same(amounts: np.ndarray) -> bool:
    return bool(np.fmax.reduce(amounts) <= (1 + SAME_WORK) * np.fmin.reduce(amounts))


def plus_minus(row: Row, key: str, scale: float = 1.0) -> str:
    """The half-width beside a figure of a summary, as text: ' ±12'; ' ±?' if there are several replications, but too
    few for a half-width; '' if there is one replication."""
    value, width = row.get(key), row.get(key + CI_SUFFIX)
    if width is not None and not is_missing(width):
        return half_width(scale * float(width))
    several = not is_missing(row.get("replications")) and row["replications"] > 1
    unknown = several and key + CI_SUFFIX in row and value is not None and math.isfinite(float(value))
    return UNKNOWN if unknown else ""


def _costs(row: Row, by: _Measure) -> str:
    """What a fleet cost by the measure of the comparison, and by the other one (per Mtok, or in all)."""
    per_mtok = f"${number(row.get('usd_per_mtok_total'))} per Mtok"
    if by.key == COST:
        return f"{_whole(row)}, {per_mtok}"
    unit_cost = f"{usd(row[by.key])}{plus_minus(row, by.key)}{by.unit}"
    return f"{unit_cost} ({usd(row[COST])}{plus_minus(row, COST)} in all)"


def _whole(row: Row) -> str:
    """What a fleet costs, with its interval: a month, where it is known, and the run, where that is no month."""
    of_run = f"{usd(row[COST])}{plus_minus(row, COST)}"
    if is_missing(row.get(MONTHLY)):
        return of_run
    of_month = f"{usd(row[MONTHLY])}{plus_minus(row, MONTHLY)} a month"
    return of_month if is_a_month(row) else f"{of_month} ({of_run} in the run)"


def _lead(winner: Row, second: Row, replications: pd.DataFrame | None, shape: str, fleet: str, by: _Measure) -> str:
    lead = f"{usd(by.factor * (second[by.key] - winner[by.key]))}{by.of_what}"
    if second[by.key] > 0:
        lead += f" ({percent((second[by.key] - winner[by.key]) / second[by.key])} %)"
    lead += f" less than {second[fleet]}"
    both = [_replications_of(row, replications, shape, fleet) for row in (second, winner)]
    pairs, (difference, gain) = _paired(both[0], both[1], by.key)
    if pairs < 2:
        return f"{lead} (one replication: the lead is not tested)"
    if difference.half_width is None:  # One of the replications finished all of the work, as after an idle night.
        return f"{lead} (unknown with so few: one of {pairs} replications did all of the work)"
    repeated = all(_same_in_all(rows, *TRAFFIC) for rows in both)
    if repeated and all(_same_in_all(rows, by.key) for rows in both):
        # A fleet whose latencies are equal in all replications, too, had the same moments of arrival in all of them.
        what = "traffic" if any(_same_in_all(rows, "ttft_mean_s", "e2e_mean_s") for rows in both) else "requests"
        return f"{lead} (all replications played the same {what}: the lead is not tested)"
    evidence = "resolved" if difference.excludes_zero else "NOT resolved"
    of_what, rest = (" of the same requests", ": only their timing and service differ") if repeated else ("", "")
    return f"{lead}, {evidence} over {pairs} paired replications{of_what} ({_width(difference, gain, by.factor)}){rest}"


def _width(difference: Interval, gain: float | None, factor: float) -> str:
    """The half-width times a factor, and by what factor pairing shrank the variance, where it did."""
    assert difference.half_width is not None, "is told by the caller where it is not known"
    width = f"±${number(factor * difference.half_width, 2)}"
    return width if gain is None or gain < _SHOWN_GAIN else f"{width}; pairing gave {number(gain, 2)} x"


def _replications_of(row: Row, replications: pd.DataFrame | None, shape: str, fleet: str) -> pd.DataFrame:
    if replications is None or replications.empty:
        return pd.DataFrame(columns=["replication"]).set_index("replication")
    # Two scenarios of a folder may have one label: those played before and after a file that both name was changed.
    keys = ["digest"] if "digest" in row and "digest" in replications else [shape, fleet]
    of_row = np.logical_and.reduce([replications[key] == row[key] for key in keys])
    return replications[of_row].set_index("replication")


def _paired(a: pd.DataFrame, b: pd.DataFrame, key: str) -> tuple[int, PairedDifference]:
    """Pairs of replications, and the difference of a cost between them: of a unit cost, that of the ratios of sums."""
    wanted = [COST, *_UNIT_OF[key]] if key in _UNIT_OF else [key]
    if not set(wanted) <= set(a) & set(b):
        return 0, PairedDifference(Interval(None), None)
    both = pd.concat([a[wanted], b[wanted]], axis=1, join="inner", keys=["a", "b"])
    if key not in _UNIT_OF:
        return len(both), paired_difference(both["a"][key].tolist(), both["b"][key].tolist())
    per = MTOK if key == "usd_per_mtok_total" else 1.0
    first, second = (
        (both[side][COST].tolist(), (both[side][list(_UNIT_OF[key])].sum(axis=1) / per).tolist()) for side in ("a", "b")
    )
    return len(both), paired_ratio_difference(first, second)


def _same_in_all(rows: pd.DataFrame, *keys: str) -> bool:
    """Whether each of these figures is there and the same in all replications, up to rounding."""
    columns = [rows[key].to_numpy(float) for key in keys if key in rows]
    return len(columns) == len(keys) and all(np.allclose(c, c[0], rtol=1e-9, atol=0) for c in columns)
