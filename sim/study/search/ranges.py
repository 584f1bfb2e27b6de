"""Ranges of keys that take any number in `plan`: `--over routing.queue_per_replica=0.5..8`, several at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from sim.knob import Found, Knob, knob_of
from sim.schema import Config, ConfigError
from sim.study.search.evidence import Candidate, Evidence, World
from sim.study.search.family import Came, Family, Searched
from sim.study.search.lab import Lab, Progress, with_values
from sim.study.search.race import Answer, finish, race
from sim.study.search.tune import INSTALL, At, Trial, cheapest, is_installed, rounder, tune

_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")
_LOG_FROM_RATIO = 10.0
"""Ends that are this many times apart are searched by ratios, where the field has no knob that says how."""


def range_in(word: str, base: Any) -> tuple[str, Knob] | None:
    """(key, range) of a word of `--over` that asks for every number of a range; None: it lists values, or counts.

    `base` is the scenario; a range of whole numbers is one of every number if the key takes any. Raises ConfigError.
    """
    key, _, values = word.partition("=")
    given = _RANGE.fullmatch(values)
    field = field_at(base, key)
    is_whole = given is not None and given[1].isdigit() and given[2].isdigit()
    if given is None or (is_whole and not (field is not None and float in _types(field.annotation))):
        return None
    low, high = float(given[1]), float(given[2])
    if field is not None and float not in _types(field.annotation):
        raise ConfigError(f"--over {word}: {key} takes no numbers between whole ones; say a range of whole numbers")
    if high <= low:
        raise ConfigError(f"--over {word}: {values} must rise")
    if not is_installed():
        raise ConfigError(f"--over {word}: a range is searched by Optuna: {INSTALL}; or list values: {key}=A,B,C")
    declared = None if field is None else knob_of(field)
    by_ratio = low if low > 0 and high >= _LOG_FROM_RATIO * low else None
    return key, Knob(low, high, by_ratio if declared is None else declared.log_from)


def field_at(config: Any, key: str) -> FieldInfo | None:
    """The field of a typed configuration at a dotted key; None: it has none there."""
    path, _, last = key.rpartition(".")
    holder = value_in(config, path) if path else config
    return type(holder).model_fields.get(last) if isinstance(holder, Config) else None


def value_in(config: Any, key: str) -> Any:
    """The value of a typed configuration at a dotted key; None where there is none."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    return config


def _types(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


class Ranges:
    """Searches families over ranges: the sizes of a family and the values of the keys together."""

    def __init__(self, lab: Lab, ranges: Mapping[str, Knob], evidence: Evidence, progress: Progress):
        self._lab, self._ranges, self._evidence, self._progress = lab, ranges, evidence, progress
        self.n_trials = 0

    def answer(self, families: Sequence[Family], fresh: World, name_of: Callable[[Candidate], str]) -> Answer:
        """The best of each family, raced and played on fresh seeds; of a single one beside what it began with."""
        found, begun = [], []
        for family in families:
            trials, at = self._trials(family, name_of)
            best = cheapest(trials, self._evidence)
            if best is not None:
                best, more = rounder(best, at, self._evidence)
                trials += more
            self.n_trials += len(trials)
            begun.append(trials[0].candidate)
            came = Came.SHORT if best is None else Came.MEETS
            found.append(Searched(family, came, None if best is None else best.candidate))
        meeting = [result.best for result in found if result.best is not None]
        if len(families) == 1 and meeting and self._evidence.settle(begun[0]).meets:
            meeting += begun
        return finish(found, race(meeting, self._evidence), self._evidence, fresh)

    def _trials(self, family: Family, name_of: Callable[[Candidate], str]) -> tuple[list[Trial], At]:
        """(what was tried, what makes a candidate of values). Raises ConfigError where the first is not valid."""
        knobs = [self._as_it_is(family.ladder[0], key, knob) for key, knob in self._ranges.items()]
        counted, counts = _counts(family)
        if counted:
            knobs.insert(0, Found(counted, Knob(counts[0], counts[-1]), counts[0]))

        def words(values: Mapping[str, float]) -> Candidate:
            wanted = values[counted] if counted else counts[0]
            place = min(range(len(counts)), key=lambda number: abs(counts[number] - wanted))
            return with_values(family.ladder[place], {key: values[key] for key in self._ranges})

        def at(values: Mapping[str, float]) -> Candidate | None:
            try:
                self._lab.scenario(words(values))
            except ConfigError:
                return None
            return words(values)

        start = words({knob.key: knob.value for knob in knobs})
        self._lab.scenario(start)
        on_trial = partial(self._progress.trial, name_of(start))
        return tune(start, knobs, at, self._evidence, self._lab.seed, on_trial), at

    def _as_it_is(self, candidate: Candidate, key: str, knob: Knob) -> Found:
        """The value that a key has, or the nearest in its range; the middle where it has none."""
        value = value_in(self._lab.scenario(candidate), key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return Found(key, knob, min(max(float(value), knob.low), knob.high) if is_number else knob.at(0.5))


def _counts(family: Family) -> tuple[str, list[float]]:
    """(the key that counts replicas, the count of each size); ('', [0]) for a single size."""
    if len(family.ladder) == 1:
        return "", [0.0]
    words = [rung[-1] for rung in family.ladder if isinstance(rung, tuple)]
    return words[0].partition("=")[0], [float(word.partition("=")[2]) for word in words]
