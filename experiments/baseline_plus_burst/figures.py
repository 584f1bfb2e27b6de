"""The cost of b replicas around the clock plus an API for the rest, played and as the newsvendor rule has it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.running import Play, main
from sim.ledger.bill import bill, money
from sim.ledger.usage import Usage
from sim.report.estimators import mean
from sim.report.figures import DPI, PALETTE
from sim.report.verdict import is_yes
from sim.scenarios import Scenario, scenario
from sim.simulation import peak_tokens_per_s
from sim.study.results import read_usages
from sim.study.table import Table
from sim.units import HOUR_S, MINUTE_S
from sim.workload.workload import Workload

SMALL = {"horizon_s": 1200, "replications": 1, "scaling.n_replicas": [1, 2], "routing.queue_per_replica": 0}
LISTS = {
    "market_2026": r"L4 \$0.67 an hour, API \$0.18 per Mtok",
    "runpod_serverless_active": r"L4 \$0.47 an hour, API \$0.05 / \$0.08 per Mtok",
}
RULES = {"0": ("API if anyone waits", PALETTE[0], "o"), "1": ("API if over 1 a replica waits", PALETTE[2], "s")}


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
    arrivals = scenario.arrivals
    tasks_by_minute = np.diff(arrivals.weekly_rate.integral(arrivals.start_s + np.arange(0, length_s + 1, MINUTE_S)))
    load = tasks_by_minute / MINUTE_S * tokens / tasks / peak
    rent = scenario.prices.gpu.usd_per_gpu_s(scenario.gpu.name) * HOUR_S
    return Paper(load, peak * HOUR_S * usd / tokens, rent)


def api_only_usd(usage: Usage, scenario: Scenario) -> float:
    """Cost of every token of the run at the API's list price; nothing has to be simulated for it."""
    tariff = scenario.prices.api.models[scenario.model.name]
    return (usage.input_tokens * tariff.usd_per_mtok_input + usage.output_tokens * tariff.usd_per_mtok_output) / 1e6


def priced(table: Table, prices: str) -> pd.DataFrame:
    """One row per scenario and replication: its cost at this price list, and that of the API alone."""
    scenario, found = scenario_of(prices), []
    for row in table.frame.to_dict("records"):
        gpu, model, usages = read_usages(table.folder / row["digest"] / "usage.json")
        for usage in usages:
            spent = money(bill(usage, scenario.prices, gpu, model), usage)
            found.append({
                "replicas": int(row["scaling.n_replicas"]), "rule": str(row["routing.queue_per_replica"]),
                "meets_slo": is_yes(row["meets_slo"]), "usd": spent["usd_total"], "usd_api": spent["usd_api"],
                "api_only_usd": api_only_usd(usage, scenario), "hours": usage.window.length_s / HOUR_S,
            })  # fmt: skip
    return pd.DataFrame(found)


def draw_cost(axes: Axes, found: pd.DataFrame, paper: Paper) -> None:
    """Cost against baseline, played and on paper."""
    most = found["replicas"].max()
    curve = [paper.usd(n) for n in range(most + 1)]
    axes.plot(
        range(most + 1), curve, color="#555555", linewidth=1.2, linestyle=(0, (4, 3)), label="newsvendor, on paper"
    )
    best = paper.best_replicas()
    axes.plot(best, paper.usd(best), "x", color="#555555", markersize=10, markeredgewidth=2, label="its choice")
    alone = mean(found.drop_duplicates("api_only_usd")["api_only_usd"].tolist())
    for rule, group in found.groupby("rule"):
        name, colour, mark = RULES[rule]
        cells = {n: mean(g["usd"].tolist()) for n, g in group.groupby("replicas")}
        meets = group.groupby("replicas")["meets_slo"].first()
        axes.plot([0, *cells], [alone.mean, *(c.mean for c in cells.values())], color=colour, linewidth=1, label=name)
        for n, cell in cells.items():
            axes.errorbar(
                n, cell.mean, yerr=cell.half_width, fmt=mark, color=colour, capsize=3, markersize=7, zorder=3,
                markerfacecolor=colour if meets[n] else "white", markeredgewidth=1.5,
            )  # fmt: skip
    axes.errorbar(0, alone.mean, yerr=alone.half_width, fmt="D", color="#222222", capsize=3, label="API only", zorder=4)
    axes.set(ylabel="cost of three days, USD", ylim=(0, None))


def draw_margin(axes: Axes, found: pd.DataFrame, paper: Paper) -> None:
    """Draw by how much each further replica lowers the API bill, in USD an hour, against its rent."""
    most = found["replicas"].max()
    steps = [paper.used_hours_fraction(n) * paper.usd_per_full_hour for n in range(1, most + 1)]
    axes.plot(range(1, most + 1), steps, color="#555555", linewidth=1.2, linestyle=(0, (4, 3)))
    axes.axhline(paper.rent_usd_per_hour, color=PALETTE[1], linewidth=1.2, label="rent of a replica")
    for rule, group in found.groupby("rule"):
        _, colour, mark = RULES[rule]
        bills = group.groupby("replicas")["usd_api"].mean()
        bills.loc[0] = group["api_only_usd"].mean()
        saved = -bills.sort_index().diff().dropna() / group["hours"].iloc[0]
        axes.plot(saved.index, saved, color=colour, marker=mark, linewidth=1, markersize=6)
    axes.set(xlabel="replicas around the clock", ylabel="saved by the last one, USD an hour", ylim=(0, None))
    axes.legend(frameon=False, fontsize=9)


def answer(play: Play, folder: Path) -> None:
    table = play()
    figure = Figure(figsize=(5.2 * len(LISTS), 7.4), layout="constrained")
    panels = figure.subplots(2, len(LISTS), sharex=True)
    usages = read_usages(table.folder / table.frame["digest"].iloc[0] / "usage.json")[2]
    for (upper, lower), (prices, name) in zip(panels.T, LISTS.items(), strict=True):
        found, paper = priced(table, prices), on_paper(prices, usages)
        draw_cost(upper, found, paper)
        draw_margin(lower, found, paper)
        upper.set_title(name, size=11)
    panels[0][0].legend(frameon=False, fontsize=9, loc="upper left")
    for axes in panels.ravel():
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "cost_against_baseline.png", dpi=DPI)


if __name__ == "__main__":
    main(__file__, SMALL, answer)
