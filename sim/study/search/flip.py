"""Distance to flip: the smallest change of each price at which the runner-up would win. Nothing is simulated for it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from sim.ledger.bill import bill, money
from sim.ledger.prices import Prices
from sim.ledger.usage import Usage
from sim.schema import ConfigError
from sim.study.search.evidence import Sample

_BEYOND = 0.01
"""A price is changed by this fraction to see how much a bill depends on it."""
Path = tuple[str, ...]


class Flip(NamedTuple):
    """One price, and the value at which the runner-up costs what the winner does; None: no value does."""

    key: str
    usd: float
    flips_at_usd: float | None

    @property
    def change(self) -> float | None:
        """As a fraction of the price."""
        return None if self.flips_at_usd is None else self.flips_at_usd / self.usd - 1


class Billed(NamedTuple):
    """A finalist: its resolved prices as plain data, its card and model, and its replications."""

    prices: Mapping[str, Any]
    gpu: str
    model: str
    samples: Sequence[Sample]

    def usd(self, prices: Mapping[str, Any]) -> float:
        """Mean USD a month at other prices. Raises ConfigError for prices that no list may have."""
        typed = Prices.model_validate(prices)
        costs = []
        for sample in self.samples:
            usage = Usage.from_json(json.dumps(sample.usage))
            costs.append(float(money(bill(usage, typed, self.gpu, self.model), usage)["usd_per_month"] or 0.0))
        return sum(costs) / len(costs)


def flips(winner: Billed, runner_up: Billed) -> list[Flip]:
    """One per price that either bill depends on, the smallest change first, those that never flip at the end.

    A bill is affine in every single price, so two bills at two prices give the crossing exactly. A price that both
    lists have with the same value is one price, and changes in both.
    """
    base = winner.usd(winner.prices), runner_up.usd(runner_up.prices)
    found = []
    for path, usd in sorted({**dict(_prices_of(winner)), **dict(_prices_of(runner_up))}.items()):
        slopes = [_slope(side, path, usd, cost) for side, cost in zip((winner, runner_up), base, strict=True)]
        if any(slope is None for slope in slopes) or not any(slopes):
            continue
        steeper = float(slopes[0] or 0.0) - float(slopes[1] or 0.0)
        crossing = usd + (base[1] - base[0]) / steeper if steeper else math.nan
        at_usd = crossing if math.isfinite(crossing) and crossing >= 0 else None
        found.append(Flip("prices." + ".".join(path), usd, at_usd))
    return sorted(found, key=lambda flip: math.inf if flip.change is None else abs(flip.change))


def _prices_of(side: Billed) -> Iterator[tuple[Path, float]]:
    """The prices of the finalist's card and model that are set, by where they stand."""
    for path, value in _leaves(side.prices, ()):
        of_a_card_or_model = any("usd_per_gpu" in part or part == "models" for part in path)
        is_asked = not of_a_card_or_model or side.gpu in path or side.model in path
        is_price = any(part.startswith("usd_per") for part in path) and isinstance(value, int | float)
        if is_asked and is_price and value > 0:
            yield path, float(value)


def _leaves(tree: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in tree.items() if isinstance(tree, Mapping) else ():
        yield from _leaves(value, (*path, str(key))) if isinstance(value, Mapping) else [((*path, str(key)), value)]


def _slope(side: Billed, path: Path, usd: float, cost: float) -> float | None:
    """USD a month per USD of the price; 0 where this side's list has it not, or another value; None: not allowed."""
    if dict(_leaves(side.prices, ())).get(path) != usd:
        return 0.0
    prices = deepcopy(dict(side.prices))
    tree: Any = prices
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = usd * (1 + _BEYOND)
    try:
        return (side.usd(prices) - cost) / (usd * _BEYOND)
    except (ConfigError, ValueError):
        return None
