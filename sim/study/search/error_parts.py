"""The parts of the error budget, each from what the contenders played, and all errors drawn at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sim.distributions import student_t_quantile
from sim.measured.model_error import ModelError
from sim.report.attainment import Verdict, reaches
from sim.study.search.asked import Asked, billed
from sim.study.search.budget import (
    LEAST,
    MEAN_ABSOLUTE_TO_STANDARD,
    NORMAL_95,
    Budget,
    Part,
    age_in_words,
    drift,
    in_squares,
    list_dates,
)
from sim.study.search.contest import Contest, Standing, leader
from sim.study.search.evidence import Candidate, Sample
from sim.study.search.inputs import slower_steps
from sim.study.search.repriced import Billed
from sim.study.search.variation import Changes

WORLDS = 20
"""Worlds in which all errors are drawn at once."""
_SURE = 0.95
_PRICE_SLACK = 2.0
"""In worlds with other prices, an owned fleet is left out only if it costs this many times the best one."""


def budget_of(asked: Asked, contest: Contest) -> Budget:
    """The error budget of the winner."""
    parts = [_seeds(asked), _traffic(asked, contest), *_engine(asked, contest), _prices(asked)]
    low, high = in_squares(parts)
    won = _worlds_won(asked, contest)
    together = Part(
        "together",
        low,
        high,
        won >= _SURE * WORLDS,
        f"parts added in squares; with all errors drawn at once the answer wins in {won} of {WORLDS} worlds",
    )
    return Budget(tuple(parts), together, WORLDS, won)


def _seeds(asked: Asked) -> Part:
    winner, difference = asked.winner, asked.answer.difference
    is_cheapest = difference is None or difference.excludes_zero or all(f.repeats for f in asked.answer.finals[:2])
    meets = winner.judgement.meets is True
    if winner.repeats:
        return Part("seeds", 0.0, 0.0, is_cheapest and meets, "exact: every replication is the same run")
    cost, base = winner.cost, winner.cost.mean or 1.0
    low, high = (0.0 if bound is None else bound / base - 1 for bound in (cost.low, cost.high))
    doubt = "" if winner.judgement.verdict is Verdict.MEETS else f"; the SLO is {winner.judgement.verdict}"
    basis = f"95 % interval of {winner.cost.replications} replications{doubt}"
    return Part("seeds", low, high, is_cheapest and meets, basis)


def _traffic(asked: Asked, contest: Contest) -> Part:
    """What serving the log would cost if its days, or blocks, had come in other numbers."""
    if asked.bootstrap == "days":
        finals = asked.answer.finals
        n = max(len(final.samples) for final in finals)
        worlds: list[Mapping[Candidate, Sequence[Sample]]] = [
            {f.candidate: [f.samples[i if len(f.samples) > 1 else 0]] for f in finals} for i in range(n)
        ]
        what = f"{n} draws of whole days of the log"
    else:
        if asked.whole is not asked.world:
            contest = Contest(asked.whole, contest.contenders[: len(asked.answer.finals)], asked.target, 1)
        worlds = [
            standing.samples
            for number in range(asked.answer.n_fresh)
            for standing in [contest.standing(_drawn_anew(asked), is_random=True, numbers=(number,))]
        ]
        what = f"{len(worlds)} draws of twelfths of the log, which show no other hours or days"
    leaders = [leader(samples, asked.target, lambda sample: sample.attained) for samples in worlds]
    base = asked.winner.cost.mean or 1.0
    costs = [samples[c][0].usd / base - 1 for c, samples in zip(leaders, worlds, strict=True) if c is not None]
    won = sum(c == asked.winner.candidate for c in leaders)
    basis = f"{what}: the answer wins in {won}"
    if len(costs) < len(worlds):
        return Part("traffic", None, None, False, f"{basis}; no finalist meets the SLO in {len(worlds) - len(costs)}")
    width = student_t_quantile(0.975, len(costs) - 1) * float(np.std(costs, ddof=1)) if len(costs) > 1 else 0.0
    return Part("traffic", max(-width, LEAST), width, won >= _SURE * len(worlds), basis)


def _drawn_anew(asked: Asked) -> Callable[[Mapping[str, Any]], Changes]:
    return lambda _config: (("arrivals.bootstrap", asked.bootstrap),)


def engine_uncertainty(error: ModelError | None) -> float:
    """Standard relative uncertainty of a step time: the larger of the mean absolute errors of throughput and of ITL,
    of an error that is taken to be normal. 0 without an engine."""
    errors = [] if error is None else [e for metric, (e, _) in error.errors.items() if metric in ("throughput", "itl")]
    return MEAN_ABSOLUTE_TO_STANDARD * max(errors, default=0.0)


def _engine(asked: Asked, contest: Contest) -> list[Part]:
    """What serving would cost if steps took shorter or longer; [] for an answer without GPUs."""
    if asked.error is None:
        return []
    spread = NORMAL_95 * engine_uncertainty(asked.error)
    base = asked.winner.cost.mean or 1.0
    ends: list[float | None] = []
    standings: list[Standing] = []
    for factor in (1 / (1 + spread), 1 + spread):
        standing = contest.standing(lambda config, factor=factor: slower_steps(factor, config))  # type: ignore[misc]
        standings.append(standing)
        ends.append(None if standing.leader is None else standing.usd(standing.leader) / base - 1)
    known = [end for end in ends if end is not None]
    doubt = " (constants borrowed)" if asked.error.is_borrowed else ""
    if any(family.tuned_on for _, family in asked.error.errors.values()):
        doubt += " on runs that its constants were set by, so at least"
    lost = [standing.leader for standing in standings if standing.leader != contest.incumbent]
    then = "" if not lost else f"; slower or faster, {asked.name_of(lost[0]) if lost[0] is not None else 'none'} wins"
    basis = f"steps {100 * spread:.0f} % shorter to longer, by measured errors of {asked.error.gpu}{doubt}{then}"
    low, high = min([0.0, *known]), None if None in ends else max([0.0, *known])
    return [Part("engine", low, high, not lost, basis)]


def _prices(asked: Asked) -> Part:
    """What the winner would cost at prices that have moved since their lists were made."""
    dates = list_dates(asked.config(asked.winner.candidate)["prices"])
    spreads = {
        side: 0.0 if side in asked.typed_prices else NORMAL_95 * drift(dates[side], asked.today) for side in dates
    }
    sides = [billed(asked, final) for final in asked.answer.finals]
    base = sides[0].usd_with(1.0, 1.0) or 1.0
    survives, squares = True, []
    for sign in (-1, 1):
        moved = []
        for side, spread in spreads.items():
            factors = tuple(math.exp(sign * spread) if side == name else 1.0 for name in ("gpu", "api"))
            costs = [one.usd_with(*factors) for one in sides]
            moved.append(costs[0] / base - 1)
            survives &= costs[0] <= min(costs)
        squares.append(sign * math.sqrt(sum(change**2 for change in moved)))
    words = []
    for side, as_of in dates.items():
        name = {"gpu": "GPU", "api": "API"}[side]
        age = age_in_words(as_of, asked.today)
        typed = side in asked.typed_prices
        words.append(f"{name} prices given by you" if typed else f"{name} list of {as_of}{f', {age}' if age else ''}")
    assumed = "" if not any(spreads.values()) else "; a list price is taken to drift by 20 % in a year"
    return Part("prices", squares[0], squares[1], survives, "; ".join(words) + assumed)


def _worlds_won(asked: Asked, contest: Contest) -> int:
    """In how many worlds, with steps, traffic, prices and seeds drawn at once, the winner is the best contender."""
    rng = np.random.default_rng(0)
    dates = list_dates(asked.config(asked.winner.candidate)["prices"])
    spread_gpu, spread_api = (0.0 if s in asked.typed_prices else drift(dates[s], asked.today) for s in ("gpu", "api"))
    spread_step = math.log1p(engine_uncertainty(asked.error))
    won = 0
    for number in range(WORLDS):
        step, gpu, api = np.exp(rng.standard_normal(3) * (spread_step, spread_gpu, spread_api)).tolist()

        def change(config: Mapping[str, Any], step: float = step) -> Changes:
            traffic = _drawn_anew(asked)(config) if asked.whole is asked.world else ()  # else windows are drawn anew
            return (*traffic, *slower_steps(step, config))

        standing = contest.standing(change, is_random=True, numbers=(number,), slack=_PRICE_SLACK)
        costs = {
            c: _repriced(asked, c, found[0], gpu, api)
            for c, found in standing.samples.items()
            if found[0].calls and reaches(found[0].attained / found[0].calls, asked.target)
        }
        won += bool(costs) and min(costs, key=lambda c: costs[c]) == contest.incumbent
    return won


def _repriced(asked: Asked, candidate: Candidate, sample: Sample, gpu: float, api: float) -> float:
    scenario = asked.scenario(candidate)
    one = Billed("", asked.config(candidate)["prices"], scenario.gpu.name, (), scenario.model.name, [sample])
    return one.usd_with(gpu, api)
