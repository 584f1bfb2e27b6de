"""A sweep as text of a given width: labels whole, and as many columns of figures as fit beside them.

Columns are left out before labels are cut, the least deciding first; a label that would take too much of the width
stands on lines of its own above its figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from rich.text import Text

from sim.printable import printable
from sim.report.by_application import application_rows
from sim.report.formatting import MISSING, is_missing, number, percent, seconds, usd
from sim.report.monthly import is_a_month, month_per_window
from sim.report.pooling import CI_SUFFIX
from sim.report.screen import wrapped
from sim.report.verdict import COST, MONTHLY, failure, is_unresolved, is_yes, plus_minus

Row = Mapping[str, Any]


class Cell(NamedTuple):
    """What a column shows of a scenario."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """A column: `group` stands above the heads of all its columns; `rank`: 0 is the last one to be left out."""

    name: str
    group: str
    head: str
    rank: int
    cell: Callable[[Row], Cell]
    meaning: str = ""


def _money(key: str) -> Callable[[Row], Cell]:
    return lambda row: Cell(usd(row.get(key)) + plus_minus(row, key))


def _figure(key: str, form: Callable[[Any], str]) -> Callable[[Row], Cell]:
    return lambda row: Cell(form(row.get(key)))


def _count(value: Any) -> str:
    if is_missing(value):
        return number(value)
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _attained(row: Row) -> Cell:
    share = percent(row.get("slo_attainment_fraction"))
    if is_yes(row.get("meets_slo")):
        return Cell(f"{share} ✓", "green")
    return Cell(f"{share} {' ?'[is_unresolved(row)]}", "yellow")


COLUMNS = (
    Column(MONTHLY, "", "$ a month", 0, _money(MONTHLY)),
    Column("cost of the run", "cost of", "the run", 8, _money(COST)),
    Column("SLO", "", "SLO, %  ", 1, _attained),
    Column("$ per Mtok", "$ per", "Mtok", 5, _figure("usd_per_mtok_total", number)),
    Column("busy", "busy", "%", 4, _figure("busy_fraction_of_paid", percent),
           "busy: % of paid GPU time with a request on it."),
    Column("tok", "tok", "%", 10, _figure("token_fraction_of_peak", percent),
           "tok: % of the tokens that paid GPU time would give saturated."),
    Column("batch", "batch", "%", 14, _figure("batch_fill_fraction", percent),
           "batch: % of the batch filled while busy."),
    Column("TTFT p50", "TTFT, s", "p50", 7, _figure("ttft_p50_s", seconds)),
    Column("TTFT p95", "TTFT, s", "p95", 11, _figure("ttft_p95_s", seconds)),
    Column("TTFT p99", "TTFT, s", "p99", 2, _figure("ttft_p99_s", seconds)),
    Column("E2E p50", "E2E, s", "p50", 12, _figure("e2e_p50_s", seconds)),
    Column("E2E p95", "E2E, s", "p95", 13, _figure("e2e_p95_s", seconds)),
    Column("E2E p99", "E2E, s", "p99", 3, _figure("e2e_p99_s", seconds)),
    Column("cold starts", "cold", "starts", 9, _figure("cold_starts", _count)),
    Column("API", "API", "%", 6, _figure("api_request_fraction", percent)),
)  # fmt: skip
"""In the order in which they stand."""

_LABEL_SHARE = 0.5
"""Of the width: a longer label stands above its figures."""
_DECIDING = 3
"""Columns of a rank up to this one are not left out for a label beside them."""
_MOST_ALONE = 2 / 3
"""Of the labels: if no more than these fit beside their figures, all stand above them."""
_GAP = 2


class _Line(NamedTuple):
    """A scenario, or an application of it, as it is shown."""

    label: str
    row: Row
    style: str = ""


class Comparison(NamedTuple):
    """A table ready to be printed."""

    lines: list[Text]
    left_out: list[str]
    """Names of the columns that have something to say and no room."""
    meanings: list[str]
    """What the columns shown mean, where their heads do not say it."""


def comparison(table: pd.DataFrame, columns: int, shape: str = "arrivals", fleet: str = "fleet") -> Comparison:
    """The scenarios of a table in at most `columns` columns of text, by `shape`; under each its applications.

    Labels are whole, whatever the width.
    """
    common, labels = without_common_parts([printable(str(label)) for label in table[fleet]])
    groups: dict[str, list[_Line]] = {}
    for label, row in zip(labels, table.to_dict("records"), strict=True):
        own = groups.setdefault(printable(str(row[shape])), [])
        own.append(_Line(f" {label}", row))
        own += [_Line(f"   {printable(name)}", part, "dim") for name, part in _parts(row)]
    every = [line for own in groups.values() for line in own]
    cells = {column.name: [_cell(column, line.row) for line in every] for column in COLUMNS}
    known = [column for column in COLUMNS if any(cell.text.strip(" ?") != MISSING for cell in cells[column.name])]
    if all(is_a_month(row) for row in table.to_dict("records") if not failure(row)):
        known = [column for column in known if column.name != "cost of the run"]
    widths = {c.name: max([len(c.head), *(len(cell.text) for cell in cells[c.name])]) for c in known}
    room = columns - _width([column for column in known if column.rank <= _DECIDING], widths)
    beside = _width_of_labels([len(line.label) for line in every], min(room, int(_LABEL_SHARE * columns)))
    shown = _fitting(known, widths, columns - beside)
    lines = [Text(line) for line in (wrapped(f"all: {common}", columns, break_words=True) if common else ())]
    lines += _heads(shown, widths, beside)
    width = max(map(len, lines), default=columns)
    lines.append(Text("─" * min(width, columns)))
    place = 0
    for name, own in groups.items():
        lines += [Text(line, "bold cyan") for line in wrapped(name, columns, break_words=True)]
        for line in own:
            figures = [(cells[column.name][place], widths[column.name], column) for column in shown]
            lines += _row(line, figures, beside, columns)
            place += 1
    left_out = [column.name for column in known if column not in shown]
    return Comparison(lines, left_out, [column.meaning for column in shown if column.meaning])


def _parts(row: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    """The applications of a scenario that have an SLO of their own, with what each costs a month."""
    factor = month_per_window(row)
    for name, part in application_rows(row).items():
        costs = {MONTHLY: COST, MONTHLY + CI_SUFFIX: COST + CI_SUFFIX} if factor else {}
        yield (
            name,
            part | {month: factor * part[whole] for month, whole in costs.items() if not is_missing(part.get(whole))},
        )


def without_common_parts(labels: Sequence[str]) -> tuple[str, list[str]]:
    """The parts that all labels have, as one text, and the labels without them; parts stand between commas.

    >>> without_common_parts(["gpu=l4, slo=1, api_only", "gpu=l4, slo=1, always_on"])
    ('gpu=l4, slo=1', ['api_only', 'always_on'])
    """
    parts = [label.split(", ") for label in labels]
    common = [part for part in parts[0] if all(part in own for own in parts)] if len(parts) > 1 else []
    rest = [", ".join(part for part in own if part not in common) for own in parts]
    return (", ".join(common), rest) if all(rest) else ("", list(labels))


def _width_of_labels(lengths: Sequence[int], most: int) -> int:
    """The width of the column of labels: of the longest that takes at most so much; 1 if all stand on their own.

    Where many do, the others do, too: figures that begin anew in every other line are hard to compare.
    """
    beside = [length for length in lengths if length <= most]
    return max(beside) if len(beside) > _MOST_ALONE * len(lengths) else 1


def _cell(column: Column, row: Row) -> Cell:
    return Cell(MISSING) if failure(row) else column.cell(row)


def _fitting(known: Sequence[Column], widths: Mapping[str, int], room: int) -> list[Column]:
    """The columns that fit, in their order: by rank, until one does not."""
    shown: set[str] = set()
    for column in sorted(known, key=lambda column: column.rank):
        wanted = [one for one in known if one.name in shown or one is column]
        if shown and _width(wanted, widths) > room:
            break
        shown.add(column.name)
    return [column for column in known if column.name in shown]


def _width(columns: Sequence[Column], widths: Mapping[str, int]) -> int:
    groups = _groups(columns)
    return sum(_GAP + max(len(name), sum(widths[c.name] + 1 for c in own) - 1) for name, own in groups)


def _groups(columns: Sequence[Column]) -> list[tuple[str, list[Column]]]:
    """Neighbours of one group together; a column without a group alone."""
    found: list[tuple[str, list[Column]]] = []
    for column in columns:
        if found and column.group and found[-1][0] == column.group:
            found[-1][1].append(column)
        else:
            found.append((column.group, [column]))
    return found


def _heads(shown: Sequence[Column], widths: dict[str, int], beside: int) -> list[Text]:
    """Two lines of heads; widens the first column of a group that is narrower than its name."""
    above, below = " " * beside, " " * beside
    for name, own in _groups(shown):
        lacking = len(name) - (sum(widths[c.name] + 1 for c in own) - 1)
        widths[own[0].name] += max(lacking, 0)
        heads = " ".join(f"{c.head:>{widths[c.name]}}" for c in own)
        above += " " * _GAP + f"{name:>{len(heads)}}"
        below += " " * _GAP + heads
    return [Text(line.rstrip(), "bold") for line in (above, below) if line.strip()]


def _row(line: _Line, figures: Sequence[tuple[Cell, int, Column]], beside: int, columns: int) -> Iterator[Text]:
    """The lines of a scenario: its label, beside its figures or above them."""
    out = Text(style=line.style)
    if len(line.label) <= beside:
        out.append(f"{line.label:<{beside}}")
    else:
        yield from (Text(text, line.style) for text in wrapped(line.label, columns, break_words=True))
        out.append(" " * beside)
    if failure(line.row):
        out.append("  failed", "red")
    group = None
    for cell, width, column in () if failure(line.row) else figures:
        gap = " " if column.group and column.group == group else " " * _GAP
        out.append(f"{gap}{cell.text:>{width}}", cell.style)
        group = column.group
    out.rstrip()
    yield out
