"""Distance to flip: for each input of a decision, the smallest change at which another fleet wins."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sim.report.attainment import reaches
from sim.study.search.contest import Contest, Standing, leader
from sim.study.search.evidence import SLO_FACTORS, Candidate, Sample
from sim.study.search.inputs import Input

BISECTIONS = 4
"""Halvings of the stretch in which a flip was found."""


@dataclass(frozen=True)
class Flip:
    """One input and the nearest value, in one direction, at which another fleet wins; None: none was found."""

    key: str
    name: str
    value: float
    """As it is now."""
    unit: str
    flips_at: float | None = None
    low: float | None = None
    """Nearer to the present value the answer stands, in every replication; None: that cannot be said."""
    high: float | None = None
    """Beyond it another fleet wins, in every replication; None: that was not seen."""
    to: str | None = None
    """The fleet that wins there; None: no finalist meets the SLO there."""
    because: str = ""
    how: str = "played"
    """`played`: simulated again; `priced`: from what was used, exactly; `counted`: from the latencies played."""
    keeps: str = ""
    """What the change leaves alone."""
    searched: tuple[float, ...] = ()
    """The farthest values looked at."""
    why_not: str = ""
    """Why it was not searched."""

    @property
    def change(self) -> float | None:
        """As a fraction of the present value."""
        return self._fraction(self.flips_at)

    def _fraction(self, value: float | None) -> float | None:
        return None if value is None or not self.value else value / self.value - 1

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self) | {
            "change_fraction": self.change, "low_fraction": self._fraction(self.low),
            "high_fraction": self._fraction(self.high),
        }  # fmt: skip


class _Edge(NamedTuple):
    """Where the incumbent stops to win, among the values looked at, in their order from the present one."""

    at: float
    standing: Standing
    low: float | None
    high: float | None


def nearest_first(found: Sequence[Flip]) -> list[Flip]:
    """By the size of the change; those that never flip at the end."""
    return sorted(found, key=lambda flip: math.inf if flip.change is None else abs(flip.change))


def played_flips(contest: Contest, given: Input, name_of: Callable[[Candidate], str]) -> list[Flip]:
    """The flips of one input: one per direction in which one was found, or one that says that there is none."""
    plain = Flip(
        given.key, given.name, given.value, given.unit, keeps=given.keeps, why_not=given.why_not,
        searched=() if given.why_not else tuple(given.value * side[-1] for side in (given.down, given.up) if side),
    )  # fmt: skip
    if given.why_not:
        return [plain]

    def standing(factor: float) -> Standing:
        return contest.standing(lambda config: given.changes(factor, config), given.is_random)

    def holds(factor: float) -> bool:
        return contest.holds(lambda config: given.changes(factor, config), given.is_random)

    found = []
    for side in (given.up, given.down):
        edge = _edge(holds, standing, side, contest.incumbent)
        if edge is None:
            continue
        to, because = _why(edge.standing, contest.incumbent, name_of)
        low, high = (None if factor is None else given.value * factor for factor in (edge.low, edge.high))
        found.append(
            Flip(given.key, given.name, given.value, given.unit, given.value * edge.at, low, high, to, because,
                 keeps=given.keeps, searched=plain.searched)
        )  # fmt: skip
    return found or [plain]


def _edge(
    holds: Callable[[float], bool], standing: Callable[[float], Standing], steps: Sequence[float], incumbent: Candidate
) -> _Edge | None:
    """The nearest factor at which the incumbent does not win, looking at `steps` and halving the stretch before.

    The stretch is found with the first replication; the others are played at its ends, and farther out until all agree.
    """
    looked = [1.0]
    for step in steps:
        looked.append(step)
        if not holds(step):
            break
    else:
        return None
    near, far = looked[-2:]
    for _ in range(BISECTIONS if far > 0 and len(steps) > 1 else 0):
        middle = math.sqrt(near * far)
        looked.append(middle)
        near, far = (middle, far) if holds(middle) else (near, middle)
    looked.sort(key=lambda factor: abs(math.log(factor)) if factor > 0 else math.inf)
    place = looked.index(near)
    while place > 0 and any(one != incumbent for one in standing(looked[place]).leaders):
        place -= 1
    beyond = looked.index(far)
    while beyond < len(looked) and any(one == incumbent for one in standing(looked[beyond]).leaders):
        beyond += 1
    turned = [f for f in looked[place + 1 : beyond + 1] if standing(f).leader != incumbent]
    if not turned:
        return None
    return _Edge(turned[0], standing(turned[0]), looked[place], looked[beyond] if beyond < len(looked) else None)


def _why(standing: Standing, incumbent: Candidate, name_of: Callable[[Candidate], str]) -> tuple[str | None, str]:
    """Who wins in place of the incumbent, and why."""
    new = standing.leader
    if new is None:
        return None, "no finalist meets the SLO"
    if new in standing.samples and incumbent in standing.samples:
        cheaper = standing.usd(new) < standing.usd(incumbent)
        return name_of(new), "costs less" if cheaper else "the winner misses the SLO"
    return name_of(new), ""


def slo_flips(
    standing: Standing, target: float, incumbent: Candidate, name_of: Callable[[Candidate], str]
) -> list[Flip]:
    """The flips of the SLO's time limits and of its attainment, counted in what the contenders played.

    No fleet is assumed to act on its SLO.
    """
    return [*_limit_flips(standing, target, incumbent, name_of), *_share_flips(standing, target, incumbent, name_of)]


def _limit_flips(
    standing: Standing, target: float, incumbent: Candidate, name_of: Callable[[Candidate], str]
) -> list[Flip]:
    key, name, unit = "slo", "time limits of the SLO", "x every limit"
    keeps = "traffic, fleets, the attainment asked for"
    samples = {c: found for c, found in standing.samples.items() if all(s.attained_within for s in found)}
    middle = SLO_FACTORS.index(1.0)
    n = max((len(found) for found in samples.values()), default=0)

    def winner(samples: Mapping[Candidate, Sequence[Sample]], place: int) -> Candidate | None:
        return leader(samples, target, lambda sample: sample.attained_within[place])

    found = []
    for places in (range(middle + 1, len(SLO_FACTORS)), range(middle - 1, -1, -1)):
        lost = next((place for place in places if winner(samples, place) != incumbent), None)
        if lost is None:
            continue
        singles = [{c: [s[i if len(s) > 1 else 0]] for c, s in samples.items()} for i in range(n)]
        firsts = [next((p for p in places if winner(one, p) != incumbent), None) for one in singles]
        ends = [SLO_FACTORS[p] for p in firsts if p is not None]
        near, far = (min, max) if places.step > 0 else (max, min)
        to, because = _why(Standing(samples, winner(samples, lost), ()), incumbent, name_of)
        found.append(
            Flip(key, name, 1.0, unit, SLO_FACTORS[lost], near(ends, default=None),
                 far(ends) if len(ends) == len(firsts) else None, to, because, "counted", keeps,
                 (SLO_FACTORS[0], SLO_FACTORS[-1]))
        )  # fmt: skip
    never = Flip(key, name, 1.0, unit, how="counted", keeps=keeps, searched=(SLO_FACTORS[0], SLO_FACTORS[-1]))
    return found or [never]


def _share_flips(
    standing: Standing, target: float, incumbent: Candidate, name_of: Callable[[Candidate], str]
) -> list[Flip]:
    """Upwards the incumbent falls short at the share that it attains; downwards the best of the cheaper ones wins."""
    key, name, unit = "slo.attainment_fraction", "share of calls within the SLO", "of all calls"
    keeps = "traffic, fleets, time limits"
    shares = {c: _share(found) for c, found in standing.samples.items()}
    found = []
    own = shares.get(incumbent, 0.0)
    if reaches(own, target) and own < 1:
        ranges = [_share([s]) for s in standing.samples[incumbent]]
        able = {c: share for c, share in shares.items() if share > own}
        new = min(able, key=standing.usd, default=None)
        found.append(
            Flip(key, name, target, unit, own, min(ranges), max(ranges), None if new is None else name_of(new),
                 "the winner misses the SLO" if new is not None else "no finalist meets the SLO", "counted", keeps)
        )  # fmt: skip
    cheaper = {
        c: share for c, share in shares.items()
        if standing.usd(c) < standing.usd(incumbent) and share > 0 and not reaches(share, target)
    }  # fmt: skip
    if cheaper:
        new = max(cheaper, key=lambda c: cheaper[c])
        ranges = [_share([s]) for s in standing.samples[new]]
        found.append(
            Flip(key, name, target, unit, cheaper[new], max(ranges), min(ranges), name_of(new), "costs less", "counted",
                 keeps)
        )  # fmt: skip
    return found or [Flip(key, name, target, unit, how="counted", keeps=keeps)]


def _share(samples: Sequence[Sample]) -> float:
    calls = sum(sample.calls for sample in samples)
    return sum(sample.attained for sample in samples) / calls if calls else 0.0
