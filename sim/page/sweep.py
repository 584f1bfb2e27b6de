"""The page of a sweep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sim.page.downloads import saved_if_small
from sim.page.model import Cell, Column, Figure, Grid, Page, Section, grid
from sim.page.saved.traffic import played_traffic
from sim.page.sections.cells import number_cell, percent_cell, usd_cell
from sim.page.sections.frontier import Fleet, frontier
from sim.page.sections.scenarios import ROWS_PRINTED, TITLE
from sim.page.sections.traffic import traffic
from sim.report.formatting import is_missing
from sim.report.pooling import CI_SUFFIX
from sim.report.verdict import COST, MONTHLY, failure, is_unresolved, is_yes
from sim.study.collect import Collected, collected
from sim.study.competitors import GIVEN, GROUP, LABEL
from sim.study.folder import MANIFEST, RESULTS
from sim.study.saved import read_config

_FIGURES = (
    ("usd_per_month", "a month", "USD", usd_cell), ("usd_total", "the run", "USD", usd_cell),
    ("usd_per_mtok_total", "per Mtok", "USD", usd_cell),
    ("busy_fraction_of_paid", "busy", "% of paid", percent_cell),
    ("token_fraction_of_peak", "tokens", "% of peak", percent_cell),
    ("batch_fill_fraction", "batch", "% filled", percent_cell), ("ttft_p50_s", "TTFT p50", "s", number_cell),
    ("ttft_p99_s", "TTFT p99", "s", number_cell), ("e2e_p99_s", "end to end p99", "s", number_cell),
    ("slo_attainment_fraction", "attained", "% of calls", percent_cell),
    ("cold_starts", "cold starts", "", number_cell), ("api_request_fraction", "to the API", "%", percent_cell),
)  # fmt: skip
_ATTAINED = ("slo_attainment_fraction", "slo_attainment_fraction_low", "slo_attainment_fraction_high")
_MOST_PANELS, _MOST_LISTED = 8, 500
_TRAFFIC = ("arrivals", "lengths", "tasks", "applications", "horizon_s", "experiment")
"""Groups that say what arrives."""
Rows = list[dict[str, Any]]


def sweep_page(folder: Path, known: Collected | None = None) -> Page:
    """`known`: what the folder holds, if it has been read. Raises ConfigError for results that cannot be read."""
    found = collected(folder) if known is None else known
    judged = found.judged
    given = list(found.table.columns[: found.table.columns.get_loc("status")])
    rows: Rows = found.table.to_dict("records")  # type: ignore[assignment]  # Column names are texts.
    listed = _scenarios(rows[:_MOST_LISTED], given)
    more = len(rows) - _MOST_LISTED
    cut = (f"{more} further scenarios are in {RESULTS}.csv only.",) if more > 0 else ()
    points = (*found.setting.lines, *found.borrowed, *found.hardware, *(f"note, {note}" for note in found.notes))
    sections = (
        Section("verdicts", "The verdicts", tuple(judged) if len(judged) > 1 else ()),
        Section("frontier", "Cost against attainment", figures=tuple(_figures(rows))),
        *_traffic(folder, rows, given),
        Section("scenarios", TITLE, grids=(listed,), notes=(*cut, *_failed(rows[:_MOST_LISTED]))),
        Section("rests-on", "What this rests on", points=points),
    )  # fmt: skip
    files = tuple(saved_if_small(folder / f"{RESULTS}.csv", folder / MANIFEST))
    below = (found.lacking,) if found.lacking else ()
    return Page("Sweep", f"Sweep: {folder.name}", _answer(folder, rows, judged), below, sections, files)


def _group(key: str) -> str:
    """The group that a given key belongs to."""
    return re.split(r"[./@]", key.removeprefix(GIVEN))[0]


def _traffic(folder: Path, rows: Rows, given: list[str]) -> Iterator[Section]:
    """What arrived, where all scenarios play the same traffic, and it is a log, or the first one kept its requests."""
    keys = [key for key in given if _group(key) in _TRAFFIC]
    first = next((row for row in rows if row["status"] == "ok"), None)
    if first is None or any(str(row[key]) != str(first[key]) for row in rows for key in keys):
        return
    config = read_config(folder / first["folder"])
    card = None if config is None else played_traffic(folder / first["folder"], config)
    if card is not None:
        yield traffic(card)


def _answer(folder: Path, rows: Rows, judged: list[str]) -> str:
    if len(judged) == 1:
        return judged[0]
    met = sum(any(is_yes(row.get("meets_slo")) for row in rows if row[GROUP] == group) for group in _groups(rows))
    name = folder.name.replace("_", " ")
    return f"{name}: {len(rows)} scenarios, {len(judged)} questions, of which {met} have a fleet that meets the SLO."


def _groups(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row[GROUP] for row in rows))


def _figures(rows: Rows) -> Iterator[Figure]:
    groups = _groups(rows)
    is_monthly = all(failure(row) or _known(row.get(MONTHLY)) is not None for row in rows)
    cost, what = (MONTHLY, "USD a month") if is_monthly else (COST, "USD, whole run")
    for name in groups[:_MOST_PANELS]:
        own = [row for row in rows if row[GROUP] == name]
        fleets = [fleet for row in own if (fleet := _fleet(row, cost)) is not None]
        targets = {target for row in own if (target := _known(row.get("slo_target_fraction"))) is not None}
        if fleets:
            meeting = sum(fleet.state == "meets" for fleet in fleets)
            which = f"{name}: " if len(groups) > 1 else ""
            title = f"{which}{meeting} of {len(fleets)} fleets meet the SLO"
            yield frontier(title, what, fleets, targets.pop() if len(targets) == 1 else None)


def _fleet(row: dict[str, Any], cost: str) -> Fleet | None:
    usd, half, attained, low, high = (_known(row.get(key)) for key in (cost, cost + CI_SUFFIX, *_ATTAINED))
    if failure(row) or usd is None or attained is None:
        return None
    state = "meets" if is_yes(row.get("meets_slo")) else "open" if is_unresolved(row) else "misses"
    name = str(row[LABEL]).replace("_", " ")
    return Fleet(
        name, usd, None if half is None else (usd - half, usd + half), attained,
        None if low is None or high is None else (low, high), str(row.get("fleet") or name).replace("_", " "), state,
        name,
    )  # fmt: skip


def _known(value: Any) -> float | None:
    return None if value is None or is_missing(value) else float(value)


def _scenarios(rows: Rows, given: list[str]) -> Grid:
    shown = [figure for figure in _FIGURES if figure[0] in rows[0]]
    questions = [Column("question")] if len(_groups(rows)) > 1 else []
    columns = [Column("fleet"), *questions, *(Column(n, unit, is_number=True) for _, n, unit, _ in shown),
               Column("SLO"), Column("command", is_code=True)]  # fmt: skip
    found = []
    for row in rows:
        words = " ".join(f"{key.removeprefix(GIVEN)}={row[key]}" for key in given if not is_missing(row[key]))
        cells = [form(row.get(key)) for key, _, _, form in shown]
        found.append([Cell(str(row[LABEL])), *(Cell(str(row[GROUP])) for _ in questions), *cells, Cell(_state(row)),
                      Cell(f"llm-traffic-sim run {words}")])  # fmt: skip
    caption = f"{len(rows)} scenarios; percentiles over all arrivals"
    return grid(caption, columns, found, file="scenarios.csv", rows_printed=ROWS_PRINTED)


def _state(row: dict[str, Any]) -> str:
    if failure(row):
        return "failed"
    return "meets" if is_yes(row.get("meets_slo")) else "not resolved" if is_unresolved(row) else "misses"


def _failed(rows: Rows) -> Iterator[str]:
    for row in rows:
        if failure(row):
            yield f"Failed: {row[GROUP]}, {row[LABEL]}: {failure(row)}"
