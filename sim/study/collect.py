"""A sweep into one table: read every row file, write results.csv and results.parquet, print comparison and verdicts.

`llm-traffic-sim collect DIR` does it again for a folder whose sweep was cut short.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from sim.measured.model_error import BORROWED
from sim.printable import printable
from sim.report.by_application import application_rows
from sim.report.screen import print_lines
from sim.report.verdict import verdicts
from sim.schema import ConfigError
from sim.study.competitors import GIVEN, GROUP, LABEL, labelled, slo_ttft_s
from sim.study.folder import (
    APPLICATIONS,
    RESULTS,
    TIMELINE,
    replacing,
    without_formulas,
    write_bytes,
)
from sim.study.manifest import Manifest
from sim.study.members import Members, members_of, missing
from sim.study.saved import Row, read_config, read_replications, within
from sim.study.setting import Shared, read_setting, shared

FIGURE = "cost_against_tail_latency.png"
_MOST_READ = 20
_OF_CARDS = ("gpu", "engine", "kv_tiers", "cold_start", "placement", "scaling")
_BOOLS = {"true": True, "false": False, "True": True, "False": False}


def collect(folder: Path, names: Sequence[str] | None = None) -> pd.DataFrame:
    """The table of a study: one row per scenario, as `members_of` orders them. Raises ConfigError if there is none.

    `names` are the digests of the scenarios wanted; None: all of the study.
    """
    return table_of(members_of(folder, names), folder)


def table_of(members: Members, folder: Path) -> pd.DataFrame:
    """One row per member of the study in a folder. Raises ConfigError if there is none.

    A given key whose values are all numbers, or all true or false, is a column of numbers or bools.

    Columns: the keys that were given, `status` (ok or failed), `error`, `folder` (its name), `digest`, then every
    figure of summary.json. A key with the name of a figure, as `tasks` has, is called `given_tasks`.
    """
    rows = members.rows
    if not rows:
        raise ConfigError(f"{folder}: holds no finished scenario of a sweep")
    figures = {name for row in rows.values() for name in row.summary}
    known = {name: _given(row, figures) for name, row in rows.items()}
    given = list(dict.fromkeys(key for keys in known.values() for key in keys))
    for name in known if members.n_earlier else ():
        lacking = [key for key in given if key not in known[name] and _means_something(key, rows[name])]
        known[name] |= _as_played(folder / name, lacking)
    flat = [known[name] | _outcome(name, row) for name, row in rows.items()]
    columns = dict.fromkeys([*given, *(key for row in flat for key in row)])
    table = pd.DataFrame(flat, columns=list(columns))
    empty = [key for key in table.columns if key in figures and table[key].isna().all()]
    return table.assign(
        **{key: _typed(table[key]) for key in given}, **{key: table[key].astype(float) for key in empty}
    )


def _typed(texts: pd.Series) -> pd.Series:
    """A column of given values as numbers or bools where all of them are; NaN where a scenario lacks the key."""
    known = texts.dropna()
    if len(known) and known.isin(_BOOLS).all():
        return texts.map(_BOOLS)
    try:
        numbers = known.astype(str).map(float)
    except ValueError:
        return texts
    is_whole = len(known) == len(texts) and known.astype(str).str.fullmatch(r"[+-]?\d+").all()
    return known.astype(str).map(int) if is_whole else numbers.reindex(texts.index)


def notes(members: Members) -> list[str]:
    """What a reader of the results should know: each note of the scenarios once, and how many scenarios have it.

    Notes that differ in nothing but numbers count as one, printed with the numbers of the first. Behind them stands
    what is to be known of the folder.
    """
    rows = members.rows.values()
    found: dict[str, tuple[list[str], set[str]]] = {}
    for row in rows:
        for note in row.notes:
            wordings, concerned = found.setdefault(re.sub(r"\d+(\.\d+)?", "#", note), ([], set()))
            wordings.append(note)
            concerned.add(row.digest)
    return [
        f"{len(concerned)} of {len(rows)} scenarios{', such as' if len(set(wordings)) > 1 else ''}: {wordings[0]}"
        for wordings, concerned in found.values()
    ] + list(members.notes())


def hardware(members: Members) -> tuple[list[str], list[str]]:
    """Lines on the cards of a study: those whose constants are borrowed; then the others, and every model error."""
    lines = dict.fromkeys(line for row in members.rows.values() for line in row.hardware)
    return [line for line in lines if BORROWED in line], [line for line in lines if BORROWED not in line]


def setting(members: Members, folder: Path) -> Shared:
    """What the scenarios of a study rest on: what all have in common, and what differs.

    It stands in their rows. Of rows that lack it the first ones are read off their configurations, which take a
    hundredth of a second each.
    """
    done = {name: row for name, row in members.rows.items() if row.status == "ok"}
    told = [row.setting for row in done.values() if row.setting]
    return shared(told or [read_setting(folder / name) for name in list(done)[:_MOST_READ]])


def replications(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """One row per scenario and replication: `digest`, `group`, `label`, `replication` and its figures."""
    rows = []
    for row in table[table["status"] == "ok"].to_dict("records"):
        for number, figures in enumerate(read_replications(folder / row["folder"]) or []):
            rows.append({key: row[key] for key in ("digest", GROUP, LABEL)} | {"replication": number} | figures)
    return pd.DataFrame(rows)


def by_application(table: pd.DataFrame) -> pd.DataFrame:
    """One row per scenario and application that has an SLO of its own; empty where none has.

    Columns: those in front of the figures in `table`, `application`, and the figures called as those of a scenario are.
    """
    given = list(table.columns[: table.columns.get_loc("digest") + 1])
    rows = [
        {key: row[key] for key in given} | {"application": name} | figures
        for row in table.to_dict("records")
        for name, figures in application_rows(row).items()
    ]
    return pd.DataFrame(rows)


def write_table(table: pd.DataFrame, folder: Path) -> bool:
    """results.csv and results.parquet, and with applications applications.csv, each whole or not at all.

    Returns whether the table differs from the one that was there.
    """
    if len(parts := by_application(table)):
        with replacing(folder / APPLICATIONS) as partial:
            without_formulas(parts).to_csv(partial, index=False)
    with replacing(folder / f"{RESULTS}.csv") as partial:
        without_formulas(table).to_csv(partial, index=False)
    path = folder / f"{RESULTS}.parquet"
    with replacing(path) as partial:
        table.to_parquet(partial, index=False)
        return not path.is_file() or path.read_bytes() != partial.read_bytes()


@dataclass(frozen=True, eq=False)
class Collected:
    """A study as it is printed, drawn, and put on a page."""

    table: pd.DataFrame
    """One row per scenario, with the columns GROUP and LABEL."""
    folder: Path
    lacking: str
    """A line on scenarios that are missing; "" if none is."""
    borrowed: list[str]
    hardware: list[str]
    notes: list[str]
    setting: Shared
    """What all scenarios rest on, and what differs between them."""

    @cached_property
    def judged(self) -> list[str]:
        """A verdict per question."""
        return self._judged(self.table)

    def judged_of(self, rows: pd.DataFrame) -> list[str]:
        """A verdict per question of these rows of the table; of no others are replications read."""
        return self.judged if len(rows) == len(self.table) else self._judged(rows)

    def _judged(self, rows: pd.DataFrame) -> list[str]:
        return verdicts(rows, replications(rows, self.folder), GROUP, LABEL, complete=not self.lacking)


def collected(folder: Path, last: Manifest | None = None) -> Collected:
    """What the folder of a study holds; `last` as for `members_of`. Raises ConfigError if it holds no scenario."""
    members = members_of(folder, last=last)
    table = labelled(table_of(members, folder), folder)
    lacking = missing(folder, table["digest"], last)
    return Collected(table, folder, lacking, *hardware(members), notes(members), setting(members, folder))


def write_and_print(
    folder: Path, redraw: bool = True, page: bool = True, figures: bool = True, last: Manifest | None = None
) -> int:
    """Write the table, its figures and its page; print the comparison, the verdicts and the failed scenarios.

    Returns how many failed. Without `redraw`, figures and page of the very same table are left as they are; those that
    are not asked for are not made. `last` as for `members_of`. Raises ConfigError if the folder holds no scenario.
    """
    from sim.page.write import PAGE, write_page
    from sim.report import tables

    found = collected(folder, last)
    table = found.table.drop(columns=[GROUP, LABEL])
    is_new = write_table(table, folder) or redraw
    print_lines(found.borrowed)
    print_lines(found.setting.lines)
    tables.print_comparison(
        found.table, shape=GROUP, fleet=LABEL, notes=found.notes, missing=found.lacking, judge=found.judged_of
    )
    print_lines(found.hardware)
    if figures and (is_new or not (folder / FIGURE).is_file()):
        _draw(found, folder)
    n_failed = int((table["status"] != "ok").sum())
    print(printable(f"{len(table)} scenarios, {n_failed} failed -> {folder / RESULTS}.csv"))
    if page and len(table) > tables.MOST_SHOWN:
        print(printable(f"the page of more than {tables.MOST_SHOWN} scenarios: llm-traffic-sim page {folder}"))
    elif page and n_failed < len(table):
        is_there = not is_new and (folder / PAGE).is_file()
        print(printable(f"-> {folder / PAGE if is_there else write_page(folder, found)}"))
    return n_failed


def _draw(found: Collected, folder: Path) -> None:
    from sim.report.cost_figure import cost_against_tail_latency  # loads matplotlib

    done = found.table[found.table["status"] == "ok"]
    if not len(done):
        return
    limits = {slo_ttft_s(folder / name) for name in done["folder"]}
    limit = limits.pop() if len(limits) == 1 else None
    cost_against_tail_latency(
        found.table, folder / FIGURE, slo_ttft_s=limit, shape=GROUP, fleet=LABEL, setting=found.setting.common
    )
    for name in done["folder"]:
        drawn = folder / name / TIMELINE
        if drawn.is_file() and not drawn.is_symlink():  # A copy, so that all of them can be looked through together.
            write_bytes(within(folder, "timelines") / f"{name}.png", drawn.read_bytes())


def _given(row: Row, taken: set[str]) -> dict[str, str]:
    return {GIVEN + key if key in taken else key: value for key, value in row.overrides.items()}


def _means_something(key: str, row: Row) -> bool:
    """Whether a key may tell scenarios apart: those of cards tell nothing of a scenario that has an API alone."""
    return re.split(r"[./]", key)[0] not in _OF_CARDS or "cards" in row.setting


def _as_played(folder: Path, keys: Sequence[str]) -> dict[str, str]:
    """What a scenario had for keys that another sweep gave, as far as its configuration tells and has them."""
    config = (read_config(folder) or {}) if keys else {}
    found = {}
    for key in keys:
        value: Any = config
        for part in re.split(r"[./]", key.removeprefix(GIVEN)):
            value = value.get(part, ...) if isinstance(value, Mapping) else ...
        if isinstance(value, Mapping):  # a choice of a file
            value = value.get("kind", value.get("name", ...))
        if value is None or isinstance(value, bool | int | float | str):
            found[key] = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return found


def _outcome(name: str, row: Row) -> dict[str, Any]:
    figures = {k: float("inf") if v == "inf" else v for k, v in row.summary.items()}
    return {"status": row.status, "error": row.error, "folder": name, "digest": row.digest} | figures
