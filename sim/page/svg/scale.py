"""Scales: from a value to a place on an axis, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

Format = Callable[[float], str]
_NEVER_MISSED = 1e-4  # share of calls below which attainment is drawn as 99.99 %


def plain(value: float) -> str:
    """A round number without needless digits: 0.5, 8, 12,000."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` lie from `begin` to `end` px. `kind`: linear, log, or nines (see `nines`)."""

    low: float
    high: float
    kind: str = "linear"
    begin: float = 0.0
    end: float = 1.0
    fixed: tuple[tuple[float, str], ...] | None = None
    """Ticks with their labels, in place of round ones."""
    form: Format = plain
    least_step: float = 0.0

    def within(self, begin: float, end: float) -> Scale:
        """The same scale between other places."""
        return replace(self, begin=begin, end=end)

    def __call__(self, value: float) -> float:
        low, high = self._along(self.low), self._along(self.high)
        share = 0.0 if high == low else (self._along(value) - low) / (high - low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """At most about `most` ticks and their labels."""
        if self.fixed is not None:
            step = math.ceil(len(self.fixed) / most)
            return list(self.fixed[::step])
        values = (
            _decades(self.low, self.high, most)
            if self.kind == "log"
            else _round(self.low, self.high, most, self.least_step)
        )
        return [(value, self.form(value)) for value in values]

    def _along(self, value: float) -> float:
        if self.kind == "log":
            return math.log10(max(value, 1e-300))
        if self.kind == "nines":
            return -math.log10(max(1 - value, _NEVER_MISSED))
        return value


def nines(least: float) -> Scale:
    """A scale of shares near 1: 90, 99 and 99.9 % lie equally far apart; what lies above 99.99 % is drawn there."""
    marks = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)
    low = max((mark for mark in marks if mark <= least), default=0.0)
    shown = [(mark, "≥99.99" if mark == marks[-1] else f"{100 * mark:g}") for mark in marks if mark >= low]
    return Scale(low, 1 - _NEVER_MISSED, "nines", fixed=tuple(shown))


def up_to(top: float, form: Format = plain, least_step: float = 0.0) -> Scale:
    """A linear scale from 0 to a round number that is at least `top`; of whole things, the `least_step` is 1."""
    top = top if top > 0 and math.isfinite(top) else 1.0
    step = max(_step(top, 5), least_step)
    return Scale(0.0, step * math.ceil(top / step - 1e-9), form=form, least_step=least_step)


def decades(low: float, high: float, form: Format = plain) -> Scale:
    """A logarithmic scale that holds both values, with some room."""
    low, high = max(low, 1e-12), max(high, 1e-12)
    room = max(0.06 * math.log10(high / low), 0.05)
    return Scale(low * 10**-room, high * 10**room, "log", form=form)


def _step(length: float, most: int) -> float:
    raw = length / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= raw * (1 - 1e-9))


def _round(low: float, high: float, most: int, least_step: float) -> list[float]:
    if high <= low:
        return [low]
    step = max(_step(high - low, most), least_step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _decades(low: float, high: float, most: int) -> list[float]:
    for within in ((1, 2, 5), (1, 3), (1,)):
        found = [
            round(digit * 10.0**power, 12)
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for digit in within
            if low <= digit * 10.0**power <= high
        ]
        if len(found) <= most:
            break
    return found[:: math.ceil(len(found) / most)] if found else [low]
