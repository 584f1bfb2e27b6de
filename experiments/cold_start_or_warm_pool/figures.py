"""Cost against p99 TTFT of every idle timeout and warm floor, and one server beside its closed form."""

from __future__ import annotations

from math import exp
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from experiments.drawing import CI_SUFFIX, GREY, JUDGED, PALETTE, Place, measured, name, panels, save
from experiments.running import Play, main
from sim.hardware.fits import weight_bytes_per_gpu
from sim.scenarios import scenario
from sim.units import DAY_S, HOUR_S, MONTH_S

SMALL = {
    "horizon_s": 7200,
    "replications": 1,
    "arrivals.rate_per_s": 0.02,
    "arrivals.mean_burst_s": 60,
    "engine.max_num_seqs": 1,
    "scaling.idle_timeout_s": 60,
}
START, FLOOR, TIMEOUT, BURST = "cold_start", "scaling.min_replicas", "scaling.idle_timeout_s", "arrivals.mean_burst_s"
STARTS = {"snapshot": ("19 s", PALETTE[2]), "warm_node": ("40 s", PALETTE[0]), "cold_node": ("8 min", PALETTE[1])}
BURSTS_S, TIMEOUTS_S = (60, 1800), (5, 300, 1200)
"""As in the sweep of conf/experiment/cold_start_or_warm_pool.yaml."""
MOST_REPLICAS = 3
FLEETS: dict[str, tuple[str, int, str, Place]] = {
    "none warm: starts in 40 s": ("warm_node", 0, PALETTE[0], (0, (6, -7))),
    "one warm": ("warm_node", 1, PALETTE[5], (0, (8, 0))),
    "two warm": ("warm_node", 2, PALETTE[6], (0, (8, 0))),
    "three: always on": ("warm_node", MOST_REPLICAS, "#222222", (0, (8, 4))),
    "in 19 s": ("snapshot", 0, PALETTE[2], (0, (-8, -2))),
    "in 8 min": ("cold_node", 0, PALETTE[1], (2, (0, 12))),
}
"""The lines of the figure: cold start, warm floor, colour, and where the name stands."""
FINDINGS = {
    60: "Bursts of a minute: only always on meets 2 s",
    1800: "Of half an hour: two warm stand at the SLO's edge",
}
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
    for fleet, (start, floor, colour, place) in FLEETS.items():
        line = rows[(rows[START] == start) & (rows[FLOOR].astype(int) == floor)]
        line = line.sort_values(TIMEOUT, key=lambda s: s.astype(float))
        if line.empty:
            continue
        axes.errorbar(
            line["ttft_p99_s"], line["usd_per_day"], xerr=_whiskers(line), fmt="none", ecolor=colour, alpha=0.5,
            elinewidth=1,
        )  # fmt: skip
        measured(axes, line["ttft_p99_s"], line, "usd_per_day", colour, fleet, place, linewidth=1)
        if start == "warm_node" and floor == 0 and float(line[BURST].iloc[0]) == BURSTS_S[0]:
            for row in line.to_dict("records")[1:]:
                timeout = f"idle for {float(row[TIMEOUT]) / 60:g} min"
                name(axes, row["ttft_p99_s"], row["usd_per_day"], timeout, colour, (8, 0))
    axes.set(xscale="log", xlabel="p99 TTFT, s (log)", xlim=(0.9, 2500), ylim=(0, 54))
    axes.axvline(2.0, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    name(axes, 2.0, 0, "SLO 2 s", GREY, (3, 3))


def _whiskers(line: pd.DataFrame) -> np.ndarray:
    middle, half = line["ttft_p99_s"].to_numpy(float), line["ttft_p99_s" + CI_SUFFIX].fillna(0).to_numpy(float)
    return np.array([np.minimum(half, 0.7 * middle), half])


def draw_closed_form(axes: Axes, rows: pd.DataFrame) -> None:
    """Mean TTFT against cost of one replica: curves on paper, dots played, diamonds where the engine batches."""
    timeouts_s = np.concatenate(([0], np.geomspace(1, 3000, 60)))
    first_s, service_s = first_and_service_s(rows)
    usd_per_day = float((rows["usd_gpu"] / rows["gpu_hours_paid"]).mean()) * DAY_S / HOUR_S
    for start, group in rows.groupby(START, sort=False):
        (duration, colour), setup_s = STARTS[start], setup_seconds(start)
        curve = [paid_fraction_and_wait_s(RATE_PER_S, service_s, t, setup_s) for t in timeouts_s]
        paid, wait_s = np.array(curve).T
        axes.plot(wait_s + first_s, paid * usd_per_day, color=colour, linewidth=1.2)
        name(axes, wait_s[0] + first_s, paid[0] * usd_per_day, f"starts in {duration}", colour, (0, -10))
        for slots, some in group.groupby("engine.max_num_seqs"):
            single = int(slots) == 1
            axes.errorbar(
                some["ttft_mean_s"], some["usd_per_day"], xerr=some["ttft_mean_s" + CI_SUFFIX].fillna(0),
                yerr=some["usd_per_day" + CI_SUFFIX].fillna(0), fmt="o" if single else "D", markersize=5, color=colour,
                elinewidth=1, markerfacecolor=colour if single else "white", zorder=3 if single else 2,
            )  # fmt: skip
    axes.set(xscale="log", xlabel="mean TTFT, s (log); dots: one slot, diamonds: eight, lines: closed form")


def first_and_service_s(rows: pd.DataFrame) -> tuple[float, float]:
    """(time to first token, time on the server), in s, of a request alone: from the row with the longest timeout."""
    slots, timeout_s = rows["engine.max_num_seqs"].astype(int), rows["scaling.idle_timeout_s"].astype(float)
    alone = rows[(slots == 1) & (timeout_s == timeout_s.max())].iloc[0]
    return float(alone["ttft_p50_s"]), float(alone["ttft_p50_s"] + alone["e2e_mean_s"] - alone["ttft_mean_s"])


def setup_seconds(cold_start: str) -> float:
    """Seconds of a cold start without spread."""
    one = scenario(gpu="l4", cold_start=cold_start)
    return one.cold_start.median_s(weight_bytes_per_gpu(one.model, one.engine))


def played(play: Play) -> pd.DataFrame:
    """Both burst lengths: every floor at a start of 40 s, other starts from zero and for a third replica, always on."""
    always_on = {BURST: list(BURSTS_S), TIMEOUT: [TIMEOUTS_S[0]]}
    parts = [  # Each with the keys that it does not sweep; the first is the sweep of conf/experiment.
        (play(), {START: "warm_node"}),
        (play("scaling.min_replicas=0", part="starts", axes={START: ["snapshot", "cold_node"]}), {FLOOR: 0}),
        (play("cold_start=snapshot", "scaling.min_replicas=2", part="third"), {START: "snapshot", FLOOR: 2}),
        (
            play(f"{FLOOR}={MOST_REPLICAS}", part="always_on", axes=always_on),
            {START: "warm_node", FLOOR: MOST_REPLICAS},
        ),
    ]
    return pd.concat([table.frame.copy().assign(**fixed) for table, fixed in parts], ignore_index=True).copy()


def answer(play: Play, folder: Path) -> None:
    """Play the frontier and the one server, draw, and print both tables."""
    rows = played(play)
    axes = {"engine.max_num_seqs": [1, 8], START: play.some(STARTS)}
    single = play(*ONE_SERVER, part="one_server", axes=axes).frame.copy()
    lengths_s = list(dict.fromkeys(rows[BURST].astype(float)))
    titles = [FINDINGS[int(length_s)] for length_s in lengths_s]
    figure, all_axes = panels(*titles, "One slot, a steady trickle: paper holds", width=5.6, height=4.8)
    for table in (rows, single):
        for end in ("", CI_SUFFIX):
            table["usd_per_day" + end] = table["usd_per_month" + end] * DAY_S / MONTH_S
    for panel, length_s in zip(all_axes, lengths_s, strict=False):
        draw_frontier(panel, rows[rows[BURST].astype(float) == length_s])
    draw_closed_form(all_axes[-1], single)
    figure.supxlabel(f"left and middle: a line joins idle timeouts of 5 s, 5 and 20 min; {JUDGED}", size=9)
    for panel in all_axes:
        panel.set_ylim(bottom=0)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        panel.set_ylabel("USD a day")
    save(figure, folder / "cost_against_tail_latency.png")
    shown = ["ttft_p99_s", "ttft_mean_s", "usd_per_day"]
    shown = [key + end for key in shown for end in ("", CI_SUFFIX)] + ["slo_attainment_fraction", "slo_judgement"]
    for table, keys in ((rows, [BURST, START, FLOOR, TIMEOUT]), (single, [START, TIMEOUT, "engine.max_num_seqs"])):
        print(table.sort_values(keys)[keys + shown].to_string(index=False, float_format="{:.4g}".format))


if __name__ == "__main__":
    main(__file__, SMALL, answer)
