"""One scenario, all its replications: simulate, audit, sum up, price, summarize, and only then an interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sim.ledger.audit import audit
from sim.ledger.bill import bill, money
from sim.ledger.usage import Usage
from sim.report.intervals import over_replications
from sim.report.metrics import summarize
from sim.scenarios import Scenario
from sim.simulation import Run, simulate


@dataclass(frozen=True, eq=False)
class Result:
    """What a scenario gave: one summary over its replications, and what it rests on, replication by replication."""

    summary: dict[str, Any]
    per_replication: list[dict[str, Any]]
    usages: list[Usage]
    bills: list[pd.DataFrame]
    runs: list[Run]  # empty unless kept
    notes: tuple[str, ...]  # what a reader of the results should know


def replicate(
    scenario: Scenario, keep_runs: bool = False, tell: Callable[[int, int], None] = lambda done, of: None
) -> Result:
    """Run every replication of `scenario`. `tell(done, of)` is called after each. Raises SimError.

    A run holds every request; keep them only for tables and figures.
    """
    rows, usages, bills, runs, notes = [], [], [], [], {}
    for replication in range(scenario.replications):
        run = simulate(scenario, scenario.seed, replication)
        audit(run.facts)
        usage = Usage.from_facts(run.facts)
        lines = bill(usage, scenario.prices, *priced_names(scenario))
        rows.append(summarize(run.facts, usage, money(lines, usage), scenario.slo))
        usages.append(usage)
        bills.append(lines)
        notes |= dict.fromkeys(run.notes)
        if keep_runs:
            runs.append(run)
        tell(replication + 1, scenario.replications)
    return Result(over_replications(rows), rows, usages, bills, runs, tuple(notes))


def priced_names(scenario: Scenario) -> tuple[str, str]:
    """The names under which the price tables know this scenario's GPU and model."""
    return scenario.gpu.name, scenario.model.name
