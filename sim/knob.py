"""Knobs: the continuous values of a policy that a search may turn, each with its range beside its field."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from sim.schema import Config

DIGITS = 3
"""Significant digits of a value that a search has chosen: what is played is what its command says."""


class Knob(NamedTuple):
    """The range in which a search looks for the value of a field: `Annotated[float, Knob(0, 600, 10)]`.

    The field's own bounds hold beside it. With `log_from` equal steps of a search are equal ratios above that value and
    equal differences below it, so that a range may begin at 0; None: equal differences throughout.

    >>> Knob(0, 600, 10).at(0.5), Knob(0, 1).at(0.5)
    (68.1, 0.5)
    >>> round(Knob(0, 600, 10).place(68.1), 3)
    0.5
    """

    low: float
    high: float
    log_from: float | None = None

    def place(self, value: float) -> float:
        """Where a value stands in the range, from 0 to 1; one outside stands at the nearer end."""
        low, high, here = map(self._bent, (self.low, self.high, value))
        return min(max((here - low) / (high - low), 0.0), 1.0)

    def at(self, place: float) -> float:
        """The value at a place from 0 to 1, rounded to DIGITS, within the range."""
        low, high = self._bent(self.low), self._bent(self.high)
        value = low + place * (high - low)
        if self.log_from is not None:
            value = self.log_from * math.expm1(value)
        return min(max(rounded(value), self.low), self.high)

    def _bent(self, value: float) -> float:
        return value if self.log_from is None else math.log1p(max(value, 0.0) / self.log_from)


class Found(NamedTuple):
    """A knob in a configuration: its dotted key, and the value there."""

    key: str
    knob: Knob
    value: float


def knob_of(field: FieldInfo) -> Knob | None:
    """The knob beside a field; None: the field has none."""
    return next((part for part in field.metadata if isinstance(part, Knob)), None)


def knobs_in(config: Any, prefix: str = "") -> Iterator[Found]:
    """Every knob of a config and of all that it holds by name, where it has a value: a limit that is null is none."""
    if isinstance(config, dict):
        for name, part in config.items():
            yield from knobs_in(part, f"{prefix}{name}.")
    if not isinstance(config, Config):
        return
    for name, field in type(config).model_fields.items():
        value, knob = getattr(config, name), knob_of(field)
        if knob is None:
            yield from knobs_in(value, f"{prefix}{name}.")
        elif value is not None:
            yield Found(f"{prefix}{name}", knob, float(value))


def rounded(value: float, digits: int = DIGITS) -> float:
    """The value rounded to `digits` significant digits."""
    return float(f"{value:.{digits}g}")


def text(value: float) -> str:
    """The value as it stands in a command: 0.85, 3600."""
    return f"{value:.15g}"
