"""Three utilizations and the price of a token over the offered load, steady and in bursts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.drawing import PALETTE, measured, panels, save
from experiments.running import Play, main
from sim.ledger.breakeven import usd_per_mtok
from sim.report.verdict import may_meet
from sim.units import HOUR_S

SMALL = {
    "replications": 1,
    "horizon_s": 300,
    "warmup_s": 30,
    "arrivals.burst_factor": [1, 4],
    "arrivals.exact_tasks": [300, 2400],
}
USD_PER_GPU_HOUR = 2.69  # conf/prices/market_2026.yaml, H100
ASSUMED = 0.7  # article 004's utilization
NAMES = {1: "steady", 2: "bursts of 2 x the mean", 4: "bursts of 4 x the mean"}
KINDS = {"busy_fraction_of_paid": ":", "token_fraction_of_peak": "-", "batch_fill_fraction": "--"}


def answer(play: Play, folder: Path) -> None:
    """Draw cost and the utilizations; print the table and the highest load that meets the SLO in every shape."""
    table = play().frame
    table["factor"] = table["arrivals.burst_factor"].astype(float)
    table["rate"] = table["arrivals.exact_tasks"].astype(float) / (300 if play.small else HOUR_S)
    figure, (cost, use, slo) = panels("What a million output tokens costs", "Three utilizations", "Within the SLO")
    draw_cost(cost, table)
    for (factor, rows), colour in zip(table.groupby("factor"), PALETTE, strict=False):
        if factor in (1, 4):
            for key, style in KINDS.items():
                use.plot(rows["rate"], rows[key], style, color=colour, marker="o", markersize=3.5)
        key = "slo_attainment_fraction"
        measured(slo, rows["token_fraction_of_peak"], rows, key, colour)
    for key, style in KINDS.items():
        use.plot([], [], style, color="#444444", label=key)
    use.axhline(ASSUMED, color="#666666", linewidth=1)
    use.annotate("assumed: 0.7", (1, ASSUMED), xytext=(0, 3), textcoords="offset points", size=8, color="#444444")
    slo.annotate("assumed: 0.7", (ASSUMED, 0.9), xytext=(3, 0), textcoords="offset points", size=8, color="#444444")
    use.set(xscale="log", xlabel="requests per second (log)", ylabel="fraction", ylim=(0, 1.3))
    slo.axvline(ASSUMED, color="#666666", linewidth=1)
    slo.axhline(0.99, color="#444444", linewidth=1, linestyle=(0, (4, 3)))
    slo.set(xlabel="token_fraction_of_peak", ylabel="requests within the SLO", ylim=(0, 1.05))
    for axes in (cost, use):
        axes.legend(frameon=False, fontsize=8.5, loc="upper right")
        axes.set_xticks([1, 2, 4, 8, 16, 30], ["1", "2", "4", "8", "16", "30"])
        axes.minorticks_off()
    save(figure, folder / "three_utilizations.png")
    print_answer(table)


def draw_cost(axes: Axes, table: pd.DataFrame) -> None:
    """Measured cost per shape, the same on paper (rent over rate until the card is full), and at the assumed load."""
    key, rates = "usd_per_mtok_output", np.geomspace(1, 30, 60)
    peak, per_request = peak_output_tokens_per_s(table), output_tokens_per_request(table)
    paper = [usd_per_mtok(USD_PER_GPU_HOUR, min(rate * per_request, peak)) for rate in rates]
    axes.plot(rates, paper, color="#666666", linestyle="--", linewidth=1.2, label="on paper")
    for (factor, rows), colour in zip(table.groupby("factor"), PALETTE, strict=False):
        measured(axes, rows["rate"], rows, key, colour, label=NAMES[factor])
    at_assumed = usd_per_mtok(USD_PER_GPU_HOUR, peak, ASSUMED)
    axes.axhline(at_assumed, color="#666666", linewidth=1)
    axes.annotate(
        f"at an assumed 70 %: ${at_assumed:.2f}", (1, at_assumed), xytext=(0, 3), textcoords="offset points", size=8,
        color="#444444",
    )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="requests per second (log)", ylabel="USD (log)")
    axes.set_yticks([0.2, 0.5, 1, 2, 4], ["0.2", "0.5", "1", "2", "4"])


def output_tokens_per_request(table: pd.DataFrame) -> float:
    """Mean output tokens of a finished request, over all scenarios."""
    return float(table["output_tokens"].sum() / table["requests_finished"].sum())


def peak_output_tokens_per_s(table: pd.DataFrame) -> float:
    """Output tokens per second of the saturated card, computed from the scenario that used it most."""
    full = table.loc[table["token_fraction_of_peak"].idxmax()]
    per_s = USD_PER_GPU_HOUR / HOUR_S / full["usd_per_mtok_output"] * 1e6
    return float(per_s / full["token_fraction_of_peak"])


def print_answer(table: pd.DataFrame) -> None:
    """Print the table, and the highest load of every shape that meets the SLO."""
    columns = ["factor", "rate", "usd_per_mtok_output", *KINDS, "ttft_p99_s", "slo_attainment_fraction", "meets_slo"]
    print(table[columns].to_string(index=False, float_format="{:.3f}".format))
    print(f"saturated: {peak_output_tokens_per_s(table):.0f} output tokens per second")
    for factor, rows in table[table.apply(may_meet, axis=1)].groupby("factor"):
        most = rows.loc[rows["rate"].idxmax()]
        print(f"{NAMES[factor]}: up to {most['rate']:g}/s, {most['token_fraction_of_peak']:.1%} of peak tokens")


if __name__ == "__main__":
    main(__file__, SMALL, answer)
