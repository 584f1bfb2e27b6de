"""Numbers as people read them: few digits, a unit where it helps, and a sign for what is not there."""

from __future__ import annotations

import math
from typing import Any

MISSING = "–"
NEVER = "∞"


def is_missing(value: Any) -> bool:
    """None or NaN; tables read back from CSV hold NaN where there was None."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value: Any, digits: int = 3) -> str:
    """Significant digits, thousands grouped, never scientific: 0.0123, 1.23, 12.3, 1,234."""
    if is_missing(value):
        return MISSING
    value = float(value)
    if math.isinf(value):
        return NEVER if value > 0 else "-" + NEVER
    if abs(value) < 5e-7:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # after rounding: 99.97 is 100, not 100.0
    return f"{value:,.{min(max(digits - 1 - exponent, 0), 6)}f}"


def seconds(value: Any) -> str:
    """Seconds in at most five characters: 0.004, 0.04, 1.29, 48.0, 3600."""
    if is_missing(value) or math.isinf(float(value)):
        return number(value)
    value = float(value)
    return f"{value:.{3 if 0 < value < 0.01 else 2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def usd(value: Any) -> str:
    """Dollars: whole from $100 on, cents below, three digits below ten cents."""
    if is_missing(value) or math.isinf(float(value)):
        return number(value)
    value = float(value)
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size >= 99.995 or size == 0:
        return f"{sign}${size:,.0f}"
    return f"{sign}${size:,.2f}" if size >= 0.1 else f"{sign}${number(size)}"


def percent(value: Any) -> str:
    """A fraction as a percentage; never rounded up to 100 nor down to 0."""
    if is_missing(value):
        return MISSING
    value = 100 * float(value)
    if 0 < value < 0.1:
        return "<0.1"
    if 99.9 < value < 100:
        return ">99.9"
    return f"{value:.0f}" if value in (0, 100) else f"{value:.1f}"


def half_width(value: Any) -> str:
    """' ±12' for a known half-width, two digits; '' if unknown, or nothing but rounding."""
    shown = number(value, 2)
    return "" if shown in (MISSING, "0") else f" ±{shown}"
