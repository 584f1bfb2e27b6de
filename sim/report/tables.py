"""What a person reads in the terminal: one run's summary, and a sweep as one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.columns import Columns
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sim.printable import printable
from sim.report import screen
from sim.report.attainment import MEETS_FROM
from sim.report.comparison import comparison
from sim.report.formatting import is_missing, number, percent, usd
from sim.report.verdict import UNKNOWN, failure, judgement_in_words, plus_minus, verdicts

MOST_SHOWN = 200
"""Scenarios of a sweep that the terminal shows: more are not read there, and each takes 7 ms."""
_MOST_FAILED = 20
_OF_ALL = (
    "Percentiles over all arrivals, ∞ for those never served; SLO also over calls never sent because one before "
    "them in their task failed: ✓ meets it, ? not resolved."
)


def print_comparison(
    table: pd.DataFrame,
    replications: pd.DataFrame | None = None,
    shape: str = "arrivals",
    fleet: str = "fleet",
    console: Console | None = None,
    notes: Sequence[str] = (),
    missing: str = "",
    judge: Callable[[pd.DataFrame], Sequence[str]] | None = None,
) -> None:
    """Print a sweep: one row per scenario, grouped by `shape`, then a verdict per shape; of many, the first MOST_SHOWN.

    `table` has one row per scenario: label columns `shape` and `fleet`, the metrics of sim.report.metrics with their
    `_ci95` half-widths, and `error` (text) for scenarios that failed. `replications`, if given, has the labels,
    `replication` and the metrics of each single replication; it lets the verdict compare fleets pair by pair.
    `notes` are printed under the table, and so is `missing`, which says that scenarios are missing and makes the
    verdicts provisional. `judge` gives the verdicts on rows of the table, in place of `replications`.
    """
    console = console or screen.console()
    shown = _first(table, shape)
    found = comparison(shown, console.width, shape, fleet)
    console.print()
    for text in found.lines:
        console.print(text, overflow="ignore", crop=False, no_wrap=True, highlight=False)
    _print(console, " ".join([*found.meanings, _OF_ALL, _meaning_of_plus_minus(table)]), "dim")
    if found.left_out:
        _print(console, f"not shown, for want of width: {', '.join(found.left_out)}; results.csv has them", "dim")
    if len(shown) < len(table):
        _print(console, f"the first {len(shown)} of {len(table)} scenarios; results.csv has them all")
    _print_failed(table, shape, fleet, console)
    for note in notes:
        _print(console, f"note, {note}")
    if missing:
        _print(console, missing, "yellow")
    console.print()
    printed = table[table[shape].isin(set(shown[shape]))]
    judged = judge(printed) if judge else verdicts(printed, replications, shape, fleet, complete=not missing)
    for line in judged:
        _print(console, line)


def _print(console: Console, text: str, style: str = "") -> None:
    """Print a text that may come from files, broken between words, and within those that are wider than the screen."""
    for line in screen.wrapped(printable(text), console.width, break_words=True):
        console.print(Text(line, style), overflow="ignore", crop=False, no_wrap=True, highlight=False)


def _first(table: pd.DataFrame, shape: str) -> pd.DataFrame:
    """The first MOST_SHOWN rows of a table, in the order of its shapes."""
    order = pd.Series(pd.factorize(table[shape])[0]).argsort(kind="stable")
    return table.iloc[order[:MOST_SHOWN].sort_values()]


def _print_failed(table: pd.DataFrame, shape: str, fleet: str, console: Console) -> None:
    """A line for each failed scenario, or for the first of many."""
    rows = table[[shape, fleet, *(["error"] if "error" in table else [])]].to_dict("records")
    failed = [row for row in rows if failure(row)]
    lines = [f"failed: {row[shape]}, {row[fleet]}: {failure(row)}" for row in failed[:_MOST_FAILED]]
    if len(failed) > len(lines):
        lines.append(f"{len(failed) - len(lines)} more failed: see the column error of results.csv")
    for line in lines:
        _print(console, line, "red")


def _meaning_of_plus_minus(table: pd.DataFrame) -> str:
    """One sentence on what ± means in the table, or on why there is none."""
    counts = table["replications"].dropna() if "replications" in table else pd.Series(dtype=float)
    if counts.empty or counts.min() >= MEETS_FROM:
        return "± is 95 %."
    if counts.max() < 2:
        return f"One replication has no ±: replications={MEETS_FROM}."
    return f"± is 95 %, ±? unknown with so few replications: replications={MEETS_FROM}."


_SECTIONS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "requests": (
        ("arrived", "requests", "count"), ("finished", "requests_finished", "count"),
        ("refused", "requests_refused", "count"), ("abandoned", "requests_abandoned", "count"),
        ("failed", "requests_failed", "count"), ("retried", "requests_retried", "count"),
        ("aborted", "requests_aborted", "count"), ("stopped", "requests_stopped", "count"),
        ("unfinished", "requests_unfinished", "count"), ("never sent", "requests_never_sent", "count"),
        ("tasks", "tasks", "count"),
        ("input, Mtok", "input_tokens", "millions"), ("output, Mtok", "output_tokens", "millions"),
        ("prefix hits, % of input", "prefix_hit_fraction", "percent"),
        ("sent to the API, %", "api_request_fraction", "percent"),
    ),
    "latency": (
        ("TTFT p50, s", "ttft_p50_s", ""), ("TTFT p95, s", "ttft_p95_s", ""), ("TTFT p99, s", "ttft_p99_s", ""),
        ("TPOT p50, s", "tpot_p50_s", ""), ("TPOT p99, s", "tpot_p99_s", ""),
        ("ITL p50, s", "itl_p50_s", ""), ("ITL p99, s", "itl_p99_s", ""), ("E2E p50, s", "e2e_p50_s", ""),
        ("E2E p95, s", "e2e_p95_s", ""), ("E2E p99, s", "e2e_p99_s", ""), ("task p95, s", "task_p95_s", ""),
        ("SLO attained, %", "slo_attainment_fraction", "percent"),
    ),
    "use of paid GPU time": (
        ("GPU-hours paid", "gpu_hours_paid", ""), ("busy, % of paid", "busy_fraction_of_paid", "percent"),
        ("tokens, % of peak", "token_fraction_of_peak", "percent"), ("batch fill, %", "batch_fill_fraction", "percent"),
        ("cold starts", "cold_starts", "count"), ("cold-start wait p95, s", "cold_start_wait_p95_s", ""),
        ("replicas lost", "replicas_lost", "count"), ("preemptions", "preemptions", "count"),
        ("recomputed, Mtok", "recomputed_tokens", "millions"),
        ("contexts lost in waits, %", "evicted_while_thinking_fraction", "percent"),
    ),
    "money": (
        ("total", "usd_total", "usd"), ("GPU", "usd_gpu", "usd"), ("  of which idle", "usd_idle", "usd"),
        ("  of which cold start", "usd_cold_start", "usd"), ("API", "usd_api", "usd"),
        ("overhead", "usd_overhead", "usd"),
        ("per Mtok, in + out", "usd_per_mtok_total", "usd"), ("per Mtok, out", "usd_per_mtok_output", "usd"),
        ("per 1,000 requests", "usd_per_request", "usd_per_1000"), ("per month of 730 h", "usd_per_month", "usd"),
    ),
}  # fmt: skip


def print_summary(summary: Mapping[str, Any], title: str = "", console: Console | None = None) -> None:
    """Print one scenario's summary, with half-widths where the summary has several replications."""
    console = console or screen.console()
    sections = Columns([_section(heading, keys, summary) for heading, keys in _SECTIONS.items()], padding=(0, 2))
    if title:
        console.print(f"[bold]{escape(printable(title))}[/]", highlight=False)
    console.print(sections)
    pools = [match[1] for match in map(_OF_A_POOL.fullmatch, summary) if match]
    if pools:
        _print_parts(console, "pools", "pool", pools, _POOL_FIGURES, summary)
    applications = [match[1] for match in map(_OF_AN_APPLICATION.fullmatch, summary) if match]
    if applications:
        _print_parts(console, "applications", "application", applications, _APPLICATION_FIGURES, summary)
    if any(plus_minus(summary, key) == UNKNOWN for section in _SECTIONS.values() for _, key, _ in section):
        console.print("±?: unknown with so few replications", style="dim", highlight=False)
    if "meets_slo" in summary:
        console.print(judgement_in_words(pd.Series(summary)), highlight=False)
    if not is_missing(summary.get("hindsight_usd")):
        console.print(hindsight_line(summary), highlight=False)


def hindsight_line(summary: Mapping[str, Any]) -> str:
    """One line on the least that the GPUs could have cost; `summary` has a number for hindsight_usd."""
    least, regret = float(summary["hindsight_usd"]), float(summary["regret_usd"])
    cold, idle = float(summary["regret_cold_start_usd"]), float(summary["regret_idle_usd"])
    share = percent(regret / (least + regret)) if least + regret else "0"
    return (
        f"in hindsight, GPUs for {usd(least)} at least ({usd(summary['hindsight_work_usd'])} in ever full batches); "
        f"regret {usd(regret)} at most, {share} %: {usd(cold)} cold starts, {usd(idle)} idle, "
        f"{usd(max(regret - cold - idle, 0.0))} other"
    )


_OF_A_POOL = re.compile("pool_(.+)_gpu_hours_paid")
_POOL_FIGURES = (
    ("requests begun, %", "request_fraction", "percent"), ("GPU-hours paid", "gpu_hours_paid", ""),
    ("busy, %", "busy_fraction_of_paid", "percent"), ("tokens, %", "token_fraction_of_peak", "percent"),
    ("batch, %", "batch_fill_fraction", "percent"), ("GPU", "usd_gpu", "usd"),
)  # fmt: skip
_OF_AN_APPLICATION = re.compile("application_(.+)_requests_never_sent")
_APPLICATION_FIGURES = (
    ("tasks", "tasks", "count"), ("requests", "requests", "count"),
    ("input, Mtok", "input_tokens", "millions"), ("output, Mtok", "output_tokens", "millions"),
    ("cached, %", "prefix_hit_fraction", "percent"), ("TTFT p95, s", "ttft_p95_s", ""), ("E2E p95, s", "e2e_p95_s", ""),
    ("SLO, %", "slo_attainment_fraction", "percent"),
    ("cost", "usd", "usd"), ("of it, %", "usd_fraction", "percent"),
)  # fmt: skip


def _print_parts(
    console: Console,
    title: str,
    prefix: str,
    names: list[str],
    figures: tuple[tuple[str, str, str], ...],
    summary: Mapping[str, Any],
) -> None:
    """Print the figures of the parts of a run: a row for each part, or, where that is too wide, a row for each figure,
    with as many parts beside each other as fit."""
    heads = [title, *(heading for heading, *_ in figures)]
    rows = [
        [printable(name), *(_figure_text(summary, f"{prefix}_{name}_{figure}", style) for _, figure, style in figures)]
        for name in names
    ]
    table = _grid([heads, *rows])
    if _width(console, table) <= console.width:
        console.print(table)
        return
    while rows:
        n = len(rows)
        while n > 1 and _width(console, _upright(heads, rows[:n])) > console.width:
            n -= 1
        console.print(_upright(heads, rows[:n]))
        rows = rows[n:]


def _width(console: Console, table: Table) -> int:
    """The columns of text that a table wants, which may be more than the console has."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def _upright(heads: list[str], rows: list[list[str]]) -> Table:
    return _grid(list(zip(heads, *rows, strict=True)))


def _grid(lines: Sequence[Sequence[str]]) -> Table:
    """A table of texts, the first line its heads."""
    out = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold cyan")
    for column, heading in enumerate(lines[0]):
        out.add_column(escape(heading), justify="right" if column else "left", no_wrap=True)
    for line in lines[1:]:
        out.add_row(*map(escape, line))
    return out


def _section(heading: str, keys: tuple[tuple[str, str, str], ...], summary: Mapping[str, Any]) -> Table:
    out = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold cyan")
    out.add_column(heading, no_wrap=True)
    out.add_column("", justify="right", no_wrap=True)
    for label, key, style in keys:
        if key in summary:
            out.add_row(label, _figure_text(summary, key, style))
    return out


def _figure_text(summary: Mapping[str, Any], key: str, style: str) -> str:
    value = summary.get(key)
    if value is None or is_missing(value):
        return number(value)
    scale = {"percent": 100, "usd_per_1000": 1000, "millions": 1e-6}.get(style, 1)
    doubt = plus_minus(summary, key, scale)
    if style == "percent":
        return percent(value) + doubt
    if style.startswith("usd"):
        return usd(scale * value) + doubt
    return (_count(value) if style == "count" else number(scale * value)) + doubt


def _count(value: Any) -> str:
    return (
        number(value)
        if is_missing(value)
        else f"{value:,.0f}"
        if value >= 10 or value == int(value)
        else f"{value:.1f}"
    )
