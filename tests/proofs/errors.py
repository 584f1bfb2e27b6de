"""How often the SLO's judgement is wrong, in worlds whose attainment is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sim.report.attainment import INDIFFERENCE, Verdict, judge, judge_at_look, look_sizes

TARGET = 0.99
CALLS = 10_000
MOST = 100

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""Attained fractions of these numbers of replications."""


class World(NamedTuple):
    """Replications of one fleet: how their attained fractions are drawn, and the mean of these."""

    name: str
    mean: float
    draw: Draw


def spread_out(mean: float, deviation: float) -> World:
    """Every replication a little different (beta): traffic of many small bursts."""
    size = mean * (1 - mean) / deviation**2 - 1
    return World(
        f"all differ a little, attainment {mean:.3f} ± {deviation:.3f}",
        mean,
        lambda rng, n: rng.beta(mean * size, (1 - mean) * size, n),
    )


def now_and_then(share: float, loss: float) -> World:
    """A share of the replications falls short by so much, and the others not at all: one burst that is too long."""
    return World(
        f"{share:.0%} of replications lose {loss:.0%} of their calls, attainment {1 - share * loss:.3f}",
        1 - share * loss,
        lambda rng, n: np.where(rng.random(n) < share, 1 - loss, 1.0),
    )


WORLDS = (
    spread_out(0.985, 0.010),
    spread_out(TARGET - INDIFFERENCE - 0.001, 0.004),
    spread_out(TARGET + INDIFFERENCE + 0.001, 0.004),
    spread_out(0.996, 0.003),
    now_and_then(0.31, 0.38),
    now_and_then(0.31, 0.05),
    now_and_then(0.31, 0.02),
    now_and_then(0.10, 0.15),
    now_and_then(0.06, 0.40),
    now_and_then(0.02, 0.30),
    now_and_then(1.0, 0.0),
)


def outcomes(world: World, n: int, macro_runs: int, rng: np.random.Generator) -> Counter[Verdict]:
    """Verdicts of `judge` over macro-runs of n replications each."""
    found: Counter[Verdict] = Counter()
    for _ in range(macro_runs):
        found[judge(_attained(world, n, rng), [CALLS] * n, TARGET).verdict] += 1
    return found


def sequential_outcomes(world: World, macro_runs: int, rng: np.random.Generator) -> tuple[Counter[Verdict], float]:
    """Verdicts of the sequential test at its last look, and the mean number of replications it took."""
    found, taken = Counter[Verdict](), 0
    for _ in range(macro_runs):
        attained, sizes = _attained(world, MOST, rng), look_sizes(MOST)
        for size in sizes:
            verdict = judge_at_look(attained[:size], [CALLS] * size, TARGET, sizes).verdict
            if verdict is not Verdict.NOT_RESOLVED:
                break
        found[verdict] += 1
        taken += size
    return found, taken / macro_runs


def naive_outcomes(world: World, macro_runs: int, rng: np.random.Generator) -> Counter[Verdict]:
    """The wrong twin: yes if every replication reaches the target, with three replications."""
    found: Counter[Verdict] = Counter()
    for _ in range(macro_runs):
        good = all(a >= TARGET * CALLS for a in _attained(world, 3, rng))
        found[Verdict.MEETS if good else Verdict.MISSES] += 1
    return found


def wrong(world: World) -> Verdict | None:
    """The verdict that would be an error; None within the indifference zone."""
    if abs(world.mean - TARGET) <= INDIFFERENCE:
        return None
    return Verdict.MEETS if world.mean < TARGET else Verdict.MISSES


def _attained(world: World, n: int, rng: np.random.Generator) -> list[int]:
    return np.rint(CALLS * world.draw(rng, n)).astype(int).tolist()
