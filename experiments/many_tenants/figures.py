"""The least fleet that serves N pooled customers within the SLO, how busy it is, and the square-root law beside it."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.running import Play, main
from sim.report.figures import DPI, PALETTE

SMALL = {
    "horizon_s": 900,
    "replications": 1,
    "arrivals.n_sources": 2,
    "arrivals.rate_per_s": 0.01,
    "scaling.n_replicas": [1, 2],
}
SOURCES, REPLICAS = "arrivals.n_sources", "scaling.n_replicas"
BURST_TIME_FRACTION = 0.1
ATTAINMENT = 0.99


def least_fleets(table: pd.DataFrame) -> pd.DataFrame:
    """Per number of customers the smallest fleet that attains the SLO over its replications, and how it is used."""
    rows = []
    for n, group in table.groupby(table[SOURCES].astype(int)):
        good = group[group["slo_attainment_fraction"] >= ATTAINMENT]
        if len(good):
            best = good.loc[good[REPLICAS].astype(int).idxmin()]
            rows.append(best.to_dict() | {"n": n, "replicas": int(best[REPLICAS])})
    return pd.DataFrame(rows, columns=["n", "replicas", *table.columns] if not rows else None)


def draw_replications(axes: Axes, found: pd.DataFrame, every: pd.DataFrame, figure: str, **looks) -> list[float]:
    """The mean over replications as a line of marks, each replication as a faint dot; returns the means."""
    means = []
    for n, digest in zip(found["n"], found["digest"], strict=True):
        values = every.loc[every["digest"] == digest, figure]
        axes.plot([n] * len(values), values, ".", color=looks["color"], alpha=0.5, markersize=5)
        means.append(float(values.mean()))
    axes.plot(found["n"], means, linewidth=1, markersize=7, **looks)
    return means


def square_root_law(n: np.ndarray, at_most: float = 1.0) -> np.ndarray:
    """Mean load over the load that normal customers exceed 1 % of the time: 1 / (1 + c / sqrt(n)), times a ceiling.

    Of one customer that bursts p of the time at a fixed rate, standard deviation over mean is sqrt((1 - p) / p).
    """
    spread = sqrt((1 - BURST_TIME_FRACTION) / BURST_TIME_FRACTION)
    return at_most / (1 + NormalDist().inv_cdf(ATTAINMENT) * spread / np.sqrt(n))


def draw_use(axes: Axes, found: pd.DataFrame, every: pd.DataFrame, smooth: pd.DataFrame) -> None:
    """How busy the least fleet is against N, in tokens and in time, with the law on paper."""
    n = np.geomspace(1, 256, 80)
    axes.plot(n, square_root_law(n), color="#555555", linestyle=(0, (4, 3)), label="square-root law, on paper")
    if len(smooth):
        limit = float(smooth["token_fraction_of_peak"].iloc[0])
        axes.axhline(limit, color=PALETTE[1], linewidth=1.2)
        axes.annotate(
            f"no bursts at all: {limit:.0%}", (1, limit), xytext=(0, 4), textcoords="offset points", color=PALETTE[1],
            size=9,
        )  # fmt: skip
        axes.plot(
            n, square_root_law(n, limit), color=PALETTE[1], linestyle=(0, (1, 1.5)), label="the same below that ceiling"
        )
    for figure, name, colour, mark in (
        ("token_fraction_of_peak", "tokens of peak, played", PALETTE[0], "o"),
        ("busy_fraction_of_paid", "time with a request on it", PALETTE[2], "s"),
    ):
        draw_replications(axes, found, every, figure, color=colour, marker=mark, label=name)
    axes.set(
        xlabel="customers", ylabel="share of the paid fleet", ylim=(0, 1.1), title="the least fleet within the SLO"
    )
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(0.0, 1.0))


def draw_cost(axes: Axes, found: pd.DataFrame, every: pd.DataFrame) -> None:
    """Draw the cost of a million tokens in the least fleet, over the number of customers."""
    means = draw_replications(axes, found, every, "usd_per_mtok_total", color=PALETTE[0], marker="o")
    for n, usd, replicas in zip(found["n"], means, found["replicas"], strict=True):
        axes.annotate(f"{replicas}", (n, usd), xytext=(6, 6), textcoords="offset points", size=9)
    axes.axhline(0.18, color="#222222", linewidth=1.2)
    axes.set_yscale("log")
    axes.set_yticks([0.2, 0.5, 1, 2, 5])
    axes.annotate("API", (1, 0.18), xytext=(0, 4), textcoords="offset points", size=9)
    axes.set(xlabel="customers", ylabel="USD per million tokens", title="its price (figures: replicas)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda v, _: ""))


def answer(play: Play, folder: Path) -> None:
    table = play()
    smooth = play("arrivals.burst_factor=1", part="smooth", axes={SOURCES: [64], REPLICAS: [6, 7, 8, 9]}).frame
    found = least_fleets(table.frame)
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    use, cost = figure.subplots(1, 2)
    every = table.replications
    draw_use(use, found, every, least_fleets(smooth))
    draw_cost(cost, found, every)
    for axes in (use, cost):
        axes.set_xscale("log", base=2)
        axes.set_xlim(0.8, 300)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "utilization_against_customers.png", dpi=DPI)


if __name__ == "__main__":
    main(__file__, SMALL, answer)
