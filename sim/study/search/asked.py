"""What the parts of a decision's defence need to know of its search, and the fleets that may win in other worlds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sim.measured.model_error import ModelError
from sim.scenarios import Scenario
from sim.study.search.contest import Contender, Contest
from sim.study.search.evidence import Candidate, World
from sim.study.search.portfolio import API_ALONE
from sim.study.search.race import Answer, Final
from sim.study.search.repriced import Billed
from sim.study.search.variation import Changes
from sim.units import MONTH_S
from sim.workload.arrivals.replay import Replay

REPLICATIONS = 3
"""Of each fleet at each changed input, where replications differ."""
LARGER = 1.25
"""A size that is looked at beside the next one: this many times as large."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What the parts below need to know of a search that has an answer."""

    answer: Answer
    world: World
    """Plays on the fresh seeds: windows of a long log."""
    whole: World
    """Plays the whole log on the fresh seeds; `world` itself for a log that is not long."""
    scenario: Callable[[Candidate], Scenario]
    config: Callable[[Candidate], Mapping[str, Any]]
    name_of: Callable[[Candidate], str]
    target: float
    bootstrap: str
    """How traffic is drawn anew: `days`, or `blocks` of a log of less than two days."""
    reuse_fraction: float | None
    error: ModelError | None
    today: date
    typed_prices: frozenset[str]
    """`gpu`, `api`: whose prices the user has given."""
    on_step: Callable[[str], None] = lambda _name: None

    @property
    def has_api_alone(self) -> bool:
        return any(API_ALONE in result.family.ladder for result in self.answer.searched)

    @property
    def winner(self) -> Final:
        assert self.answer.winner is not None
        return self.answer.winner


def billed(asked: Asked, final: Final) -> Billed:
    """A finalist as re-pricing needs it."""
    scenario = asked.scenario(final.candidate)
    cards = [pool.scenario.gpu.name for pool in scenario.pool_list]
    prices = asked.config(final.candidate)["prices"]
    return Billed(asked.name_of(final.candidate), prices, scenario.gpu.name, cards, scenario.model.name, final.samples)


def contest_of(asked: Asked) -> Contest:
    """The finalists, the next sizes of the winner, and the API alone."""
    found: dict[Candidate, None] = {final.candidate: None for final in asked.answer.finals}
    found |= dict.fromkeys(_neighbours(asked, asked.winner.candidate))
    if asked.has_api_alone:
        found[API_ALONE] = None
    return Contest(asked.world, [contender(asked, c) for c in found], asked.target, REPLICATIONS)


def contender(asked: Asked, candidate: Candidate) -> Contender:
    """A candidate with what it costs at the least, where that is known, and whether replications of it differ."""
    scenario = asked.scenario(candidate)
    usd = None
    if is_held(scenario):
        n_gpus = scenario.scaling.max_replicas * scenario.engine.tensor_parallel
        usd = scenario.prices.gpu.usd_per_gpu_s(scenario.gpu.name) * n_gpus * MONTH_S
    return Contender(candidate, asked.config(candidate), usd, usd is not None and _repeats_itself(scenario))


def _repeats_itself(scenario: Scenario) -> bool:
    return isinstance(scenario.arrivals, Replay) and scenario.arrivals.repeats_itself


def nothing(_config: Mapping[str, Any]) -> Changes:
    """The world as it is."""
    return ()


def _neighbours(asked: Asked, candidate: Candidate) -> list[Candidate]:
    ladder, place = ladder_of(asked, candidate)
    places = [place - 1, place + 1, math.ceil(LARGER * (place + 1)) - 1]
    return [ladder[p] for p in places if 0 <= p < len(ladder)]


def ladder_of(asked: Asked, candidate: Candidate) -> tuple[Sequence[Candidate], int]:
    """(the sizes of the candidate's family, its place among them)."""
    ladder = asked.answer.ladder(candidate)
    return ladder, ladder.index(candidate)


def is_held(scenario: Scenario) -> bool:
    """Whether the cost does not depend on traffic: replicas around the clock that are never lost, and nothing else."""
    return (
        scenario.has_fleet and not scenario.has_api and scenario.scaling.kind == "always_on" and not scenario.pools
        and scenario.reliability.spot is None and scenario.reliability.gpu_mtbf_hours is None
    )  # fmt: skip
