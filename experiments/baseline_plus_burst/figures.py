"""The cost of b replicas around the clock plus an API for the rest, played and as the newsvendor rule has it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.drawing import CI_SUFFIX, GREY, JUDGED, PALETTE, measured, name, panels, save
from experiments.running import Play, main
from sim.ledger.usage import Usage
from sim.moment_zero import MomentZero, on_the_clock
from sim.report.estimators import mean
from sim.scenarios import Scenario, scenario
from sim.simulation import peak_tokens_per_s
from sim.study.results import read_usages
from sim.study.table import Table
from sim.units import HOUR_S, MINUTE_S
from sim.workload.workload import Workload

SMALL = {"horizon_s": 1200, "replications": 1}
LISTS = {
    "market_2026": r"L4 \$0.67 an hour, API \$0.18 per Mtok: one pays",
    "runpod_serverless_active": r"L4 \$0.47, API \$0.05 / \$0.08: none does",
}
REPLICAS, RULE = "scaling.n_replicas", "routing.queue_per_replica"
TRIED = {0: (1, 2, 3), 1: (1, 2, 3, 6)}
"""Waiting requests per replica from which the API takes over, and the baselines tried."""
RULES = {
    0: ("API if anyone waits", PALETTE[0], (2, (-4, 8))),
    1: ("API if over 1 a replica waits", PALETTE[2], (2, (8, -8))),
}


class Paper(NamedTuple):
    """The inputs of the newsvendor rule.

    `load_replicas`: float64[minutes], the load in saturated replicas. `usd_per_full_hour`: the API's price of the
    tokens that one replica serves in a saturated hour.
    """

    load_replicas: np.ndarray
    usd_per_full_hour: float
    rent_usd_per_hour: float

    def used_hours_fraction(self, replica: int) -> float:
        """Share of the time that the replica-th replica is in use, if a replica is filled before the next one."""
        return float(np.clip(self.load_replicas - (replica - 1), 0, 1).mean())

    def usd(self, replicas: int) -> float:
        """Cost of the window: rent, and the API for the load above the replicas."""
        hours = len(self.load_replicas) * MINUTE_S / HOUR_S
        above = np.maximum(self.load_replicas - replicas, 0).mean()
        return hours * (replicas * self.rent_usd_per_hour + above * self.usd_per_full_hour)

    def best_replicas(self) -> int:
        """The newsvendor's choice: replicas are added while their used hours save more than their rent."""
        n = 0
        while self.used_hours_fraction(n + 1) * self.usd_per_full_hour > self.rent_usd_per_hour:
            n += 1
        return n


@cache
def scenario_of(prices: str) -> Scenario:
    return scenario("+experiment=baseline_plus_burst", prices=prices)


def on_paper(prices: str, usages: list[Usage]) -> Paper:
    """The diurnal rate in full replicas: tokens of a mean task over what one replica gives saturated."""
    scenario = scenario_of(prices)
    peak = peak_tokens_per_s(scenario, Workload(scenario.arrivals, scenario.lengths, scenario.tasks))
    tokens = sum(u.input_tokens + u.output_tokens for u in usages)
    usd = sum(api_only_usd(u, scenario) for u in usages)
    tasks, length_s = sum(u.tasks_finished for u in usages), usages[0].window.length_s
    arrivals = on_the_clock(scenario.arrivals, MomentZero.parse(str(scenario.starts_at)))
    tasks_by_minute = np.diff(arrivals.weekly_rate.integral(arrivals.start_s + np.arange(0, length_s + 1, MINUTE_S)))
    load = tasks_by_minute / MINUTE_S * tokens / tasks / peak
    rent = scenario.prices.gpu.usd_per_gpu_s(scenario.gpu.name) * HOUR_S
    return Paper(load, peak * HOUR_S * usd / tokens, rent)


def api_only_usd(usage: Usage, scenario: Scenario) -> float:
    """Cost of every token of the run at the API's list price; nothing has to be simulated for it."""
    tariff = scenario.prices.api.models[scenario.model.name]
    return (usage.input_tokens * tariff.usd_per_mtok_input + usage.output_tokens * tariff.usd_per_mtok_output) / 1e6


def draw_cost(axes: Axes, table: pd.DataFrame, alone: pd.DataFrame, paper: Paper) -> None:
    """Cost against baseline, played and on paper. `table`, `alone`: as `measured` takes them, of usd_total."""
    most = int(table[REPLICAS].max())
    curve = [paper.usd(n) for n in range(most + 1)]
    axes.plot(range(most + 1), curve, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)))
    name(axes, most - 2, curve[most - 2], "newsvendor, on paper", GREY, (8, -6))
    best = paper.best_replicas()
    axes.plot(best, paper.usd(best), "x", color=GREY, markersize=10, markeredgewidth=2, zorder=5)
    name(axes, best, paper.usd(best), "its choice", GREY, (0, -10))
    for rule, rows in table.groupby(RULE):
        words, colour, place = RULES[int(rule)]
        measured(axes, rows[REPLICAS], rows, "usd_total", colour, words, place)
    measured(axes, [0], alone, "usd_total", "#222222", "API alone", (0, (0, 8)))
    axes.set(ylabel="cost of three days, USD", ylim=(0, None), xlim=(-0.6, 6.6))


def answer(play: Play, folder: Path) -> None:
    """Play every baseline under both rules, bill it at both price lists, draw, and print the tables."""
    tables = [
        play(f"{RULE}={rule}", part=f"queue_{rule}", axes={REPLICAS: list(play.some(tried))})
        for rule, tried in TRIED.items()
    ]
    api = play("fleet=api_only", part="api").frame
    first = tables[0]
    usages = read_usages(first.folder / first.frame["folder"].iloc[0])[2]
    figure, all_axes = panels(*LISTS.values(), width=5.8)
    for axes, prices in zip(all_axes, LISTS, strict=True):
        paper = on_paper(prices, usages)
        found = pd.concat(
            [billed(table, prices).assign(**{RULE: rule}) for table, rule in zip(tables, TRIED, strict=True)]
        )
        draw_cost(axes, found, api_alone(api, usages, prices), paper)
        print_answer(found, paper, prices)
    figure.supxlabel(f"L4s around the clock; {JUDGED}", size=9)
    save(figure, folder / "cost_against_baseline.png")


def billed(table: Table, prices: str) -> pd.DataFrame:
    """The same runs at another price list."""
    return table.reprice(prices).frame.copy()


def api_alone(api: pd.DataFrame, usages: list[Usage], prices: str) -> pd.DataFrame:
    """One row: how the API alone keeps the SLO, and what it costs at list price for the tokens of these runs."""
    usd = mean([api_only_usd(usage, scenario_of(prices)) for usage in usages])
    return api.head(1).copy().assign(usd_total=usd.mean, **{f"usd_total{CI_SUFFIX}": usd.half_width})


def print_answer(found: pd.DataFrame, paper: Paper, prices: str) -> None:
    """Print cost, SLO and use of every baseline, and what the newsvendor rule says."""
    print(f"{prices}: a full hour saves ${paper.usd_per_full_hour:.2f}, rent ${paper.rent_usd_per_hour:.2f}")
    for n in range(int(found[REPLICAS].max()) + 1):
        print(f"  {n}: ${paper.usd(n):.0f} on paper, next replica in use {paper.used_hours_fraction(n + 1):.0%}")
    columns = [RULE, REPLICAS, "usd_total", "usd_total" + CI_SUFFIX, "usd_api", "slo_attainment_fraction"]
    columns += ["slo_judgement", "token_fraction_of_peak", "api_request_fraction"]
    print(found.reindex(columns=columns).to_string(index=False, float_format="{:.4g}".format))


if __name__ == "__main__":
    main(__file__, SMALL, answer)
