"""Thresholds and timeouts: which were searched, what they were tuned to, and what that saves."""

from __future__ import annotations

from sim.knob import text
from sim.page.model import Cell, Column, Section, grid
from sim.page.saved.decision import Decision, Tuned
from sim.page.sections.cells import number_cell, usd_cell
from sim.report.formatting import usd

TITLE = "Thresholds and timeouts"


def tuning(found: Decision) -> Section:
    """The section; empty where no finalist has any."""
    sentences = [_sentence(tuned) for tuned in found.tuned]
    if found.not_tuned:
        sentences.append(f"Not searched, as Optuna is not installed: {', '.join(found.not_tuned)}.")
    if not found.tuned:
        return Section("tuning", TITLE, tuple(sentences))
    columns = (
        Column("fleet"), Column("key", is_code=True), Column("configured", is_number=True),
        Column("tuned", is_number=True), Column("searched from", is_number=True), Column("to", is_number=True),
        Column("trials", is_number=True), Column("saves", "USD a month", is_number=True),
        Column("from", "USD a month", is_number=True), Column("to", "USD a month", is_number=True),
    )  # fmt: skip
    rows = [
        (
            Cell(tuned.name), Cell(knob.key), number_cell(knob.configured), _number(knob.tuned), _number(knob.low),
            _number(knob.high), Cell(str(tuned.trials), tuned.trials), *_saves(tuned),
        )
        for tuned in found.tuned for knob in tuned.knobs
    ]  # fmt: skip
    caption = "Knobs of the finalists, a fleet's turned together"
    return Section("tuning", TITLE, tuple(sentences), grids=(grid(caption, columns, rows),))


def _sentence(tuned: Tuned) -> str:
    saves = tuned.saves_usd_per_month
    if saves is None or saves.mean is None:
        keys = ", ".join(knob.key for knob in tuned.knobs)
        return f"{tuned.name}: no value of {keys} is shown to cost less within the SLO than as configured."
    turned = ", ".join(f"{k.key} from {text(k.configured)} to {text(k.tuned or 0.0)}" for k in tuned.knobs)
    verb = "saves" if saves.mean >= 0 else "costs more by"
    told = f"{tuned.name}: {turned} {verb} {usd(abs(saves.mean))} a month on fresh seeds ({_sure(tuned)})"
    return f"{told}." if tuned.is_taken else f"{told}; it stays as configured."


def _sure(tuned: Tuned) -> str:
    saves = tuned.saves_usd_per_month
    assert saves is not None
    if saves.low is None or saves.high is None or saves.low == saves.high:
        return "exact, paired"
    is_sure = saves.low > 0 or saves.high < 0
    return f"{'resolved' if is_sure else 'NOT resolved'}: {usd(saves.low)} to {usd(saves.high)}, paired"


def _number(value: float | None) -> Cell:
    return Cell("") if value is None else number_cell(value)


def _saves(tuned: Tuned) -> tuple[Cell, ...]:
    saves = tuned.saves_usd_per_month
    return tuple(
        usd_cell(None if saves is None else value)
        for value in ((None, None, None) if saves is None else (saves.mean, saves.low, saves.high))
    )
