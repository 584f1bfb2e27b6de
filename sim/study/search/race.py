"""The race: the best of each family compared by paired differences, finalists played again on fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sim.report.attainment import Judgement, Verdict
from sim.report.estimators import Interval
from sim.study.search.evidence import Candidate, Evidence, Sample, World, judgement_of
from sim.study.search.family import Came, Family, Searched, search_family, unresolved
from sim.study.search.tune import Tuning

FINALISTS = 3
FRESH_REPLICATIONS = 20
_DRAWS = 4_000
_CLIMBS = 3
"""Sizes that are tried above a finalist that misses the SLO on fresh seeds."""


@dataclass(frozen=True)
class Final:
    """A finalist on fresh seeds, of which the search knew nothing."""

    candidate: Candidate
    cost: Interval
    """US dollars a month."""
    judgement: Judgement
    search_cost: Interval
    """The cost in the replications that it was chosen by."""
    samples: tuple[Sample, ...]
    repeats: bool
    """Every replication is the same run: its cost has no interval."""


@dataclass(frozen=True)
class Tuned:
    """What came of a tuning on fresh seeds."""

    tuning: Tuning
    saves: Interval | None
    """US dollars a month that the tuned fleet costs less than as configured, paired; None: none was tuned."""
    is_taken: bool
    """Whether the tuned fleet is in the answer in place of the configured one; else the configured one is."""


@dataclass(frozen=True)
class Answer:
    """What a search found. `finals` are in order of their cost, those that missed the SLO on fresh seeds left out.

    A fleet whose knobs were tuned is among them once: as tuned, or as configured.
    """

    finals: tuple[Final, ...]
    searched: tuple[Searched, ...]
    open: tuple[Candidate, ...]
    """Candidates of which it is not resolved whether they meet the SLO."""
    difference: Interval | None
    """US dollars a month that the runner-up costs more than the winner, paired, on fresh seeds; None without one."""
    probability_best: float | None
    """That the winner is the cheapest of the finalists; None with nothing to compare, or without chance."""
    n_played: int
    """Simulations of the search and of the finalists."""
    n_fresh: int = FRESH_REPLICATIONS
    """Replications of a finalist, where they differ."""
    tuned: tuple[Tuned, ...] = ()

    def ladder(self, candidate: Candidate) -> tuple[Candidate, ...]:
        """The sizes of the candidate's family, from the smallest to the largest; the candidate alone without one."""
        ladders = (*(s.family.ladder for s in self.searched), *(t.tuning.ladder for t in self.tuned))
        return next((ladder for ladder in ladders if candidate in ladder), (candidate,))

    @property
    def winner(self) -> Final | None:
        return self.finals[0] if self.finals else None

    @property
    def runner_up(self) -> Final | None:
        return self.finals[1] if len(self.finals) > 1 else None


def search(
    families: Sequence[Family],
    evidence: Evidence,
    fresh: World,
    on_family: Callable[[int, str, int], None] = lambda _number, _name, _n_open: None,
    n_fresh: int = FRESH_REPLICATIONS,
    tune: Callable[[Sequence[Candidate]], Sequence[Tuning]] = lambda _finalists: (),
) -> Answer:
    """Search every family in turn, race their best, and play the finalists on fresh seeds (`fresh`).

    A family that is alone with a size that meets the SLO is compared with its next larger size. `on_family(i, name, n)`
    is called as the i-th family is played; n families from there on may cost less than the best. A finalist is played
    `n_fresh` times. `tune` turns the knobs of the finalists; what it finds is played on fresh seeds beside them.
    """
    found: list[Searched] = []
    best: Candidate | None = None
    for number, family in enumerate(families):
        best_usd = math.inf if best is None else _mean(evidence, best)
        is_open = [bool(other.below(best_usd).ladder) for other in families[number:]]
        if is_open[0]:
            on_family(number, family.name, sum(is_open))
        result = _searched(family, evidence, best)
        found.append(result)
        if result.best is not None and (best is None or _mean(evidence, result.best) < _mean(evidence, best)):
            best = result.best
    feasible = [result.best for result in found if result.came is Came.MEETS and result.best is not None]
    if len(feasible) == 1:
        feasible += _next_size(found, feasible[0])
        evidence.reach(dict.fromkeys(feasible, len(evidence.samples[feasible[0]])))
    finalists = race(feasible, evidence)
    return finish(found, finalists, evidence, fresh, n_fresh, tune(finalists))


def _searched(family: Family, evidence: Evidence, best: Candidate | None) -> Searched:
    """The search of the sizes of a family that may cost less than the best one found."""
    affordable = family.below(math.inf if best is None else _mean(evidence, best))
    if not affordable.ladder:
        return Searched(family, Came.BOUND)
    result = search_family(affordable, evidence, best)
    is_cut = len(affordable.ladder) < len(family.ladder)
    came = Came.DEARER if is_cut and result.came is Came.SHORT else result.came
    return replace(result, family=family, came=came)


def _next_size(found: Sequence[Searched], candidate: Candidate) -> list[Candidate]:
    """[] for the largest, and for a tuned fleet: in its place the configured one stays."""
    ladder = next((result.family.ladder for result in found if candidate in result.family.ladder), (candidate,))
    return list(ladder[ladder.index(candidate) + 1 :][:1])


def race(candidates: Sequence[Candidate], evidence: Evidence, keep: int = FINALISTS) -> list[Candidate]:
    """At most `keep` of the candidates, the cheapest first, by successive halving.

    Each round doubles the replications; out go those that paired differences show to cost more than the cheapest, and
    while too many are left, the dearer half. Source: Jamieson and Talwalkar, Non-stochastic best arm identification and
    hyperparameter optimization, 2016.
    """
    left = sorted(dict.fromkeys(candidates), key=lambda c: _mean(evidence, c))
    size = max([len(evidence.samples[c]) for c in left], default=0)
    while left:
        evidence.reach(dict.fromkeys(left, size))
        left.sort(key=lambda c: _mean(evidence, c))
        if len(left) <= keep:
            break
        close = [c for c in left if c == left[0] or not evidence.is_dearer(c, left[0])]
        left = left[: max(keep, min(len(close), (len(left) + 1) // 2))]
        size = min(2 * size, evidence.most)
    return left


def finish(
    found: Sequence[Searched],
    finalists: Sequence[Candidate],
    evidence: Evidence,
    fresh: World,
    n_fresh: int = FRESH_REPLICATIONS,
    tunings: Sequence[Tuning] = (),
) -> Answer:
    """Play the finalists on fresh seeds and say which is the cheapest, by how much, and how sure that is.

    In the place of one that misses the SLO there comes the next larger size of its family, a few times. A fleet that
    was tuned is played as tuned and as configured, and the cheaper one that meets the SLO stays.
    """
    again = Evidence(fresh, evidence.target, n_fresh)
    finals: list[Final] = []
    wanted = list(dict.fromkeys([*finalists, *(t.after for t in tunings if t.after is not None)]))
    for _ in range(_CLIMBS + 1):
        again.reach(dict.fromkeys(wanted, 2))
        again.reach(dict.fromkeys(wanted, n_fresh))
        evidence.reach(dict.fromkeys(wanted, 1))
        played = [_final(candidate, again, evidence) for candidate in wanted]
        finals += played
        larger = [c for final in played if _missed(final) for c in _next_size(found, final.candidate)]
        wanted = [c for c in dict.fromkeys(larger) if c not in again.samples]
        if not wanted:
            break
    able = sorted((f for f in finals if not _missed(f)), key=lambda f: f.cost.mean or 0.0)
    tuned = tuple(_tuned(tuning, again, [f.candidate for f in able]) for tuning in tunings)
    beaten = {t.tuning.before if t.is_taken else t.tuning.after for t in tuned}
    stay = [f for f in able if f.candidate not in beaten][: max(FINALISTS, len(finalists))]
    difference = again.cost_difference(stay[1].candidate, stay[0].candidate) if len(stay) > 1 else None
    n_played = evidence.n_played + again.n_played
    probability = probability_best(stay)
    trials = {trial.candidate for tuning in tunings for trial in tuning.trials} - {t.before for t in tunings}
    open_ones = tuple(c for c in unresolved(evidence) if c not in trials)
    return Answer(tuple(stay), tuple(found), open_ones, difference, probability, n_played, n_fresh, tuned)


def _tuned(tuning: Tuning, again: Evidence, able: Sequence[Candidate]) -> Tuned:
    """`able`: those that do not miss the SLO on fresh seeds, the cheapest first."""
    if tuning.after is None:
        return Tuned(tuning, None, False)
    best = next((c for c in able if c in (tuning.before, tuning.after)), None)
    return Tuned(tuning, again.cost_difference(tuning.before, tuning.after), best == tuning.after)


def _final(candidate: Candidate, again: Evidence, evidence: Evidence) -> Final:
    samples = again.samples[candidate][: 1 if again.repeats(candidate) else None]
    judgement = judgement_of(samples, evidence.target)
    return Final(
        candidate, again.cost(candidate), judgement, evidence.cost(candidate), tuple(samples), again.repeats(candidate)
    )


def _missed(final: Final) -> bool:
    return final.judgement.verdict is Verdict.MISSES or (final.repeats and not final.judgement.reached)


def probability_best(finals: Sequence[Final], draws: int = _DRAWS) -> float | None:
    """The share of bootstrap resamples of the (paired) replications in which the first has the lowest mean cost.

    None for fewer than two finalists, or where no replication differs from the next. Source: Efron and Tibshirani, An
    introduction to the bootstrap, 1993; replications are drawn for all finalists together, so that pairs stay pairs.
    """
    if len(finals) < 2 or all(final.repeats for final in finals):
        return None
    n = max(len(final.samples) for final in finals)
    costs = np.array([[s.usd for s in (f.samples * n if f.repeats else f.samples)][:n] for f in finals])
    drawn = np.random.default_rng(0).integers(0, n, (draws, n))
    means = costs[:, drawn].mean(axis=2)
    n_first = int((means[0] <= means.min(axis=0)).sum())
    return (n_first + 0.5) / (draws + 1)  # so that a finite number of draws never says certain


def _mean(evidence: Evidence, candidate: Candidate) -> float:
    return evidence.cost(candidate).mean or 0.0
