"""The error budget of a decision: seeds, traffic, the engine's model and prices, side by side and together.

Each error is given as a 95 % range of what the answer costs, as fractions of it. They are independent of one another,
so their standard uncertainties add in squares: u^2 = u_1^2 + ... + u_n^2, for each side of the range on its own.
Source: JCGM 100:2008, Guide to the expression of uncertainty in measurement, 5.1.2, eq. 10, with sensitivities taken
from what is played. Whether the answer stands all together is not inferred from squares: all errors are drawn at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from sim.ledger.prices import OLD_DAYS, age_days

NORMAL_95 = 1.96
MEAN_ABSOLUTE_TO_STANDARD = math.sqrt(math.pi / 2)
"""Standard deviation of a normal error over its mean absolute value."""
DRIFT_PER_ROOT_YEAR = 0.2
"""Standard deviation of the logarithm of a list price after a year, as of a random walk. A choice: no source has a
series. Lists of one seller two months apart (Lambda, RunPod community; H100; 2026-03, 2026-05) differ by 5 to 26 %."""
UNDATED_DAYS = 365
"""How old a list without a date is taken to be. A choice."""


LEAST = -1.0
"""The lowest end of a range, as a fraction of the cost: nothing costs less than nothing."""


@dataclass(frozen=True)
class Part:
    """One source of error. `low` and `high`: 95 % range of the cost, as fractions of it; None: not known."""

    name: str
    low_fraction: float | None
    high_fraction: float | None
    survives: bool | None
    """Whether the answer stands within the range; None: cannot be said."""
    basis: str
    """What the range rests on, in words."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class Budget:
    """The parts, their sum, and in how many worlds with all errors drawn at once the answer still wins."""

    parts: tuple[Part, ...]
    together: Part
    worlds: int
    worlds_won: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "parts": [part.as_dict() for part in self.parts], "together": self.together.as_dict(),
            "worlds": self.worlds, "worlds_won": self.worlds_won,
        }  # fmt: skip


def in_squares(parts: Sequence[Part]) -> tuple[float | None, float | None]:
    """(low, high) of all parts together, as fractions; None on a side where a part is not known.

    >>> in_squares([Part("a", -0.03, 0.03, True, ""), Part("b", -0.04, 0.0, True, "")])
    (-0.05, 0.03)
    """
    sides = []
    for side in ("low_fraction", "high_fraction"):
        values = [getattr(part, side) for part in parts]
        sides.append(None if None in values else math.sqrt(sum(value**2 for value in values)))
    low, high = sides
    return (None if low is None else max(-low, LEAST)), high


def drift(as_of: str, today: date) -> float:
    """Standard deviation of the logarithm of a price of a list of that date, for its age."""
    age = age_days(as_of, today)
    return DRIFT_PER_ROOT_YEAR * math.sqrt(max(UNDATED_DAYS if age is None else age, 0) / 365)


def age_in_words(as_of: str, today: date) -> str:
    """How old a list is, where that needs saying; '' for one of the last 90 days."""
    age = age_days(as_of, today)
    if age is None:
        return "undated"
    return f"{age} days old" if age > OLD_DAYS else ""


def list_dates(prices: Mapping[str, Any]) -> dict[str, str]:
    """The date of the GPU list and of the API list."""
    return {side: str((prices.get(side) or {}).get("as_of", "")) for side in ("gpu", "api")}
