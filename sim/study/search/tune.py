"""Tuning: thresholds and timeouts of a fleet, searched within the SLO by Optuna's TPE on the traffic of the search.

Every trial is played on the same replications as the others (common random numbers). The sampler is the tree-structured
Parzen estimator with constraints (Watanabe and Hutter, c-TPE, IJCAI 2023, doi 10.24963/ijcai.2023/486, in the form that
Optuna has): it prefers trials that cost little and do not fall short of the SLO's attainment. A cost that falls until
the SLO is missed has its least at that border, which samples approach slowly; so every other trial goes there straight:
half way from the cheapest trial that meets the SLO to the nearest one that costs less and misses it, and with several
knobs in turn a step from the cheapest along one knob alone.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sim.knob import DIGITS, Found, Knob, rounded
from sim.report.attainment import reaches
from sim.study.search.evidence import Candidate, Evidence, Sample, same_run

INSTALL = "pip install 'llm-traffic-sim[tune]'"
TRIALS = (20, 40, 48)
"""Trials of one knob, of two, of more."""
REPLICATIONS = 3
"""Of each trial; those that may be the best are played as often as the search plays a fleet."""
_AT_ONCE = 2
_SPREAD_FIRST = 5
"""Trials spread over the range before the sampler has its say, and one more for each knob."""
_BASES = (2, 3, 5, 7, 11, 13)
_SETTLED = 4
"""Of the cheapest trials, how many are played to the end to find one that meets the SLO."""
_FIRST_STEP = 0.2
"""Of the range, along one knob; half of it after each has been turned up and down."""
_LEAST_SAVING = 1e-3
"""Of the cost: what saves less is not worth another value."""

At = Callable[[Mapping[str, float]], Candidate | None]
"""The candidate with these values of its knobs; None: it is no valid scenario."""


class Trial(NamedTuple):
    """One choice of values. `places`: where each stands in its range; `short`: attainment missing, <= 0 if it meets."""

    candidate: Candidate
    values: Mapping[str, float]
    places: tuple[float, ...]
    usd: float
    short: float


@dataclass(frozen=True)
class Tuning:
    """What came of the knobs of one finalist."""

    before: Candidate
    """As configured."""
    knobs: tuple[Found, ...]
    trials: tuple[Trial, ...]
    after: Candidate | None
    """The cheapest that meets the SLO; None: none is shown to be cheaper than as configured."""
    values: Mapping[str, float]
    """Of `after`."""
    ladder: tuple[Candidate, ...] = ()
    """The sizes of the family of `after`, all with its values."""

    @property
    def ranges(self) -> list[tuple[str, float, float, float]]:
        """(key, value as configured, least and largest value looked at) of each knob."""
        return [(found.key, found.value, *_wide(found)[:2]) for found in self.knobs]


def is_installed() -> bool:
    """Whether Optuna can be imported."""
    return importlib.util.find_spec("optuna") is not None


def n_trials(n_knobs: int) -> int:
    """Number of trials of a search over `n_knobs` knobs."""
    return TRIALS[min(n_knobs, len(TRIALS)) - 1]


def tune(
    start: Candidate,
    knobs: Sequence[Found],
    at: At,
    evidence: Evidence,
    seed: int,
    on_trial: Callable[[int, int], None] = lambda _done, _of: None,
) -> list[Trial]:
    """Play trials of the knobs' values, the configured ones, which are those of `start`, first.

    Where every replication of `start` is the same run, a trial is played once. The same arguments play the same trials.
    """
    sampler = _Sampler(knobs, seed)
    on_trial(0, n_trials(len(knobs)))
    size, most = min(REPLICATIONS, evidence.most), n_trials(len(knobs))
    evidence.reach({start: min(2, size)})
    evidence.reach({start: size})
    tried: list[Trial] = []
    n_asked = n_straight = 0
    while n_asked < most:
        if n_asked >= sampler.n_first:
            sampler.suggest(_straight(tried, n_straight))
            n_straight += 1
        asked = sampler.ask(min(_AT_ONCE, most - n_asked))
        found = [(at(values), values, places) for values, places in asked]
        if not n_asked:
            found[0] = (start, {one.key: one.value for one in knobs}, asked[0][1])
        _play([c for c, _, _ in found if c is not None], evidence, size, evidence.repeats(start))
        for candidate, values, places in found:
            trial = None if candidate is None else _trial(candidate, values, places, evidence, size)
            sampler.tell(trial)
            tried += [] if trial is None else [trial]
        n_asked += len(asked)
        on_trial(n_asked, most)
    return tried


def cheapest(trials: Sequence[Trial], evidence: Evidence, than: Candidate | None = None) -> Trial | None:
    """The cheapest trial that meets the SLO by as many replications as the search needs; shown to cost less than a
    candidate, if one is given. None: there is none."""
    limit_usd = None if than is None else trials[0].usd * (1 - _LEAST_SAVING)
    left = sorted(
        {t.candidate: t for t in trials if t.short <= 0 and (limit_usd is None or t.usd < limit_usd)}.values(),
        key=lambda t: t.usd,
    )
    for _ in range(_SETTLED):
        if not left:
            break
        first = left[0]
        if evidence.settle(first.candidate).meets:
            return first if than is None or _saves(first.candidate, than, evidence) else None
        left = [t for t in left[1:] if t.short < first.short]
    return None


def rounder(best: Trial, at: At, evidence: Evidence) -> tuple[Trial, list[Trial]]:
    """(a trial of values with fewer digits that plays the very same runs, or `best` without one; what was tried).

    A threshold on whole requests has many values of one effect: of 4 to 4.99 say 4.
    """
    runs, tried = evidence.samples[best.candidate], []
    for digits in range(1, DIGITS):
        values = {key: rounded(value, digits) for key, value in best.values.items()}
        candidate = at(values)
        if candidate is None or candidate == best.candidate:
            continue
        for size in (min(REPLICATIONS, len(runs)), len(runs)):
            _play([candidate], evidence, size, evidence.repeats(best.candidate))
            is_same = all(map(same_run, runs, evidence.samples[candidate]))
            if not is_same:
                break
        tried.append(_trial(candidate, values, best.places, evidence, len(evidence.samples[candidate])))
        if is_same:
            return tried[-1], tried
    return best, tried


def _saves(candidate: Candidate, than: Candidate, evidence: Evidence) -> bool:
    evidence.reach(dict.fromkeys((candidate, than), max(len(evidence.samples[c]) for c in (candidate, than))))
    return evidence.is_dearer(than, candidate)


def _play(candidates: Sequence[Candidate], evidence: Evidence, size: int, repeats: bool) -> None:
    if repeats:
        evidence.assume_repeats(*candidates)
    else:
        evidence.reach(dict.fromkeys(candidates, size))


def _trial(
    candidate: Candidate, values: Mapping[str, float], places: tuple[float, ...], evidence: Evidence, size: int
) -> Trial:
    samples = evidence.samples[candidate][:size]
    usd = sum(s.usd for s in samples) / len(samples)
    return Trial(candidate, values, places, usd, _short(samples, evidence.target))


def _short(samples: Sequence[Sample], target: float) -> float:
    """Attainment missing, <= 0 if it meets the SLO; of applications with SLOs of their own that of the worst."""
    asked = [
        (sum(s.by_application[name][0] for s in samples), sum(s.by_application[name][1] for s in samples), own)
        for name, (_, _, own) in samples[0].by_application.items()
    ]
    asked = asked or [(sum(s.attained for s in samples), sum(s.calls for s in samples), target)]
    shares = [(attained / calls, share) for attained, calls, share in asked if calls]
    if not shares:
        return target
    short = max(share - attained for attained, share in shares)
    return min(short, 0.0) if all(reaches(attained, share) for attained, share in shares) else short


def _straight(tried: Sequence[Trial], number: int) -> tuple[float, ...] | None:
    """The places of the trial of this number that is not left to the sampler; None: nothing met the SLO so far."""
    meeting = [t for t in tried if t.short <= 0]
    if not meeting:
        return None
    best = min(meeting, key=lambda t: t.usd)
    turn, is_step = divmod(number, 2)
    if is_step and len(best.places) > 1:
        return _step(best.places, turn)
    beyond = [t for t in tried if t.short > 0 and t.usd < best.usd]
    if not beyond:
        return None
    nearest = min(beyond, key=lambda t: max(abs(a - b) for a, b in zip(t.places, best.places, strict=True)))
    return tuple((a + b) / 2 for a, b in zip(best.places, nearest.places, strict=True))


def _step(places: tuple[float, ...], turn: int) -> tuple[float, ...]:
    """A step along one knob, each knob up and down in turn, by steps that are halved after each round."""
    n_round, place = divmod(turn, 2 * len(places))
    knob, is_up = divmod(place, 2)
    step = _FIRST_STEP / 2**n_round * (1 if is_up else -1)
    return tuple(min(max(p + step, 0.0), 1.0) if i == knob else p for i, p in enumerate(places))


class _Sampler:
    """Optuna's TPE over the places of knobs, each from 0 to 1, in memory. Trials are told in the order of `ask`."""

    def __init__(self, knobs: Sequence[Found], seed: int):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._failed = optuna.trial.TrialState.FAIL
        self._knobs = {found.key: _wide(found) for found in knobs}
        self._space: dict[str, Any] = {key: optuna.distributions.FloatDistribution(0.0, 1.0) for key in self._knobs}
        self.n_first = _SPREAD_FIRST + len(knobs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.n_first)
            self._study = optuna.create_study(direction="minimize", sampler=sampler)
        self._open: list[Any] = []
        self.suggest([self._knobs[found.key].place(found.value) for found in knobs])
        for number in range(1, self.n_first):
            self.suggest([_halton(number, _BASES[i % len(_BASES)]) for i in range(len(knobs))])

    def suggest(self, places: Sequence[float] | None) -> None:
        """Places of a trial that comes before those of the sampler; None: the sampler has its say."""
        if places is not None:
            self._study.enqueue_trial(dict(zip(self._knobs, places, strict=True)))

    def ask(self, n: int) -> list[tuple[dict[str, float], tuple[float, ...]]]:
        """(values, places) of the next n trials."""
        self._open = [self._study.ask(self._space) for _ in range(n)]
        places = [tuple(trial.params[key] for key in self._knobs) for trial in self._open]
        return [
            ({key: knob.at(place) for (key, knob), place in zip(self._knobs.items(), row, strict=True)}, row)
            for row in places
        ]

    def tell(self, trial: Trial | None) -> None:
        """What came of the first trial that is open; None: it is no valid scenario."""
        asked = self._open.pop(0)
        if trial is None:
            self._study.tell(asked, state=self._failed)
            return
        asked.set_constraint("slo", trial.short)
        self._study.tell(asked, trial.usd)


def _wide(found: Found) -> Knob:
    """The range with the configured value in it."""
    knob = found.knob
    return knob._replace(low=min(knob.low, found.value), high=max(knob.high, found.value))


def _halton(number: int, base: int) -> float:
    """A number of the sequence of Halton (1960), which fills (0, 1) evenly.

    >>> [_halton(number, 2) for number in (1, 2, 3, 4)]
    [0.5, 0.25, 0.75, 0.125]
    """
    place, part = 0.0, 1.0
    while number:
        part /= base
        place += part * (number % base)
        number //= base
    return place
