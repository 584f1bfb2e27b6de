"""Cost against p99 TTFT of every idle timeout and warm floor, and one server beside its closed form."""

from __future__ import annotations

from math import exp
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from experiments.running import Play, main
from sim.hardware.fits import weight_bytes_per_gpu
from sim.report.figures import DPI, PALETTE
from sim.report.pooling import CI_SUFFIX
from sim.report.verdict import is_yes
from sim.scenarios import scenario
from sim.units import DAY_S, HOUR_S, MONTH_S

SMALL = {
    "horizon_s": 7200,
    "replications": 1,
    "arrivals.rate_per_s": 0.02,
    "arrivals.mean_burst_s": 60,
    "engine.max_num_seqs": 1,
    "cold_start": "snapshot",
    "scaling.idle_timeout_s": 60,
}
STARTS = {"snapshot": ("19 s", PALETTE[2]), "warm_node": ("40 s", PALETTE[0]), "cold_node": ("8 min", PALETTE[1])}
FLOORS = {0: "o", 1: "s", 2: "^", 3: "*"}
MOST_REPLICAS = 3
RATE_PER_S = 0.01
ONE_SERVER = (  # a burst no busier than the mean is steady traffic
    "arrivals.burst_factor=1", f"arrivals.rate_per_s={RATE_PER_S}", "lengths=fixed", "cold_start.spread_sigma=0",
    "scaling.max_replicas=1", "scaling.min_replicas=0", "arrivals.mean_burst_s=300",
    "horizon_s=300000", "warmup_s=5000",
)  # fmt: skip


def paid_fraction_and_wait_s(rate_per_s: float, service_s: float, timeout_s: float, setup_s: float):
    """(share of time paid, mean wait in s) of one server with idle timeout and setup: Poisson arrivals, all else fixed.

    Vacation-queue argument, after Takagi, Queueing Analysis I (1991).
    """
    gone, load = exp(-rate_per_s * timeout_s), rate_per_s * service_s
    setups = 1 + gone * rate_per_s * setup_s
    cycle_s = setups / (rate_per_s * (1 - load))
    paid_s = (1 - gone) / rate_per_s + gone * setup_s + setups * service_s / (1 - load)
    queueing_s = rate_per_s * service_s**2 / (2 * (1 - load))
    return paid_s / cycle_s, queueing_s + gone * (2 * setup_s + rate_per_s * setup_s**2) / (2 * setups)


def draw_frontier(axes: Axes, rows: pd.DataFrame) -> None:
    """Cost against p99 TTFT of one burst length; a line joins the idle timeouts of one floor and cold start."""
    for (start, floor), line in rows.groupby(["cold_start", "scaling.min_replicas"], sort=False):
        line = line.sort_values("scaling.idle_timeout_s", key=lambda s: s.astype(float))
        line = line.head(1) if int(floor) == MOST_REPLICAS else line  # The idle timeout has no effect: none may leave.
        colour = "#222222" if int(floor) == MOST_REPLICAS else STARTS[start][1]
        axes.plot(line["ttft_p99_s"], line["usd_per_day"], color=colour, linewidth=0.9, alpha=0.6)
        axes.errorbar(
            line["ttft_p99_s"], line["usd_per_day"], xerr=_whiskers(line), fmt="none", ecolor=colour, alpha=0.3,
            elinewidth=1,
        )  # fmt: skip
        for size, point in zip((22, 42, 66, 95), line.to_dict("records"), strict=False):
            face = colour if is_yes(point["meets_slo"]) else "white"
            looks = dict(marker=FLOORS[int(floor)], edgecolor=colour, facecolor=face, linewidth=1.2, zorder=3)
            axes.scatter(point["ttft_p99_s"], point["usd_per_day"], s=size, **looks)
    axes.set(xscale="log", title=f"bursts of {float(rows['arrivals.mean_burst_s'].iloc[0]):g} s", xlabel="p99 TTFT, s")
    axes.axvline(2.0, color="#444444", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        "SLO", (2.0, 1), xycoords=("data", "axes fraction"), xytext=(3, -9), textcoords="offset points", size=8
    )


def _whiskers(line: pd.DataFrame) -> np.ndarray:
    middle, half = line["ttft_p99_s"].to_numpy(float), line["ttft_p99_s" + CI_SUFFIX].fillna(0).to_numpy(float)
    return np.array([np.minimum(half, 0.7 * middle), half])


def draw_closed_form(axes: Axes, rows: pd.DataFrame) -> None:
    """Mean TTFT against cost of one replica: curves on paper, dots played, hollow where the engine batches."""
    timeouts_s = np.concatenate(([0], np.geomspace(1, 3000, 60)))
    first_s, service_s = first_and_service_s(rows)
    usd_per_day = float((rows["usd_gpu"] / rows["gpu_hours_paid"]).mean()) * DAY_S / HOUR_S
    for start, group in rows.groupby("cold_start", sort=False):
        colour, setup_s = STARTS[start][1], setup_seconds(start)
        curve = [paid_fraction_and_wait_s(RATE_PER_S, service_s, t, setup_s) for t in timeouts_s]
        paid, wait_s = np.array(curve).T
        axes.plot(wait_s + first_s, paid * usd_per_day, color=colour, linewidth=1.2)
        for slots, some in group.groupby("engine.max_num_seqs"):
            axes.errorbar(
                some["ttft_mean_s"], some["usd_per_day"], xerr=some["ttft_mean_s" + CI_SUFFIX].fillna(0),
                fmt="." if int(slots) == 1 else "D", markersize=9 if int(slots) == 1 else 7, color=colour, elinewidth=1,
                markerfacecolor=colour if int(slots) == 1 else "white", zorder=3 if int(slots) == 1 else 2,
            )  # fmt: skip
    axes.set(xscale="log", xlabel="mean TTFT, s", title="one replica, a steady trickle")


def first_and_service_s(rows: pd.DataFrame) -> tuple[float, float]:
    """(time to first token, time on the server), in s, of a request alone: from the row with the longest timeout."""
    slots, timeout_s = rows["engine.max_num_seqs"].astype(int), rows["scaling.idle_timeout_s"].astype(float)
    alone = rows[(slots == 1) & (timeout_s == timeout_s.max())].iloc[0]
    return float(alone["ttft_p50_s"]), float(alone["ttft_p50_s"] + alone["e2e_mean_s"] - alone["ttft_mean_s"])


def setup_seconds(cold_start: str) -> float:
    """Seconds of a cold start without spread."""
    one = scenario(gpu="l4", cold_start=cold_start)
    return one.cold_start.median_s(weight_bytes_per_gpu(one.model, one.engine))


def legend(figure: Figure) -> None:
    """What colours, marks, sizes and filling mean."""
    grey = dict(color="#555555", linestyle="none", markerfacecolor="white")
    marks = [Line2D([], [], color=colour, linewidth=3, label=f"cold start {name}") for name, colour in STARTS.values()]
    names = {0: "no warm replica", 1: "one", 2: "two", 3: "three, always on"}
    marks += [Line2D([], [], marker=mark, label=names[floor], **grey) for floor, mark in FLOORS.items()]
    marks += [
        Line2D([], [], marker="o", markersize=size, label=f"idle timeout {timeout}", **grey)
        for size, timeout in ((4.5, "5 s"), (9.5, "20 min"))
    ]
    marks += [Line2D([], [], marker="o", color="#555555", linestyle="none", label="meets the SLO")]
    marks += [Line2D([], [], color="#555555", label="right: closed form")]
    marks += [Line2D([], [], marker=".", markersize=9, color="#555555", linestyle="none", label="played, one slot")]
    marks += [Line2D([], [], marker="D", markersize=6, label="played, eight slots", **grey)]
    figure.legend(handles=marks, loc="outside right upper", frameon=False, fontsize=8.5)


def answer(play: Play, folder: Path) -> None:
    rows = play().frame
    single = play(*ONE_SERVER, part="one_server", axes={"engine.max_num_seqs": [1, 8]}).frame
    for table in (rows, single):
        table["usd_per_day"] = table["usd_per_month"] * DAY_S / MONTH_S
    lengths_s = list(dict.fromkeys(rows["arrivals.mean_burst_s"]))
    figure = Figure(figsize=(4.1 * len(lengths_s) + 5.9, 4.7), layout="constrained")
    panels = figure.subplots(1, len(lengths_s) + 1, squeeze=False)[0]
    for axes, length_s in zip(panels, lengths_s, strict=False):
        draw_frontier(axes, rows[rows["arrivals.mean_burst_s"] == length_s])
    draw_closed_form(panels[-1], single)
    for axes in panels:
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.set_ylabel("USD a day")
    legend(figure)
    figure.savefig(folder / "cost_against_tail_latency.png", dpi=DPI)


if __name__ == "__main__":
    main(__file__, SMALL, answer)
