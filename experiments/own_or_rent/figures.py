"""One run per load of a node of eight H100s, billed as owned, held, on demand, spot and serverless."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.drawing import CI_SUFFIX, PALETTE, measured, panels, save
from experiments.running import Play, main
from sim.ledger.breakeven import serverless_breakeven_duty, usd_per_mtok
from sim.ledger.ownership import OwnedNode
from sim.scenarios import scenario
from sim.units import DAY_S, HOUR_S

SMALL = {"replications": 1, "arrivals.exact_tasks": [100, 1000], "engine.max_num_seqs": 8}
GPUS, GPUS_PER_REPLICA, API_USD_PER_MTOK = 8, 2, 0.88  # the API: conf/prices/market_2026.yaml, 70B
CAPITAL = "prices.gpu.nodes.h100_sxm.cost_of_capital=0.1"
PLANS = {  # name: the price list and what is changed in it; held ones are paid around the clock
    "owned": ("prices=owned_8xh100", f"prices.gpu.gpus={GPUS}"),
    "on demand": ("prices=market_2026",),
    "owned, capital at 10 %": ("prices=owned_8xh100", f"prices.gpu.gpus={GPUS}", CAPITAL),
    "by the month (article 003)": ("prices=article_003_monthly", f"prices.gpu.gpus={GPUS}"),
    "reserved (AWS block)": ("prices=aws_capacity_block_reserved", f"prices.gpu.gpus={GPUS}"),
    "spot, never taken back": ("prices=nebius_spot",),
    "serverless": ("prices=runpod_serverless_flex",),
}
METERED = ("on demand", "spot, never taken back", "serverless")


def answer(play: Play, folder: Path) -> None:
    """Play the loads once, bill them by every plan, draw, print the bills and where owning wins."""
    table = play()
    played, tokens = table.frame, table.frame["input_tokens"] + table.frame["output_tokens"]
    paid_replica_s = played["gpu_hours_paid"] * HOUR_S / GPUS_PER_REPLICA
    peak_tokens_per_s = float((tokens / played["token_fraction_of_peak"] / paid_replica_s).median())
    of_node = tokens / (GPUS / GPUS_PER_REPLICA * peak_tokens_per_s * DAY_S)
    paid = played["gpu_hours_paid"] / (GPUS * DAY_S / HOUR_S)
    bills = {name: table.reprice(*words).frame for name, words in play.some(PLANS.items())}
    figure, (cost, duty) = panels("What a million tokens costs", "Hours paid for, of the node's", width=6.2, height=4.8)
    draw_cost(cost, of_node, bills, peak_tokens_per_s)
    draw_duty(duty, of_node, paid, played)
    save(figure, folder / "cost_by_use_of_the_node.png")
    columns = [
        "gpu_hours_paid",
        "cold_starts",
        "busy_fraction_of_paid",
        "token_fraction_of_peak",
        "batch_fill_fraction",
    ]
    shown = played[[*columns, "ttft_p99_s", "slo_attainment_fraction"]].assign(of_node=of_node, paid=paid)
    usd = {name: bill["usd_total"] for name, bill in bills.items()}
    shown = shown.assign(**usd, api=tokens * API_USD_PER_MTOK / 1e6)
    print(shown.T.to_string(float_format="{:.4g}".format))
    for name in (name for name in METERED if name in bills):
        print(f"{name}: {crossing(of_node, paid, bills, name)}")


def draw_cost(axes: Axes, of_node: pd.Series, bills: dict[str, pd.DataFrame], peak_tokens_per_s: float) -> None:
    """Cost per million tokens over the share of the node's tokens; owned on paper is rent over that share."""
    key = "usd_per_mtok_total"
    for (name, bill), colour in zip(bills.items(), PALETTE, strict=False):
        measured(axes, of_node, bill[key], bill[key + CI_SUFFIX], bill["meets_slo"], colour, label=name, linewidth=1.2)
    shares = np.geomspace(of_node.min(), 1, 50)
    node_speed = GPUS / GPUS_PER_REPLICA * peak_tokens_per_s
    paper = [usd_per_mtok(GPUS * node().usd_per_gpu_hour, node_speed, share) for share in shares]
    axes.plot(shares, paper, color="#666666", linestyle="--", linewidth=1.2, label="owned, on paper")
    axes.axhline(API_USD_PER_MTOK, color="#444444", linewidth=1)
    axes.annotate(
        "API: \\$0.88", (1, API_USD_PER_MTOK), xytext=(0, 3), textcoords="offset points", size=8.5, ha="right"
    )
    axes.set(xscale="log", yscale="log", ylabel="USD per million tokens (log)")
    axes.set_xlabel("tokens, of what the node could serve (log); hollow: misses the SLO")
    axes.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["2 %", "5 %", "10 %", "20 %", "50 %", "100 %"])
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)


def draw_duty(axes: Axes, of_node: pd.Series, paid: pd.Series, played: pd.DataFrame) -> None:
    """What an elastic fleet pays for, and the duties above which owning is cheaper on paper."""
    measured(axes, of_node, paid, played["gpu_hours_paid" + CI_SUFFIX] * paid / played["gpu_hours_paid"],
             played["meets_slo"], PALETTE[0], label="elastic fleet")  # fmt: skip
    axes.plot([0, 1], [0, 1], color="#666666", linestyle="--", linewidth=1.2, label="on paper: hours = tokens")
    for name, words in PLANS.items():
        if name in METERED and (duty := own_from(words).value):
            axes.axhline(duty, color="#444444", linewidth=1)
            axes.annotate(f"owning wins above, against {name}: {duty:.0%}", (0.99, duty), xytext=(0, 3), ha="right",
                          textcoords="offset points", size=8, color="#444444")  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.06), xlabel="tokens, of what the node could serve", ylabel="GPU-hours paid for")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(0, 0.9))


@cache
def node() -> OwnedNode:
    """The node of conf/prices/owned_8xh100.yaml."""
    return scenario(prices="owned_8xh100").prices.gpu.nodes["h100_sxm"]


@cache
def own_from(words: tuple[str, ...]):
    """The duty above which owning is cheaper than this metered list, on paper: the ratio of the hourly prices."""
    metered = scenario(*words).prices.gpu.usd_per_gpu_s("h100_sxm")
    return serverless_breakeven_duty(node().usd_per_gpu_hour / HOUR_S, metered)


def crossing(of_node: pd.Series, paid: pd.Series, bills: dict[str, pd.DataFrame], name: str) -> str:
    """The use from which an owned node is cheaper than plan `name`: on paper, and as played, between two loads."""
    more = (bills[name]["usd_total"] - bills["owned"]["usd_total"]).to_numpy()
    on_paper = f"on paper from {own_from(PLANS[name]).needed:.0%} of the hours"
    for i in range(1, len(more)):
        if more[i - 1] < 0 <= more[i]:
            part = -more[i - 1] / (more[i] - more[i - 1])
            tokens, hours = (float(np.interp(part, [0, 1], both[i - 1 : i + 1])) for both in (of_node, paid))
            return f"{on_paper}, as played from {tokens:.0%} of the tokens, {hours:.0%} of the hours"
    where = "everywhere" if more[0] >= 0 else f"nowhere up to {of_node.iloc[-1]:.0%}"
    return f"{on_paper}, as played {where}"


if __name__ == "__main__":
    main(__file__, SMALL, answer)
