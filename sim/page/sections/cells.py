"""Cells of tables: a number as it is read, and as it is sorted."""

from __future__ import annotations

from typing import Any

from sim.page.model import Cell
from sim.page.saved.decision import Span
from sim.report.formatting import is_missing, number, percent, usd


def number_cell(value: Any) -> Cell:
    """Three significant digits."""
    return Cell(number(value), _value(value))


def usd_cell(value: Any) -> Cell:
    """US dollars."""
    return Cell(usd(value), _value(value))


def percent_cell(value: Any) -> Cell:
    """A fraction as per cent, without the sign: the head of the column has it."""
    return Cell(percent(value), _value(value))


def change_cell(fraction: float | None) -> Cell:
    """A signed change; a dash where there is none."""
    return Cell(signed(fraction), None if fraction is None else abs(fraction))


def signed(fraction: float | None) -> str:
    """+12 %, -3.4 %."""
    if fraction is None:
        return "never"
    if not fraction:
        return "0 %"
    return f"{'+' if fraction >= 0 else '−'}{number(100 * abs(fraction))} %"


def costs(span: Span) -> str:
    """Dollars a month with their interval's half-width."""
    if span.mean is None or span.low is None or span.high is None or span.high == span.low:
        return usd(span.mean)
    return f"{usd(span.mean)} ± {usd((span.high - span.low) / 2)}"


def _value(value: Any) -> float | None:
    return None if is_missing(value) or value in (float("inf"), float("-inf")) else float(value)
