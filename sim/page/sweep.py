"""The page of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from sim.page.downloads import csv_of, saved_if_small
from sim.page.model import Cell, Column, Figure, Grid, Page, Section, grid
from sim.page.sections.cells import number_cell, percent_cell, usd_cell
from sim.page.sections.frontier import Fleet, frontier
from sim.page.sections.scenarios import ROWS_PRINTED, TITLE
from sim.report.formatting import is_missing
from sim.report.pooling import CI_SUFFIX
from sim.report.verdict import failure, is_unresolved, is_yes, verdicts
from sim.study.collect import collect, hardware, labelled, missing, notes, replications
from sim.study.competitors import GROUP, LABEL
from sim.study.folder import MANIFEST, RESULTS

_FIGURES = (
    ("usd_total", "cost", "USD", usd_cell), ("usd_per_mtok_total", "per Mtok", "USD", usd_cell),
    ("busy_fraction_of_paid", "busy", "% of paid", percent_cell),
    ("token_fraction_of_peak", "tokens", "% of peak", percent_cell),
    ("batch_fill_fraction", "batch", "% filled", percent_cell), ("ttft_p50_s", "TTFT p50", "s", number_cell),
    ("ttft_p99_s", "TTFT p99", "s", number_cell), ("e2e_p99_s", "end to end p99", "s", number_cell),
    ("slo_attainment_fraction", "attained", "% of calls", percent_cell),
    ("cold_starts", "cold starts", "", number_cell), ("api_request_fraction", "to the API", "%", percent_cell),
)  # fmt: skip
_DRAWN = (
    "usd_total", "slo_attainment_fraction", "usd_total" + CI_SUFFIX, "slo_attainment_fraction_low",
    "slo_attainment_fraction_high",
)  # fmt: skip
_MOST_PANELS = 8


def sweep_page(folder: Path) -> Page:
    """Raises ConfigError for results that cannot be read."""
    table = labelled(collect(folder), folder)
    lacking = missing(table, folder)
    told = verdicts(table, replications(table, folder), GROUP, LABEL, complete=not lacking)
    borrowed, others = hardware(folder)
    listed = _scenarios(table)
    rest = Section(
        "rests-on", "What this rests on", (*borrowed, *others), notes=tuple(f"Note, {note}" for note in notes(folder))
    )
    sections = (
        Section("verdicts", "The verdicts", tuple(told)),
        Section("frontier", "Cost against attainment", figures=tuple(_figures(table, folder))),
        Section("scenarios", TITLE, grids=(listed,), notes=tuple(_failed(table))), rest,
    )  # fmt: skip
    files = [csv_of(f"{RESULTS}.csv", _all(table)), *saved_if_small(folder / MANIFEST)]
    answer = f"{folder.name.replace('_', ' ')}: {len(table)} scenarios, {len(told)} question{'s' * (len(told) != 1)}."
    return Page("Sweep", f"Sweep: {folder.name}", answer, (lacking,) if lacking else (), sections, tuple(files))


def _figures(table: pd.DataFrame, folder: Path) -> Iterator[Figure]:
    for name, rows in list(table.groupby(GROUP, sort=False))[:_MOST_PANELS]:
        fleets = [fleet for row in rows.to_dict("records") if (fleet := _fleet(row)) is not None]
        targets = {row.get("slo_target_fraction") for row in rows.to_dict("records")} - {None}
        if fleets:
            meeting = sum(fleet.state == "meets" for fleet in fleets)
            title = f"{name}: {meeting} of {len(fleets)} meet the SLO"
            target = _known(targets.pop()) if len(targets) == 1 else None
            yield frontier(title, "USD, whole run", fleets, target)


def _fleet(row: dict[Any, Any]) -> Fleet | None:
    usd, attained, half, low, high = (_known(row.get(key)) for key in _DRAWN)
    if failure(pd.Series(row)) or usd is None or attained is None:
        return None
    state = "meets" if is_yes(row.get("meets_slo")) else "open" if is_unresolved(pd.Series(row)) else "misses"
    name = str(row[LABEL])
    return Fleet(
        name, usd, None if half is None else (usd - half, usd + half), attained,
        None if low is None or high is None else (low, high), name.partition(",")[0].replace("_", " "), state,
        name.replace("_", " "),
    )  # fmt: skip


def _known(value: Any) -> float | None:
    return None if value is None or is_missing(value) else float(value)


def _scenarios(table: pd.DataFrame) -> Grid:
    shown = [figure for figure in _FIGURES if figure[0] in table]
    columns = [Column("fleet"), Column("question"), *(Column(n, unit, is_number=True) for _, n, unit, _ in shown),
               Column("SLO"), Column("command")]  # fmt: skip
    given = list(table.columns[: table.columns.get_loc("status")])
    rows = []
    for row in table.to_dict("records"):
        words = " ".join(f"{key}={row[key]}" for key in given if not is_missing(row[key]))
        cells = [form(row.get(key)) for key, _, _, form in shown]
        rows.append([Cell(str(row[LABEL])), Cell(str(row[GROUP])), *cells, Cell(_state(row)),
                     Cell(f"llm-traffic-sim run {words}", is_code=True)])  # fmt: skip
    caption = f"{len(rows)} scenarios; percentiles over all arrivals"
    return grid(caption, columns, rows, is_sortable=True, rows_printed=ROWS_PRINTED)


def _state(row: dict[Any, Any]) -> str:
    series = pd.Series(row)
    if failure(series):
        return "failed"
    return "meets" if is_yes(row.get("meets_slo")) else "not resolved" if is_unresolved(series) else "misses"


def _failed(table: pd.DataFrame) -> Iterator[str]:
    for _, row in table.iterrows():
        if failure(row):
            yield f"Failed: {row[GROUP]}, {row[LABEL]}: {failure(row)}"


def _all(table: pd.DataFrame) -> Grid:
    """Every column of the sweep, for the CSV."""
    columns = [Column(str(key), is_number=pd.api.types.is_numeric_dtype(table[key])) for key in table]
    rows = [[_cell(value, column) for column, value in zip(columns, row, strict=True)] for row in table.to_numpy()]
    return grid("Results", columns, rows)


def _cell(value: Any, column: Column) -> Cell:
    if is_missing(value):
        return Cell("")
    return number_cell(value) if column.is_number else Cell(str(value))
