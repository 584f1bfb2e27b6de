"""A cost of the window as a cost of a month of 730 h."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sim.report.formatting import is_missing
from sim.units import MONTH_S

_SAME = 1e-3


def month_per_window(row: Mapping[str, Any]) -> float | None:
    """What a cost of the window is multiplied by; None where neither the window nor a cost of the month is known.

    >>> month_per_window({"usd_total": 2.0, "usd_per_month": 8.0}), month_per_window({"usd_total": 2.0})
    (4.0, None)
    """
    whole, month, window_s = (row.get(key) for key in ("usd_total", "usd_per_month", "window_s"))
    if not is_missing(whole) and not is_missing(month) and whole:
        return float(month) / float(whole)  # type: ignore[arg-type]  # neither is missing
    return None if is_missing(window_s) or not window_s else MONTH_S / float(window_s)


def is_a_month(row: Mapping[str, Any]) -> bool:
    """Whether the window is a month, so that both costs are one."""
    factor = month_per_window(row)
    return factor is not None and abs(factor - 1) < _SAME


def common_factor(rows: Sequence[Mapping[str, Any]]) -> float:
    """What costs of the window are multiplied by so that they are those of a month; 1 where that is not known of all
    rows, or windows differ in length, as in closed loops that end by themselves."""
    factors = [month_per_window(row) for row in rows]
    known = [factor for factor in factors if factor is not None]
    if len(known) < len(factors) or not known or max(known) > (1 + _SAME) * min(known):
        return 1.0
    return 1.0 if abs(known[0] - 1) < _SAME else known[0]
