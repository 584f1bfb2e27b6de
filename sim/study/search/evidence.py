"""What is known of each candidate: its replications so far, the judgement of its SLO, and its cost beside another's."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from sim.report.attainment import Judgement, Verdict, judge, judge_at_look, look_sizes
from sim.report.by_application import of_all
from sim.report.estimators import Interval, mean, paired_difference, paired_ratio_difference

Candidate = Hashable
Judge = Callable[[list[int], list[int], float], Judgement]
SLO_FACTORS = tuple(round(1.02**step, 6) for step in range(-80, 81))
"""Factors on all time limits, from 0.2 to 4.9 in steps of 2 %, at which attainment is counted."""
_TRIED_FIRST = 2
"""Replications that show whether there is any chance in a scenario: a replayed log may have none."""
_EARLY_LOOKS = (3, 5)
"""Replications after which a candidate that misses its SLO by far is played no further."""
_COMPARED_AFTER = 3
"""Pairs of replications from which on a candidate is left out as dearer than the best one found."""
_SURE = 0.99
"""Confidence at which a candidate is left out, or a family is held not to be monotone, before the end."""


class Sample(NamedTuple):
    """One replication of a candidate."""

    usd: float
    """US dollars a month of 730 h."""
    attained: int
    calls: int
    slo_factor: float = math.nan
    """The factor on all time limits of the SLO at which this replication would just have met it."""
    fingerprint: float = math.nan
    """A figure that two replications share only if they are the same run, such as the mean moment at which a request
    ends. A latency is none: where nothing queues, other traffic has the same."""
    usage: Mapping[str, Any] | None = None
    """What was used, for other prices (`Usage.to_json`)."""
    attained_within: tuple[int, ...] = ()
    """Requests that attain the SLO with all time limits times each of SLO_FACTORS."""
    figures: Mapping[str, float | None] | None = None
    """Further figures of the replication by their names in a summary; None: infinite, or not defined."""
    by_application: Mapping[str, tuple[int, int, float]] = {}
    """Of each application with an SLO of its own: calls that attain it, all of its calls, and its target."""


class World(Protocol):
    """Whatever plays candidates. Replication i of every candidate has the same traffic (common random numbers)."""

    def play(self, wanted: Sequence[tuple[Candidate, int]]) -> Sequence[Sample]:
        """The sample of each (candidate, replication)."""


class Evidence:
    """Plays replications of candidates when they are asked for, and judges from them."""

    def __init__(self, world: World, target: float, most: int):
        """`target` is the SLO's attainment; `most` replications of one candidate are played."""
        self.world, self.target, self.most = world, target, most
        self.samples: dict[Candidate, list[Sample]] = {}
        self._looks = look_sizes(most)
        self._without_chance: set[Candidate] = set()
        self._judged: dict[Candidate, Judgement] = {}

    @property
    def n_played(self) -> int:
        """Simulations so far: replications of all candidates."""
        return sum(map(len, self.samples.values()))

    def reach(self, sizes: Mapping[Candidate, int]) -> None:
        """Play each candidate up to its replications in `sizes`; only one where all would be the same."""
        wanted = [
            (candidate, number)
            for candidate, size in sizes.items()
            if not self.repeats(candidate)
            for number in range(len(self.samples.get(candidate, ())), size)
        ]
        for (candidate, _), sample in zip(wanted, self.world.play(wanted), strict=True):
            self.samples.setdefault(candidate, []).append(sample)
        for candidate in {candidate for candidate, _ in wanted}:
            found = self.samples[candidate]
            if len(found) > 1 and all(same_run(found[0], other) for other in found[1:]):
                self._without_chance.add(candidate)

    def repeats(self, candidate: Candidate) -> bool:
        """Whether every replication of the candidate is the same run, as of a log replayed on a fleet of its own."""
        return candidate in self._without_chance

    def assume_repeats(self, *candidates: Candidate) -> None:
        """Play these candidates once only: a fleet like them has no chance in it either."""
        self._without_chance |= set(candidates)
        wanted = [(candidate, 0) for candidate in dict.fromkeys(candidates) if candidate not in self.samples]
        for (candidate, _), sample in zip(wanted, self.world.play(wanted), strict=True):
            self.samples[candidate] = [sample]

    def settle(self, candidate: Candidate) -> Judgement:
        """Add replications until the sequential test resolves the SLO, or to the most allowed (NOT_RESOLVED then).

        A candidate without chance is judged by its one run (NOT_TESTED).
        """
        if candidate in self._judged:
            return self._judged[candidate]
        judgement = None if len(self._looks) == 1 else self._misses_early(candidate)
        for size in self._looks if judgement is None else ():
            if self.repeats(candidate):
                break
            self.reach({candidate: size})
            judgement = self._judgement(candidate, size, partial(judge_at_look, sizes=self._looks))
            if judgement.verdict is not Verdict.NOT_RESOLVED:
                break
        if self.repeats(candidate) or judgement is None:
            judgement = self._judgement(candidate, 1, judge)
        self._judged[candidate] = judgement
        return judgement

    def _misses_early(self, candidate: Candidate) -> Judgement | None:
        """That the candidate misses the SLO, if so few replications show it; None if they do not.

        The bet that `judge` asks for may be looked at after every replication without erring more often (Ville's
        inequality), so these looks take nothing from the sequential test.
        """
        self.reach({candidate: min(_TRIED_FIRST, self.most)})
        for size in _EARLY_LOOKS:
            if size >= self._looks[0] or self.repeats(candidate):
                break
            self.reach({candidate: size})
            judgement = self._judgement(candidate, size, partial(judge, confidence=_SURE))
            if judgement.verdict is Verdict.MISSES and not self.repeats(candidate):
                return judgement
        return None

    def judged(self) -> dict[Candidate, Judgement]:
        """Every judgement so far."""
        return dict(self._judged)

    def cost(self, candidate: Candidate) -> Interval:
        """US dollars a month, over the replications played."""
        return mean([sample.usd for sample in self.samples[candidate]][: 1 if self.repeats(candidate) else None])

    def cost_difference(self, a: Candidate, b: Candidate, confidence: float = 0.95) -> Interval:
        """Cost of a - cost of b in US dollars a month, over the replications that both have, paired."""
        first, second = self.paired(a, b)
        pairs = [sample.usd for sample in first], [sample.usd for sample in second]
        return paired_difference(*pairs, confidence).difference

    def is_dearer(self, a: Candidate, b: Candidate) -> bool:
        """Whether a is shown to cost more than b; where neither has any chance in it, their costs settle it."""
        if self.repeats(a) and self.repeats(b):
            return self.samples[a][0].usd > self.samples[b][0].usd
        difference = self.cost_difference(a, b, _SURE)
        return difference.replications >= _COMPARED_AFTER and difference.low is not None and difference.low > 0

    def tried(self, candidate: Candidate) -> Candidate:
        """The candidate, with the replications that `is_dearer` needs."""
        self.reach({candidate: min(_TRIED_FIRST, self.most)})
        self.reach({candidate: min(_COMPARED_AFTER, self.most)})
        return candidate

    def attains_less(self, a: Candidate, b: Candidate) -> bool:
        """Whether a is shown to attain the SLO less often than b."""
        if self.repeats(a) and self.repeats(b):
            one, other = self.samples[a][0], self.samples[b][0]
            return one.attained * other.calls < other.attained * one.calls
        first, second = (([s.attained for s in side], [s.calls for s in side]) for side in self.paired(a, b))
        difference = paired_ratio_difference(first, second, _SURE).difference
        return difference.replications >= _COMPARED_AFTER and difference.high is not None and difference.high < 0

    def paired(self, a: Candidate, b: Candidate) -> tuple[list[Sample], list[Sample]]:
        """The replications of both. One without chance stands for as many as the other has."""
        first, second = self.samples[a], self.samples[b]
        if self.repeats(a):
            first = first[:1] * len(second)
        if self.repeats(b):
            second = second[:1] * len(first)
        n = min(len(first), len(second))
        return first[:n], second[:n]

    def _judgement(self, candidate: Candidate, size: int, by: Judge) -> Judgement:
        return judgement_of(self.samples[candidate][:size], self.target, by)


def judgement_of(samples: Sequence[Sample], target: float, by: Judge = judge) -> Judgement:
    """The judgement of the SLO from these replications: `target` is that of all calls, and where applications have SLOs
    of their own, each of them must meet its own. `by(attained, calls, target)` judges one of them."""
    whole = by([sample.attained for sample in samples], [sample.calls for sample in samples], target)
    own = list(judgements_by_application(samples, by).values())
    return of_all(whole, own) if own else whole


def judgements_by_application(samples: Sequence[Sample], by: Judge = judge) -> dict[str, Judgement]:
    """The judgement of each application that has an SLO of its own."""
    found = {}
    for name, (_, _, target) in samples[0].by_application.items():
        attained, calls = zip(*(sample.by_application[name][:2] for sample in samples), strict=True)
        found[name] = by(list(attained), list(calls), target)
    return found


def same_run(a: Sample, b: Sample) -> bool:
    """Whether two replications are the same run, by their cost, calls and fingerprint."""
    return (a.usd, a.attained, a.calls, a.fingerprint) == (b.usd, b.attained, b.calls, b.fingerprint)
