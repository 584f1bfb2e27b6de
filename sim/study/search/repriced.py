"""What finalists would cost at other prices, exactly and without a simulation, and where the answer turns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from sim.ledger.bill import bill, money
from sim.ledger.prices import Prices
from sim.ledger.usage import Usage
from sim.report.estimators import Support, ratio_of_sums
from sim.schema import ConfigError
from sim.study.search.evidence import Sample
from sim.study.search.flip import Flip

_BEYOND = 0.01
"""A price is changed by this fraction to see how much a bill depends on it."""
_ROUNDING = 1e-9
"""A bill that changes by a smaller fraction does not depend on the price."""
Path = tuple[str, ...]


class Billed(NamedTuple):
    """A finalist: what it is called, its resolved prices as plain data, its card, the cards of all its pools, its
    model, and its replications."""

    name: str
    prices: Mapping[str, Any]
    gpu: str
    cards: Sequence[str]
    model: str
    samples: Sequence[Sample]

    def each_usd(self, prices: Mapping[str, Any]) -> list[float]:
        """USD a month of every replication at other prices. Raises ConfigError for prices that no list may have."""
        typed = Prices.model_validate(prices)
        costs = []
        for sample in self.samples:
            usage = Usage.from_json(json.dumps(sample.usage))
            costs.append(float(money(bill(usage, typed, self.gpu, self.model), usage)["usd_per_month"] or 0.0))
        return costs

    def usd(self, prices: Mapping[str, Any]) -> float:
        """Mean USD a month at other prices. Raises ConfigError for prices that no list may have."""
        costs = self.each_usd(prices)
        return sum(costs) / len(costs)

    def usd_with(self, gpu_factor: float, api_factor: float) -> float:
        """Mean USD a month with all GPU prices and all API prices multiplied."""
        prices = deepcopy(dict(self.prices))
        for path, value in list(_leaves(prices, ())):
            factor = {"gpu": gpu_factor, "pools": gpu_factor, "api": api_factor}.get(path[0], 1.0)
            if factor != 1 and _is_price(path, value):
                _set(prices, path, value * factor)
        return self.usd(prices)


def price_flips(winner: Billed, others: Sequence[Billed]) -> list[Flip]:
    """One flip per price that a bill of the finalists depends on: the nearest value at which another one costs less.

    A bill is affine in every single price, so two bills at two prices give the crossing exactly. A price that two lists
    have with the same value is one price, and changes in both. The interval is that of the ratio of what the other
    costs more to how much faster the winner's bill grows, over paired replications.
    """
    found = []
    every = {path: usd for side in (winner, *others) for path, usd in _prices_of(side)}
    for path, usd in sorted(every.items()):
        crossings = [crossing for other in others if (crossing := _crossing(path, usd, winner, other)) is not None]
        if not crossings:
            continue
        key, name = "prices." + ".".join(path), path[-1] if path[-1].startswith("usd") else " ".join(path[-2:])
        plain = Flip(key, name, usd, "USD", how="priced", keeps="what was used")
        turning = [flip for flip in crossings if flip.flips_at is not None]
        nearest = min(turning, key=lambda flip: abs(flip.flips_at - usd), default=None)  # type: ignore[operator]
        found.append(plain if nearest is None else nearest)
    return found


def _crossing(path: Path, usd: float, winner: Billed, other: Billed) -> Flip | None:
    """None: neither bill depends on the price."""
    slopes = [_slopes(side, path, usd) for side in (winner, other)]
    if any(slope is None for slope in slopes) or not any(any(slope or ()) for slope in slopes):
        return None
    base = [[sample.usd for sample in side.samples] for side in (winner, other)]
    n = max(map(len, base))
    one, two = ([*costs, *costs * (n - len(costs))][:n] if len(costs) == 1 else costs[:n] for costs in base)
    a, b = ([*s, *s * (n - len(s))][:n] if len(s) == 1 else s[:n] for s in (slopes[0] or [], slopes[1] or []))
    n = min(map(len, (one, two, a, b)))
    leads = [y - x for x, y in zip(one[:n], two[:n], strict=True)]
    steeper = [x - y for x, y in zip(a[:n], b[:n], strict=True)]
    name = path[-1] if path[-1].startswith("usd") else " ".join(path[-2:])
    plain = Flip("prices." + ".".join(path), name, usd, "USD", how="priced", keeps="what was used")
    total = sum(steeper)
    crossing = usd + sum(leads) / total if total else math.nan
    if not math.isfinite(crossing) or crossing < 0:
        return plain
    ratio = ratio_of_sums(leads, steeper, Support.REAL) if n > 1 else None
    ends = (
        [crossing, crossing] if ratio is None or ratio.low is None else [usd + ratio.low, usd + float(ratio.high or 0)]
    )
    low, high = sorted((max(0.0, end) for end in ends), key=lambda end: abs(end - usd))
    return Flip(plain.key, name, usd, "USD", crossing, low, high, other.name, "costs less", "priced", plain.keeps)


def _slopes(side: Billed, path: Path, usd: float) -> list[float] | None:
    """USD a month per USD of the price, of every replication; 0 where this side's list has it not, or another value;
    None: not allowed."""
    if dict(_leaves(side.prices, ())).get(path) != usd:
        return [0.0] * len(side.samples)
    prices = deepcopy(dict(side.prices))
    _set(prices, path, usd * (1 + _BEYOND))
    try:
        after = side.each_usd(prices)
    except (ConfigError, ValueError):
        return None
    changes = [a - sample.usd for a, sample in zip(after, side.samples, strict=True)]
    return [
        0.0 if abs(c) < _ROUNDING * s.usd else c / (usd * _BEYOND) for c, s in zip(changes, side.samples, strict=True)
    ]


def _prices_of(side: Billed) -> Iterator[tuple[Path, float]]:
    """The prices of the finalist's card and model that are set, by where they stand."""
    for path, value in _leaves(side.prices, ()):
        of_a_card_or_model = any("usd_per_gpu" in part or part == "models" for part in path)
        is_asked = not of_a_card_or_model or bool({*side.cards, side.model} & set(path))
        if is_asked and _is_price(path, value) and value > 0:
            yield path, float(value)


def _is_price(path: Path, value: Any) -> bool:
    return any(part.startswith("usd_per") for part in path) and isinstance(value, int | float)


def _leaves(tree: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in tree.items() if isinstance(tree, Mapping) else ():
        yield from _leaves(value, (*path, str(key))) if isinstance(value, Mapping) else [((*path, str(key)), value)]


def _set(tree: Any, path: Path, value: float) -> None:
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value
