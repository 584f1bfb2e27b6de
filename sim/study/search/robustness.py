"""How far an answer can be trusted: distance to flip, error budget and break-even map, from the finalists alone.

Few simulations are played for it: the finalists, the next sizes of the winner, and the API alone, on the fresh seeds
and on the same traffic for all (common random numbers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.study.search.asked import Asked, billed, contest_of, is_held, nothing
from sim.study.search.break_even import BreakEven, break_even
from sim.study.search.budget import Budget
from sim.study.search.contest import Contest
from sim.study.search.error_parts import budget_of
from sim.study.search.evidence import Candidate
from sim.study.search.flip import Flip, nearest_first, played_flips, slo_flips
from sim.study.search.inputs import inputs
from sim.study.search.repriced import price_flips


@dataclass(frozen=True, eq=False)
class Robustness:
    """What was found. `n_played`: simulations for it."""

    flips: tuple[Flip, ...]
    budget: Budget
    map: BreakEven
    n_played: int


def robustness(asked: Asked) -> Robustness:
    """Flips, error budget and map of an answer. Raises SimError."""
    asked.on_step("finalists and their neighbours")
    contest = contest_of(asked)
    flips = all_flips(asked, contest)
    asked.on_step("error budget")
    budget = budget_of(asked, contest)
    asked.on_step("break-even map")
    table, n_played = break_even(asked)
    return Robustness(tuple(flips), budget, table, contest.n_played + n_played)


def all_flips(asked: Asked, contest: Contest) -> list[Flip]:
    """Of every input, the nearest first."""
    base = contest.standing(nothing, slack=math.inf)
    config = asked.config(asked.winner.candidate)
    starts_cold = any(
        not is_held(asked.scenario(c.candidate)) and _starts(asked, c.candidate) for c in contest.contenders
    )
    found = slo_flips(base, asked.target, contest.incumbent, asked.name_of)
    if len(asked.answer.finals) > 1:
        sides = [billed(asked, final) for final in asked.answer.finals]
        found += price_flips(sides[0], sides[1:])
    for one in inputs(config, asked.reuse_fraction, starts_cold):
        asked.on_step(f"distance to flip: {one.name}")
        found += played_flips(contest, one, asked.name_of)
    return nearest_first(found)


def _starts(asked: Asked, candidate: Candidate) -> bool:
    scenario = asked.scenario(candidate)
    kinds = {pool.scenario.scaling.kind for pool in scenario.pool_list} if scenario.has_fleet else set()
    is_lost = scenario.reliability.spot is not None or scenario.reliability.gpu_mtbf_hours is not None
    return bool(kinds - {"always_on"}) or is_lost
