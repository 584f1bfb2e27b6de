"""A family: one policy at rising sizes. Larger ones attain the SLO more often, so bisection finds the smallest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from sim.report.attainment import Verdict
from sim.study.search.evidence import Candidate, Evidence


@dataclass(frozen=True)
class Family:
    """Candidates of one policy, from the smallest size to the largest.

    `cost_rises`: a larger size never costs less, as where every replica is paid around the clock and nothing else is.
    """

    name: str
    ladder: tuple[Candidate, ...]
    cost_rises: bool = False
    floors_usd: tuple[float, ...] = ()
    """US dollars a month below which no size can cost, known before anything is played; (): nothing is known."""

    def below(self, usd: float) -> Family:
        """The sizes that may cost less than this."""
        if not self.floors_usd:
            return self
        kept = [number for number, floor_usd in enumerate(self.floors_usd) if floor_usd < usd]
        ladder = tuple(self.ladder[number] for number in kept)
        return replace(self, ladder=ladder, floors_usd=tuple(self.floors_usd[number] for number in kept))


class Came(StrEnum):
    """What came of a family."""

    MEETS = "meets the SLO"
    SHORT = "does not meet the SLO at any size"
    BOUND = "costs more than the best one on paper: not played"
    DEARER = "costs more than the best one before it meets the SLO"


@dataclass(frozen=True)
class Searched:
    """The cheapest candidate of a family that meets the SLO (None: there is none), and how it was found."""

    family: Family
    came: Came
    best: Candidate | None = None
    scanned: bool = False
    """Every size was played, as the family turned out not to be monotone."""


class _State(StrEnum):
    MEETS, SHORT, DEARER = "meets", "short", "dearer"


def search_family(family: Family, evidence: Evidence, best: Candidate | None = None) -> Searched:
    """Bisect for the smallest size that meets the SLO; where a larger one may cost less, look upwards from there.

    Where cost rises with size, sizes that are shown to cost more than `best`, the cheapest one found in other families,
    are not played to the end. A candidate whose judgement is not resolved counts as one that does not meet the SLO.
    If larger sizes are seen to attain the SLO less often than smaller ones, every size is played.
    """
    ladder = family.ladder
    rung = _Rung(family, evidence, best)
    top = rung.state(len(ladder) - 1)
    if top is _State.SHORT:
        rung.state(0)
        return _scan(rung) if _falls(rung) else Searched(family, Came.SHORT)
    low, high, found = -1, len(ladder) - 1, top
    if len(ladder) > 1:
        first = rung.state(0)
        low, high, found = (0, high, top) if first is _State.SHORT else (-1, 0, first)
    while high - low > 1:
        middle = (low + high) // 2
        state = rung.state(middle)
        if state is _State.SHORT:
            low = middle
        else:
            high, found = middle, state
    if _falls(rung):
        return _scan(rung)
    if found is _State.DEARER:
        return Searched(family, Came.DEARER)
    return Searched(family, Came.MEETS, ladder[high if family.cost_rises else _walk_up(rung, high)])


class _Rung:
    """The states of a family's sizes, played when they are asked for."""

    def __init__(self, family: Family, evidence: Evidence, best: Candidate | None):
        self.family, self.evidence, self._best = family, evidence, best
        self.states: dict[int, _State] = {}

    def state(self, size: int) -> _State:
        if size not in self.states:
            self.states[size] = self._state(self.family.ladder[size])
        return self.states[size]

    def _state(self, candidate: Candidate) -> _State:
        if self.evidence.repeats(self.family.ladder[-1]):
            self.evidence.assume_repeats(candidate)
        evidence = self.evidence
        no_larger_may_cost_less = self.family.cost_rises or len(self.family.ladder) == 1
        if no_larger_may_cost_less and self._best is not None and evidence.is_dearer(
            evidence.tried(candidate), self._best
        ):  # fmt: skip
            return _State.DEARER
        return _State.MEETS if evidence.settle(candidate).meets else _State.SHORT


def _falls(rung: _Rung) -> bool:
    """Whether attainment is shown to fall from one size to a larger one, among the sizes that were played."""
    played = [rung.family.ladder[size] for size in sorted(rung.states) if rung.states[size] is not _State.DEARER]
    return any(rung.evidence.attains_less(larger, smaller) for smaller, larger in pairwise(played))


def _scan(rung: _Rung) -> Searched:
    """Every size of a family that is not monotone."""
    family, evidence = rung.family, rung.evidence
    states = [rung.state(size) for size in range(len(family.ladder))]
    meeting = [c for c, state in zip(family.ladder, states, strict=True) if state is _State.MEETS]
    if not meeting:
        return Searched(family, Came.DEARER if _State.DEARER in states else Came.SHORT, scanned=True)
    return Searched(family, Came.MEETS, min(meeting, key=lambda c: evidence.cost(c).mean or 0.0), scanned=True)


def _walk_up(rung: _Rung, size: int) -> int:
    """The cheapest size from here on: larger ones are tried until two in a row have cost more."""
    evidence, ladder = rung.evidence, rung.family.ladder
    cheapest, dearer_in_a_row = size, 0
    for larger in range(size + 1, len(ladder)):
        if evidence.repeats(ladder[-1]):
            evidence.assume_repeats(ladder[larger])
        difference = evidence.cost_difference(evidence.tried(ladder[larger]), ladder[cheapest]).mean
        if difference is not None and difference < 0 and rung.state(larger) is _State.MEETS:
            cheapest, dearer_in_a_row = larger, 0
        else:
            dearer_in_a_row += 1
        if dearer_in_a_row == 2:
            break
    return cheapest


def unresolved(evidence: Evidence) -> list[Candidate]:
    """The candidates of which the most replications allowed did not resolve whether they meet the SLO."""
    return [c for c, judgement in evidence.judged().items() if judgement.verdict is Verdict.NOT_RESOLVED]
