"""Break-even map: which fleet wins by volume and burstiness."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sim.study.search.asked import LARGER, Asked, contender, ladder_of
from sim.study.search.contest import Contender, Contest
from sim.study.search.evidence import Candidate
from sim.study.search.portfolio import API_ALONE
from sim.study.search.variation import Changes

VOLUMES = (0.25, 0.5, 1.0, 2.0)
BURSTS = (0.5, 1.0, 2.0)


@dataclass(frozen=True, eq=False)
class BreakEven:
    """Which fleet wins by volume and burstiness, each family of the finalists with a size that suits the volume."""

    volumes: tuple[float, ...]
    """Factors on the number of users."""
    bursts: tuple[float, ...]
    """Exponents on the rate of a minute over that of its hour."""
    winners: tuple[tuple[str | None, ...], ...]
    """By burstiness, then volume; None: no fleet looked at meets the SLO."""
    usd_per_month: tuple[tuple[float | None, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "volume_factors": self.volumes, "burst_exponents": self.bursts, "winners": self.winners,
            "usd_per_month": self.usd_per_month,
        }  # fmt: skip


def break_even(asked: Asked) -> tuple[BreakEven, int]:
    """(the map, simulations for it). One replication at each point."""
    n_played, winners, costs = 0, [], []
    for exponent in BURSTS:
        row: list[tuple[str | None, float | None]] = []
        for volume in VOLUMES:
            contest = Contest(asked.world, _sized(asked, volume), asked.target, 1)

            def change(config: Mapping[str, Any], volume: float = volume, exponent: float = exponent) -> Changes:
                scale = config["arrivals"]["scale"]
                return (
                    ("arrivals.scale.more_users", scale["more_users"] * volume),
                    ("arrivals.scale.sharper_bursts", scale["sharper_bursts"] * exponent),
                )

            standing = contest.standing(change, is_random=True)
            n_played += contest.n_played
            best = standing.leader
            row.append((None, None) if best is None else (asked.name_of(best), standing.usd(best)))
        winners.append(tuple(name for name, _ in row))
        costs.append(tuple(usd for _, usd in row))
    return BreakEven(VOLUMES, BURSTS, tuple(winners), tuple(costs)), n_played


def _sized(asked: Asked, volume: float) -> list[Contender]:
    """The family of each finalist, at the sizes that may suit this volume, and the API alone."""
    found: dict[Candidate, None] = {}
    for final in asked.answer.finals:
        ladder, place = ladder_of(asked, final.candidate)
        size = max(1.0, (place + 1) * volume)
        sizes = {math.floor(size), math.ceil(size), math.ceil(LARGER * size)}
        found |= {ladder[min(n, len(ladder)) - 1]: None for n in sorted(sizes)}
    if asked.has_api_alone:
        found[API_ALONE] = None
    return [contender(asked, c) for c in found]
