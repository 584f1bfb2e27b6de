"""`llm-traffic-sim plan`: the cheapest point of a grid over any keys of a scenario that meets its SLO."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.composition import Composition
from sim.errors import REFUSABLE, one_line
from sim.scenarios import Scenario
from sim.schema import ConfigError
from sim.study.folder import digest
from sim.study.search.evidence import Candidate, Evidence
from sim.study.search.family import Family
from sim.study.search.lab import Lab, Progress, Words
from sim.study.search.race import FRESH_REPLICATIONS, Answer, search
from sim.study.search.ranges import Ranges, range_in
from sim.study.search.relaxation import Relaxation, relaxations
from sim.study.search.wording import answer_data, answer_lines, count_line, interval_data, relaxation_lines, wrapped
from sim.study.sweep import expand

MOST = 40
"""Replications of one scenario at most, unless told otherwise."""
_COUNTS = ("n_replicas", "min_replicas", "max_replicas")
"""Keys by whose size a family is bisected: with more replicas, more calls attain the SLO."""
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True, eq=False)
class Plan:
    """What `plan` found. As text: what the command line prints."""

    base: Scenario
    answer: Answer
    evidence: Evidence
    left_out: tuple[tuple[str, str], ...]
    """Combinations that are no valid scenario, with the reason."""
    n_scenarios: int
    """Scenarios of the full grid; 0 with ranges of which every number is allowed."""
    n_grid: int
    """Simulations that all of them would need, each with the most replications."""
    relaxed: tuple[Relaxation, ...]
    """Empty where something meets the SLO."""
    n_trials: int = 0
    """Of values in such ranges."""

    @property
    def feasible(self) -> bool:
        return self.answer.winner is not None

    def __str__(self) -> str:
        lines = list(answer_lines(self.answer, name_of))
        lines = lines or list(relaxation_lines(self.relaxed, name_of))
        if self.answer.open:
            lines.append(f"NOT resolved whether they meet the SLO: {'; '.join(map(name_of, self.answer.open))}")
        lines += [f"left out: {name}: {reason}" for name, reason in self.left_out]
        lines.append(
            f"{self.answer.n_played} simulations, {self.n_trials} trials of values in ranges"
            if self.n_trials
            else count_line(self.answer, self.n_grid, self.n_scenarios)
        )
        if self.feasible:
            lines.append(f"the winner again, on fresh seeds: {self.command}")
        return wrapped(lines)

    @property
    def command(self) -> str:
        """The command line that plays the winner on the fresh seeds."""
        winner = self.answer.winner
        assert winner is not None and isinstance(winner.candidate, tuple)
        return command(self.base.composition, winner.candidate, 1 if winner.repeats else FRESH_REPLICATIONS)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return answer_data(self.answer, self.evidence, name_of) | {
            "left_out": [{"name": name, "reason": reason} for name, reason in self.left_out],
            "simulations_of_the_full_grid": self.n_grid,
            "scenarios": self.n_scenarios,
            "trials": self.n_trials,
            "relaxations": [
                {"what": r.what, "words": r.candidate, "usd_per_month": interval_data(r.cost)} for r in self.relaxed
            ],
            "command": self.command if self.feasible else None,
        }


def command(base: Composition, words: Words, replications: int) -> str:
    """The command line that plays a candidate on the fresh seeds."""
    changed = base.changed([*words, f"seed={int(base.config['seed']) + 1}", f"replications={replications}"], {})
    return " ".join(["llm-traffic-sim run", *changed.words.values()])


def name_of(candidate: Candidate) -> str:
    """A candidate by the words that make it."""
    assert isinstance(candidate, tuple)
    return " ".join(candidate) or "the scenario as it is"


def axes(over: Sequence[str]) -> dict[str, list[str]]:
    """Values by key: of `gpu=l4,l40s` these two, of `scaling.n_replicas=1..12` these twelve. Raises ConfigError.

    Words that ask for every number of a range are none of these (`sim.study.search.ranges`).
    """
    found: dict[str, list[str]] = {}
    for word in over:
        key, _, values = word.partition("=")
        if given := _RANGE.fullmatch(values):
            low, high = int(given[1]), int(given[2])
            if high < low:
                raise ConfigError(f"--over {word}: {low}..{high} must rise")
            found[key] = [str(value) for value in range(low, high + 1)]
            continue
        try:
            points = expand(None, {}, [word])
        except REFUSABLE as error:
            raise ConfigError(f"--over {word}: {one_line(error).removeprefix('error: ')}") from None
        for point in points:
            for name, value in point.items():
                found.setdefault(name, []).append(value)
    return found


def families_of(values: dict[str, list[str]], lab: Lab) -> tuple[list[Family], list[tuple[str, str]]]:
    """The families of a grid, and its combinations that are no valid scenario, with the reason.

    The first key that counts replicas makes the ladders; every combination of the others is a family. Raises
    ConfigError if no combination is a valid scenario.
    """
    ladder_key = next((key for key in values if key.rpartition(".")[2] in _COUNTS), None)
    rest = {key: texts for key, texts in values.items() if key != ladder_key}
    rungs = [""] if ladder_key is None else [f"{ladder_key}={n}" for n in sorted(values[ladder_key], key=float)]
    families, left_out = [], []
    for point in itertools.product(*rest.values()):
        fixed = [f"{key}={text}" for key, text in zip(rest, point, strict=True)]
        ladder = []
        for rung in rungs:
            words = tuple(word for word in (*fixed, rung) if word)
            try:
                scenario = lab.scenario(words)
                ladder.append(words)
            except ConfigError as error:
                left_out.append((name_of(words), one_line(error).removeprefix("error: ")))
        if ladder:
            rises = not scenario.has_api and scenario.scaling.kind == "always_on" and not scenario.pools
            families.append(Family(name_of(tuple(fixed)), tuple(ladder), cost_rises=rises))
    if not families:
        raise ConfigError(left_out[0][1])
    return families, left_out


def plan(
    base: Scenario, over: Sequence[str], most: int = MOST, folder: Path = Path("outputs/plan"), n_jobs: int = -1
) -> Plan:
    """Find the cheapest combination of the values that meets the SLO. Raises ConfigError.

    `over` as on the command line. What is played is kept in a folder below `folder`, named after the base scenario: the
    same question goes on from there, and a wider one plays only what is new.
    """
    if most < 1:
        raise ConfigError(f"--most = {most}: must be >= 1")
    own = folder / digest(base.composition.config)
    lab, fresh = (Lab(base.composition, own, n_jobs, is_fresh) for is_fresh in (False, True))
    ranges = dict(found for word in over if (found := range_in(word, base)) is not None)
    families, left_out = families_of(axes([word for word in over if range_in(word, base) is None]), lab)
    evidence = Evidence(lab, base.slo.attainment_fraction, most)
    progress = Progress(len(families), lambda: evidence.n_played)
    if ranges:
        searched = Ranges(lab, ranges, evidence, progress)
        answer = searched.answer(families, fresh, name_of)
        relaxed = () if answer.winner else tuple(relaxations(evidence))
        return Plan(base, answer, evidence, tuple(left_out), 0, 0, relaxed, searched.n_trials)
    answer = search(families, evidence, fresh, progress.family)
    n_grid = sum(1 if evidence.repeats(family.ladder[-1]) else most for family in families for _ in family.ladder)
    relaxed = () if answer.winner else tuple(relaxations(evidence))
    n_scenarios = sum(len(family.ladder) for family in families)
    return Plan(base, answer, evidence, tuple(left_out), n_scenarios, n_grid, relaxed)
