"""One run per load of a node of eight H100s, billed as owned, held, on demand, spot and serverless."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.drawing import CI_SUFFIX, GREY, JUDGED, PALETTE, limit, measured, name, panels, save
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
DRAWN = {
    "owned": (4, (10, 0)),
    "on demand": (1, (-6, -6)),
    "by the month (article 003)": (2, (8, 8)),
    "spot, never taken back": (2, (-8, -8)),
    "serverless": (4, (0, 10)),
}
"""The plans in the figure, and where the name of each stands."""
METERED = ("on demand", "spot, never taken back", "serverless")


def answer(play: Play, folder: Path) -> None:
    """Play the loads once, bill them by every plan, draw, print the bills and where owning wins."""
    table = play()
    played, tokens = table.frame, table.frame["input_tokens"] + table.frame["output_tokens"]
    paid_replica_s = played["gpu_hours_paid"] * HOUR_S / GPUS_PER_REPLICA
    peak_tokens_per_s = float((tokens / played["token_fraction_of_peak"] / paid_replica_s).median())
    of_node = tokens / (GPUS / GPUS_PER_REPLICA * peak_tokens_per_s * DAY_S)
    paid = played["gpu_hours_paid"] / (GPUS * DAY_S / HOUR_S)
    bills = {plan: table.reprice(*words).frame for plan, words in play.some(PLANS.items())}
    figure, (cost, duty) = panels(
        "Owning beats renting from a sixth of the tokens", "because tokens are not hours", width=6.2, height=4.8
    )
    draw_cost(cost, of_node, bills, peak_tokens_per_s)
    draw_duty(duty, of_node, played)
    save(figure, folder / "cost_by_use_of_the_node.png")
    columns = [
        "gpu_hours_paid",
        "cold_starts",
        "busy_fraction_of_paid",
        "token_fraction_of_peak",
        "batch_fill_fraction",
    ]
    shown = played[[*columns, "ttft_p99_s", "slo_attainment_fraction"]].assign(of_node=of_node, paid=paid)
    usd = {plan: bill["usd_total"] for plan, bill in bills.items()}
    shown = shown.assign(**usd, api=tokens * API_USD_PER_MTOK / 1e6)
    print(shown.T.to_string(float_format="{:.4g}".format))
    for plan in (plan for plan in METERED if plan in bills):
        print(f"{plan}: {crossing(of_node, paid, bills, plan)}")


def draw_cost(axes: Axes, of_node: pd.Series, bills: dict[str, pd.DataFrame], peak_tokens_per_s: float) -> None:
    """Cost per million tokens over the share of the node's tokens; owned on paper is rent over that share."""
    key = "usd_per_mtok_total"
    shown = [plan for plan in DRAWN if plan in bills]
    for plan, colour in zip(shown, PALETTE, strict=False):
        measured(axes, of_node, bills[plan], key, colour, plan, DRAWN[plan])
    shares = np.geomspace(of_node.min(), 1, 50)
    node_speed = GPUS / GPUS_PER_REPLICA * peak_tokens_per_s
    paper = [usd_per_mtok(GPUS * node().usd_per_gpu_hour, node_speed, share) for share in shares]
    axes.plot(shares, paper, color=GREY, linestyle="--", linewidth=1.2)
    name(axes, 0.8, paper[-4], "owned, on paper", GREY, (2, 8))
    axes.axhline(API_USD_PER_MTOK, color="#444444", linewidth=1)
    name(axes, 1, API_USD_PER_MTOK, r"API: \$0.88", "#444444", (-2, 3))
    axes.set(xscale="log", yscale="log", ylabel="USD per million tokens (log)")
    axes.set_xlabel(f"tokens, of what the node could serve (log); {JUDGED}", size=8.5)
    axes.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["2 %", "5 %", "10 %", "20 %", "50 %", "100 %"])
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
    axes.minorticks_off()


def draw_duty(axes: Axes, of_node: pd.Series, played: pd.DataFrame) -> None:
    """What an elastic fleet pays for, and the duties above which owning is cheaper on paper."""
    node_hours = GPUS * DAY_S / HOUR_S
    paid = played.assign(**{f"paid{end}": played[f"gpu_hours_paid{end}"] / node_hours for end in ("", CI_SUFFIX)
                            if f"gpu_hours_paid{end}" in played})  # fmt: skip
    measured(axes, of_node, paid, "paid", PALETTE[0], "an elastic fleet, played", (len(paid) - 1, (-8, 6)))
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2)
    name(axes, 0.72, 0.72, "on paper: hours = tokens", GREY, (8, -6))
    for plan, words in PLANS.items():
        if plan in METERED and (duty := own_from(words).value):
            limit(axes, duty, f"owning wins above, against {plan}: {duty:.0%}", 0.99, offset=(-1, 3))
    axes.set(xlim=(0, 1), ylim=(0, 1.06), xlabel="tokens, of what the node could serve", ylabel="GPU-hours paid for")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{share:.0%}")


@cache
def node() -> OwnedNode:
    """The node of conf/prices/owned_8xh100.yaml."""
    return scenario(prices="owned_8xh100").prices.gpu.nodes["h100_sxm"]


@cache
def own_from(words: tuple[str, ...]):
    """The duty above which owning is cheaper than this metered list, on paper: the ratio of the hourly prices."""
    metered = scenario(*words).prices.gpu.usd_per_gpu_s("h100_sxm")
    return serverless_breakeven_duty(node().usd_per_gpu_hour / HOUR_S, metered)


def crossing(of_node: pd.Series, paid: pd.Series, bills: dict[str, pd.DataFrame], plan: str) -> str:
    """The use from which an owned node is cheaper than plan `plan`: on paper, and as played, between two loads."""
    more = (bills[plan]["usd_total"] - bills["owned"]["usd_total"]).to_numpy()
    on_paper = f"on paper from {own_from(PLANS[plan]).needed:.0%} of the hours"
    for i in range(1, len(more)):
        if more[i - 1] < 0 <= more[i]:
            part = -more[i - 1] / (more[i] - more[i - 1])
            tokens, hours = (float(np.interp(part, [0, 1], both[i - 1 : i + 1])) for both in (of_node, paid))
            return f"{on_paper}, as played from {tokens:.0%} of the tokens, {hours:.0%} of the hours"
    where = "everywhere" if more[0] >= 0 else f"nowhere up to {of_node.iloc[-1]:.0%}"
    return f"{on_paper}, as played {where}"


if __name__ == "__main__":
    main(__file__, SMALL, answer)
