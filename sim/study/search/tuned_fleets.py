"""Which knobs the finalists of a decision have, and the search of their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sim.knob import Found, knobs_in, text
from sim.schema import ConfigError
from sim.study.search.evidence import Candidate, Evidence
from sim.study.search.lab import Lab, with_values
from sim.study.search.portfolio import Portfolio
from sim.study.search.tune import Tuning, cheapest, is_installed, rounder, tune

OnTrial = Callable[[str, int, int], None]
"""Called with the name of a fleet, the trials done, and how many there will be."""


class TunedFleets:
    """Turns the knobs of a portfolio's fleets; those whose value the question states stay as they are."""

    def __init__(self, lab: Lab, portfolio: Portfolio, evidence: Evidence, on_trial: OnTrial):
        self._lab, self._portfolio, self._evidence, self._on_trial = lab, portfolio, evidence, on_trial
        self.as_configured: list[str] = []
        """Keys of finalists' knobs that were not searched, as Optuna is not installed."""

    def knobs(self, candidate: Candidate) -> tuple[Found, ...]:
        """The knobs of a candidate that may be turned."""
        stated = self._lab.base.words
        return tuple(found for found in knobs_in(self._lab.scenario(candidate)) if found.key not in stated)

    def at(self, candidate: Candidate, values: Mapping[str, float]) -> Candidate | None:
        """The candidate with these values, which gets a name; None if they are no valid scenario."""
        turned = with_values(candidate, values)
        try:
            self._lab.scenario(turned)
        except ConfigError:
            return None
        last = [key.rpartition(".")[2] for key in values]
        short = last if len(set(last)) == len(last) else list(values)
        told = ", ".join(f"{key}={text(value)}" for key, value in zip(short, values.values(), strict=True))
        self._portfolio.names.setdefault(turned, f"{self._portfolio.names[candidate]}, {told}")
        return turned

    def tune(self, finalists: Sequence[Candidate]) -> list[Tuning]:
        """Search the values of every finalist that has knobs. Without Optuna: none, and `as_configured` is filled."""
        with_knobs = {candidate: knobs for candidate in finalists if (knobs := self.knobs(candidate))}
        if not is_installed():
            self.as_configured = list(dict.fromkeys(k.key for knobs in with_knobs.values() for k in knobs))
            return []
        return [self._tuned(candidate, knobs) for candidate, knobs in with_knobs.items()]

    def _tuned(self, candidate: Candidate, knobs: tuple[Found, ...]) -> Tuning:
        on_trial = partial(self._on_trial, self._portfolio.names[candidate])
        at = partial(self.at, candidate)
        trials = tune(candidate, knobs, at, self._evidence, self._lab.seed, on_trial)
        best = cheapest(trials, self._evidence, than=candidate)
        if best is None:
            return Tuning(candidate, knobs, tuple(trials), None, {})
        best, more = rounder(best, at, self._evidence)
        trials += more
        sizes = next(f.ladder for f in self._portfolio.families if candidate in f.ladder)
        ladder = tuple(c for size in sizes if (c := self.at(size, best.values)) is not None)
        return Tuning(candidate, knobs, tuple(trials), best.candidate, best.values, ladder)
