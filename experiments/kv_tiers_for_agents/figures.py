"""Coding agents on one card: what host memory behind its KV memory does to hits, first tokens and $ per session."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from experiments.drawing import GREY, PALETTE, name, panels, save
from experiments.running import Play, main
from sim.hardware.fits import kv_memory_bytes
from sim.report.estimators import Interval, Support, mean
from sim.scenarios import scenario
from sim.units import GB

SMALL = {"horizon_s": 36_000, "engine.max_num_seqs": 8, "tasks.turns_per_session.max": 8}
CAPACITY, RATE = "kv_tiers.host.capacity_gb", "arrivals.rate_per_s"
CAPACITIES_GB = (25, 50, 100, 200, 400)
RATES_PER_S = (0.0015, 0.002, 0.0025, 0.003, 0.0035, 0.004)
"""Sessions per second, mean over a week."""
SHOWN_PER_S = 0.0025
SEEDS = range(1, 6)
WITHIN_FRACTION = 0.95
COLUMNS = [
    CAPACITY, RATE, "seed", "tasks", "usd_total", "slo_attainment_fraction", "ttft_mean_s", "ttft_p95_s",
    "prefix_hit_fraction", "kv_gpu_hit_fraction",
]  # fmt: skip


def played(play: Play) -> pd.DataFrame:
    """One row per memory, rate and seed; the memory is 0 GB without a tier."""
    axes = {RATE: play.some(RATES_PER_S), "seed": play.some(SEEDS)}
    without = play("kv_tiers=none", part="none", axes=axes).frame.assign(**{CAPACITY: 0.0})
    tiers = play(part="host", axes={CAPACITY: play.some(CAPACITIES_GB), **axes}).frame
    rows = pd.concat([without, tiers], ignore_index=True)[COLUMNS].copy()
    rows[[CAPACITY, RATE]] = rows[[CAPACITY, RATE]].astype(float)
    rows["usd_per_session"] = rows["usd_total"] / rows["tasks"]
    rows["gpu_hit_fraction"] = rows["kv_gpu_hit_fraction"].astype(float).fillna(rows["prefix_hit_fraction"])
    return rows


def at_the_limit(rows: pd.DataFrame, key: str) -> float:
    """`key` of one day at the load at which the SLO is just kept, between the last rate that keeps it and the next.

    Where every rate keeps it, or none, that of the last or first rate.
    """
    day = rows.sort_values(RATE)
    kept, value = day["slo_attainment_fraction"].to_numpy(float), day[key].to_numpy(float)
    first_over = next((i for i, fraction in enumerate(kept) if fraction < WITHIN_FRACTION), len(kept))
    if first_over in (0, len(kept)):
        return float(value[min(first_over, len(kept) - 1)])
    before, after = kept[first_over - 1], kept[first_over]
    share = (before - WITHIN_FRACTION) / (before - after)
    return float(value[first_over - 1] + share * (value[first_over] - value[first_over - 1]))


def by_day(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """`key` at the limit of each day: a row per memory, a column per seed."""
    found = {
        gb: {seed: at_the_limit(day, key) for seed, day in some.groupby("seed")} for gb, some in rows.groupby(CAPACITY)
    }
    return pd.DataFrame(found).T


def draw(rows: pd.DataFrame, card_gb: float, path: Path) -> None:
    """Left: first tokens and hits of one load. Right: what a session costs at the highest load within the SLO."""
    figure, (first_tokens, cost) = panels(
        "With 100 GB behind it the card computes 4 % of the input, not 36 %",
        "Twice the card's KV memory halves the price of a session", width=6.4, height=4.4,
    )  # fmt: skip
    rates = sorted(rows[RATE].unique())
    shown = rows[rows[RATE] == min(rates, key=lambda rate: abs(rate - SHOWN_PER_S))]
    labels = [f"{gb:g}" for gb in sorted(rows[CAPACITY].unique())]
    for at, (_, some) in enumerate(shown.groupby(CAPACITY)):
        first_tokens.plot([at] * len(some), some["ttft_p95_s"], "o", color=PALETTE[0], markersize=5, alpha=0.6)
        hits = some[["gpu_hit_fraction", "prefix_hit_fraction"]].mean()
        text = f"{hits['gpu_hit_fraction']:.0%} + {hits['prefix_hit_fraction'] - hits['gpu_hit_fraction']:.0%}"
        name(first_tokens, at, some["ttft_p95_s"].max(), text, GREY, (0, 6))
    sessions = shown["tasks"].mean()
    first_tokens.set(yscale="log", ylabel=f"p95 of time to first token, s (log), {sessions:.0f} sessions a day")
    first_tokens.margins(y=0.15)
    first_tokens.set_xlabel("host memory, GB; each point a day; hits in the card + in the host, of input tokens")
    prices = by_day(rows, "usd_per_session")
    cost.plot(range(len(labels)), prices, "o-", color=GREY, alpha=0.4, linewidth=0.8, markersize=3)
    cost.plot(range(len(labels)), prices.mean(axis=1), "o-", color=PALETTE[1], linewidth=1.8)
    for at, ratio in enumerate((prices / prices.iloc[0]).mean(axis=1)):
        name(cost, at, prices.iloc[at].mean(), f"{ratio - 1:+.0%}" if at else "mean of the days", PALETTE[1], (6, 8))
    cost.set(ylabel="USD per session at the highest load within the SLO", ylim=(0, None))
    cost.set_xlabel(f"host memory, GB; the card itself holds {card_gb:.0f} GB of KV")
    for axes in (first_tokens, cost):
        _ticks(axes, labels)
    save(figure, path)


def _ticks(axes: Axes, labels: list[str]) -> None:
    axes.set_xticks(range(len(labels)), ["none", *labels[1:]])
    axes.set_xlim(-0.5, len(labels) - 0.5)


def answer(play: Play, folder: Path) -> None:
    """Play every memory, load and day; draw, and print the table of the README."""
    rows = played(play)
    base = scenario(f"+experiment={play.question}")
    draw(rows, kv_memory_bytes(base.gpu, base.model, base.engine) / GB, folder / "memory_of_the_host.png")
    keys = ["gpu_hit_fraction", "prefix_hit_fraction", "ttft_mean_s", "ttft_p95_s", "slo_attainment_fraction", "tasks"]
    print(rows.groupby([CAPACITY, RATE])[keys].mean().round(3).to_string())
    for key in ("tasks", "usd_per_session"):
        days = by_day(rows, key)
        print(f"{key} at the highest load within the SLO, and over that without a tier on the same day")
        for gb, ratios in (days / days.iloc[0]).iterrows():
            ratio: Interval = mean(list(ratios), Support.NON_NEGATIVE)
            print(f"{gb:6g} GB: {days.loc[gb].mean():.3f}; {ratio.mean:.3f} ({ratio.low:.3f} to {ratio.high:.3f})")


if __name__ == "__main__":
    main(__file__, SMALL, answer)
