"""Regret: what the fleet cost beyond the cheapest path of replicas that an omniscient scaler could have bought."""

from __future__ import annotations

from sim.page.model import Cell, Column, Section, grid
from sim.page.saved.run import SavedRun
from sim.page.sections.bill import Step
from sim.page.sections.cells import percent_cell, usd_cell
from sim.page.svg.bars import Bar, bars
from sim.page.svg.canvas import figure
from sim.report.formatting import percent, usd

TITLE = "Beside hindsight"


def regret(run: SavedRun) -> Section:
    """The section; empty where the bound is not known, or no GPU was paid."""
    lost, paid = run.summary.get("regret_usd"), run.summary.get("usd_gpu")
    if not isinstance(lost, int | float) or not paid:
        return Section("regret", TITLE)
    found = [step for step in steps(run) if step.usd > 0]
    total = sum(step.usd for step in found)
    title = f"At most {usd(float(lost) * run.month_per_window)} a month of the GPUs' bill was the policy's to save"
    ends = [sum(step.usd for step in found[:index]) for index in range(len(found) + 1)]
    drawn = [
        Bar(step.label, begin, end, f"{usd(step.usd)} ({percent(step.usd / total)} %)", step.look)
        for step, begin, end in zip(found, ends, ends[1:], strict=False)
    ]
    columns = (
        Column("part"),
        Column("cost", "USD a month", is_number=True),
        Column("of the GPUs' bill", "%", is_number=True),
    )
    rows = [(Cell(step.label), usd_cell(step.usd), percent_cell(step.usd / total)) for step in found]
    shown = figure(
        title, "A waterfall of the GPUs' bill: what any policy had to pay, then what this one paid beyond it.",
        lambda width: bars(width, [*drawn, Bar("the GPUs' bill", 0.0, total, usd(total), "total")], 0.0, total),
        grid("The GPUs' bill of an average month beside the hindsight bound", columns, rows),
    )  # fmt: skip
    note = "The bound is the cheapest path of replicas for these requests, for a scaler that knows them all beforehand."
    return Section("regret", TITLE, figures=(shown,), notes=(note,))


def steps(run: SavedRun) -> list[Step]:
    """The GPU part of a bill in US dollars a month: three parts of the bound, three of the regret; they add up to it,
    unless the bound is above the bill, as it may be by what is paid after the window."""
    keys = ("hindsight_usd", "hindsight_work_usd", "hindsight_cold_start_usd", "regret_usd", "regret_cold_start_usd",
            "regret_idle_usd")  # fmt: skip
    month = run.month_per_window
    bound, work, cold, lost, lost_cold, lost_idle = (month * float(run.summary.get(key) or 0.0) for key in keys)
    return [
        Step("needed: the bare work, in full batches", work, "good"),
        Step("needed: peaks, whole replicas and time limits", bound - work - cold, "good"),
        Step("needed: cold starts", cold, "good"),
        Step("regret: further cold starts", lost_cold, "warn"),
        Step("regret: idle replicas", lost_idle, "warn"),
        Step("regret: part-filled batches, rounding, commitments", lost - lost_cold - lost_idle, "warn"),
    ]
