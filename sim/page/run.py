"""The page of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from sim.page.downloads import saved_if_small
from sim.page.model import Fact, Page, Section
from sim.page.saved.run import SavedRun, read_run
from sim.page.saved.traffic import played_traffic
from sim.page.sections.bill import bill
from sim.page.sections.regret import regret
from sim.page.sections.rests_on import of_a_run
from sim.page.sections.timeline import timeline
from sim.page.sections.traffic import traffic
from sim.page.sections.use import use
from sim.page.sections.worst_hour import worst_hour
from sim.report.formatting import is_missing, number, percent, seconds, usd
from sim.report.verdict import judgement_in_words, plus_minus
from sim.study.folder import BILL, ROW, SUMMARY


def _count(value: Any) -> str:
    return f"{value:,.0f}" if value == int(value) else number(value)


_FACTS = (
    ("usd_per_month", "cost a month", usd), ("usd_per_mtok_total", "per million tokens, in and out", usd),
    ("slo_attainment_fraction", "of calls attain the SLO, %", percent), ("ttft_p50_s", "TTFT p50, s", seconds),
    ("ttft_p99_s", "TTFT p99, s", seconds), ("e2e_p99_s", "end to end p99, s", seconds),
    ("gpu_hours_paid", "GPU-hours paid", number), ("cold_starts", "cold starts", _count),
    ("api_request_fraction", "sent to the API, %", percent), ("requests", "requests", _count),
)  # fmt: skip


def run_page(folder: Path) -> Page:
    """Raises ConfigError for results that cannot be read."""
    run = read_run(folder)
    facts = Section("figures", "In figures", facts=tuple(_facts(run.summary)))
    card = played_traffic(folder, run.config)
    arrived = () if card is None else (traffic(card),)
    sections = (
        facts, bill(run), use(run), regret(run), worst_hour(run), timeline(run), *arrived, of_a_run(run),
    )  # fmt: skip
    saved = (SUMMARY, BILL) if (folder / SUMMARY).is_file() else (ROW,)  # which holds both
    return Page(
        "Run", f"Run: {run.name.replace('_', ' ')}", _answer(run), (), sections,
        tuple(saved_if_small(*(folder / name for name in saved))),
    )  # fmt: skip


def _answer(run: SavedRun) -> str:
    name, cost = run.name.replace("_", " "), usd(run.summary.get("usd_per_month"))
    if "meets_slo" not in run.summary:
        return f"{name}: {cost} a month."
    return f"{name}: {cost} a month; {judgement_in_words(pd.Series(dict(run.summary)))}."


def _facts(summary: Any) -> Iterator[Fact]:
    for key, name, form in _FACTS:
        value = summary.get(key)
        if not is_missing(value):
            value = float("inf") if value == "inf" else value
            scale = 100.0 if form is percent else 1.0
            yield Fact(form(value) + plus_minus(summary, key, scale), name)
