"""One volume in six shapes, each with the smallest always-on fleet that meets the SLO, scale to zero, and an API."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.drawing import CI_SUFFIX, PALETTE, measured, panels, save
from experiments.running import Play, main
from sim.ledger.breakeven import replicas_for, usd_per_mtok
from sim.report.verdict import may_meet
from sim.scenarios import scenario
from sim.units import DAY_S, HOUR_S, MONTH_S

SMALL = {"replications": 1, "arrivals.exact_tasks": 60, "engine.max_num_seqs": 4}
FLEETS = {24: [1], 18: [1], 8: [2, 3], 4: [4, 5], 2: [7, 8], 1: [15, 16]}
"""Hours a day that carry the traffic (24 over peak / mean), and the fleets to try. 24: steady. 18: Azure's chat."""
GPUS_PER_REPLICA, USD_PER_GPU_HOUR = 2, 2.69
BATCH = 32  # running requests at which one replica is near the SLO; a choice
ON_DEMAND = (
    "fleet=scale_to_zero", "prices=runpod_serverless_flex", "scaling.max_replicas=40",
    f"scaling.target_requests_per_replica={BATCH}", f"placement.target_requests_per_replica={BATCH}",
)  # fmt: skip


def profile(hours: int) -> list[float]:
    """Relative rates of hours 0 to 23 of a day whose tasks arrive in `hours` hours from 8 on; 18: as Azure's chat."""
    points = [1 if 8 <= hour < 8 + hours or hours == 24 else 0 for hour in range(24)]
    if hours == 18:
        points = list(scenario(arrivals="diurnal").arrivals.profile)
    return points


def answer(play: Play, folder: Path) -> None:
    """Play every shape on every fleet, keep the smallest always-on fleet that meets the SLO, draw and print."""
    parts, all_hours = [], play.some(FLEETS)
    for hours in all_hours:
        axes = {"arrivals.profile": [profile(hours)], "scaling.n_replicas": FLEETS[hours]}
        tried = play("fleet=always_on", part=f"always_on_{hours}h", axes=axes).frame
        good = tried[tried.apply(may_meet, axis=1)]
        smallest = (good.head(1) if len(good) else tried.tail(1)).rename(columns={"scaling.n_replicas": "replicas"})
        parts.append(smallest.assign(hours=hours, fleet="always on"))
    shapes = {"arrivals.profile": [profile(hours) for hours in all_hours]}
    parts.append(play(*ON_DEMAND, part="on_demand", axes=shapes).frame.assign(hours=all_hours, fleet="scale to zero"))
    parts.append(play("fleet=api_only", part="api", axes=shapes).frame.assign(hours=all_hours, fleet="API"))
    table = pd.concat(parts, ignore_index=True)
    draw(table, folder / "cost_and_utilization.png")
    columns = ["hours", "fleet", "replicas", "slo_attainment_fraction", "ttft_p99_s", "usd_per_mtok_total"]
    columns += ["usd_per_mtok_total" + CI_SUFFIX, "gpu_hours_paid", "busy_fraction_of_paid", "token_fraction_of_peak"]
    print(table[[*columns, "batch_fill_fraction", "cold_starts"]].to_string(index=False, float_format="{:.3f}".format))


def on_paper(table: pd.DataFrame) -> tuple[list[int], list[float]]:
    """USD per Mtok of an always-on fleet for the mean rate within the hours, by its measured saturated speed."""
    steady = table.iloc[0]
    tokens_per_day, seconds = steady["input_tokens"] + steady["output_tokens"], steady["gpu_hours_paid"] * HOUR_S
    peak_tokens_per_s = tokens_per_day / steady["token_fraction_of_peak"] / seconds * GPUS_PER_REPLICA
    per_month = tokens_per_day * MONTH_S / DAY_S
    fleets = [replicas_for(per_month, peak_tokens_per_s, peak_over_mean=24 / hours) for hours in FLEETS]
    rents = [n * GPUS_PER_REPLICA * USD_PER_GPU_HOUR for n in fleets]
    return list(FLEETS), [usd_per_mtok(rent, tokens_per_day / DAY_S) for rent in rents]


def draw(table: pd.DataFrame, path: Path) -> None:
    """Cost per million tokens, and the three utilizations, over the hours a day in which the traffic comes."""
    figure, (cost, use) = panels("What a million tokens costs", "How well the paid GPUs are used", sharex=True)
    cost.plot(*on_paper(table), color="#666666", linestyle="--", linewidth=1.2, label="always on, on paper")
    key, of_paid = "usd_per_mtok_total", ("busy_fraction_of_paid", "token_fraction_of_peak", "batch_fill_fraction")
    for (fleet, rows), colour in zip(table.groupby("fleet", sort=False), PALETTE, strict=False):
        measured(cost, rows["hours"], rows[key], rows[key + CI_SUFFIX], rows["meets_slo"], colour, label=fleet)
        for name, style in zip(of_paid, (":", "-", "--"), strict=True):
            if rows[name].notna().all():
                use.plot(rows["hours"], rows[name], style, color=colour, marker="o", markersize=4)
    for name, style in zip(of_paid, (":", "-", "--"), strict=True):
        use.plot([], [], style, color="#444444", label=name)
    for axes in (cost, use):
        axes.set_xscale("log")
        axes.set_xlim(28, 0.85)
        axes.set_xticks(list(FLEETS), [str(hours) for hours in FLEETS])
        axes.minorticks_off()
    cost.set_yscale("log")
    cost.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    cost.minorticks_off()
    cost.legend(frameon=False, fontsize=8.5, loc="upper left")
    use.set_ylim(bottom=0)
    use.legend(frameon=False, fontsize=8.5, loc="center right", bbox_to_anchor=(1.0, 0.38))
    cost.set_ylabel("USD per million tokens, input and output")
    use.set_ylabel("fraction")
    figure.supxlabel(
        "hours a day in which the traffic comes (24: steady, 18: Azure's chat); hollow: misses the SLO", size=9
    )
    save(figure, path)


if __name__ == "__main__":
    main(__file__, SMALL, answer)
