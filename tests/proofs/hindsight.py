"""Random worlds in which several policies serve the same traffic: none may cost less than the bound in hindsight."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from sim.ledger.audit import audit
from sim.ledger.bill import bill, money
from sim.ledger.usage import Usage
from sim.records import Outcome
from sim.scenarios import Scenario, compose_config, parse
from sim.simulation import simulate
from sim.study.hindsight import Hindsight, hindsight
from sim.study.replicate import priced_names

POLICIES = (
    ("scaling=always_on", "scaling.n_replicas=1"),
    ("scaling=always_on", "scaling.n_replicas=3"),
    ("scaling=scale_to_zero", "scaling.idle_timeout_s=20"),
    ("scaling=scale_to_zero", "scaling.idle_timeout_s=300"),
    ("scaling=runpod_request_count",),
    ("scaling=warm_floor",),
)
BASE = ("horizon_s=900", "engine=linear_server", "prices=nebius_on_demand", "cold_start.spread_sigma=0")


class Played(NamedTuple):
    """One policy in one world: its bill, the bound from its own run, which tasks finished and which were in time."""

    usd_gpu: float
    bound: Hindsight
    finished: frozenset[int]
    in_time: frozenset[int]

    def does_at_least(self, other: Played) -> bool:
        """Whether it finished and served in time all that the other did."""
        return self.finished >= other.finished and self.in_time >= other.in_time


@cache
def _config(policy: int) -> dict[str, Any]:
    from omegaconf import OmegaConf

    found: Any = OmegaConf.to_container(compose_config(*BASE, *POLICIES[policy]), resolve=True)
    return found


def world(rng: np.random.Generator) -> list[Scenario]:
    """One random world: traffic, engine, limits and billing; a scenario for each of three policies."""
    seed, plan = int(rng.integers(1 << 30)), _plan(rng)
    rate_per_s = float(10 ** rng.uniform(-2.5, -0.2))
    engine = {
        "max_num_seqs": int(rng.choice([1, 2, 4, 16, 64])), "max_num_batched_tokens": 2048,
        "step_time": {
            "kind": "affine", "base_s": float(10 ** rng.uniform(-3, -0.7)),
            "per_sequence_s": float(10 ** rng.uniform(-4, -1.5)),
            "per_context_token_s": float(rng.choice([0.0, 1e-7, 1e-6])),
            "per_prefill_token_s": float(rng.choice([0.0, 1e-5, 1e-3])),
        },
    }  # fmt: skip
    slo = {
        "ttft_s": float(10 ** rng.uniform(-0.5, 2)), "tpot_s": [None, 0.05, 0.3][rng.integers(3)],
        "e2e_s": [None, 5.0, 60.0][rng.integers(3)],
    }  # fmt: skip
    start = {"engine_start_s": float(10 ** rng.uniform(0, 2.3))}
    found = []
    for policy in rng.choice(len(POLICIES), 3, replace=False):
        config = copy.deepcopy(_config(int(policy)))
        config |= {"seed": seed, "warmup_s": float(rng.choice([0.0, 60.0])) if not found else found[0].warmup_s}
        config["arrivals"]["rate_per_s"] = rate_per_s
        config["lengths"] = {"kind": "uniform", "max_input_tokens": 200, "max_output_tokens": 60, "low_fraction": 0.2}
        config["engine"] |= engine
        config["slo"] |= slo
        config["cold_start"] |= start
        config["prices"]["gpu"] |= plan
        found.append(parse(config))
    return found


def _plan(rng: np.random.Generator) -> dict[str, Any]:
    """By the second, with a minimum, or by the hour; starts are billed or not."""
    granularity_s, minimum_s = [(1.0, 0.0), (1.0, 60.0), (60.0, 300.0), (3600.0, 0.0)][rng.integers(4)]
    return {
        "billing_granularity_s": granularity_s, "minimum_s": minimum_s, "bills_cold_start": bool(rng.integers(4)),
    }  # fmt: skip


def played(scenario: Scenario) -> Played:
    """The scenario, played once."""
    run = simulate(scenario, measure_peak=False)
    audit(run.facts)
    usage = Usage.from_facts(run.facts)
    figures = money(bill(usage, scenario.prices, *priced_names(scenario)), usage)
    bound = hindsight(run, figures)
    assert bound is not None
    requests = run.facts.requests
    done = (requests["outcome"] == Outcome.FINISHED, scenario.slo.attained(requests))
    finished, in_time = (frozenset(requests["task_id"][rows].tolist()) for rows in done)
    return Played(float(figures["usd_gpu"] or 0.0), bound, finished, in_time)


def too_high(n_worlds: int, seed: int = 1) -> tuple[list[str], list[float]]:
    """(the worlds in which a policy costs less than a bound on it, bound / own bill of every run).

    The bound of a run holds for its own bill, and for that of every policy that does at least as much.
    """
    found, shares = [], []
    for number, rng in zip(range(n_worlds), _streams(seed), strict=False):
        runs = [played(scenario) for scenario in world(rng)]
        for one in runs:
            if one.usd_gpu:
                shares.append(one.bound.usd / one.usd_gpu)
            for other in runs:
                if not other.does_at_least(one):
                    continue
                if one.bound.usd > other.usd_gpu * (1 + 1e-9) + 1e-12:
                    found.append(f"world {number}: bound {one.bound.usd}, paid {other.usd_gpu}")
    return found, shares


def _streams(seed: int) -> Iterator[np.random.Generator]:
    number = 0
    while True:
        yield np.random.default_rng([seed, number])
        number += 1
