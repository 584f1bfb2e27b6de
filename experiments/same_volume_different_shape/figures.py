"""One volume in six shapes, each with the smallest always-on fleet that meets the SLO, scale to zero, and an API."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.drawing import CI_SUFFIX, GREY, JUDGED, PALETTE, measured, name, panels, save
from experiments.running import Play, main
from sim.ledger.breakeven import replicas_for, usd_per_mtok
from sim.scenarios import scenario
from sim.units import DAY_S, HOUR_S, MONTH_S

SMALL = {"replications": 1, "arrivals.exact_tasks": 60, "engine.max_num_seqs": 4}
SMALLEST = {24: 1, 18: 1, 8: 3, 4: 5, 2: 9}
"""Hours a day that carry the traffic (24 over peak / mean), and the smallest fleet. 24: steady. 18: Azure's chat."""
ON_DEMAND_HOURS, API_HOURS = (24, 8, 4, 2), (24, 2)
GPUS_PER_REPLICA, USD_PER_GPU_HOUR = 2, 2.69
BATCH = 32  # running requests at which one replica is near the SLO; a choice
ON_DEMAND = (
    "fleet=scale_to_zero", "prices=runpod_serverless_flex", "scaling.max_replicas=40",
    f"scaling.target_requests_per_replica={BATCH}", f"placement.target_requests_per_replica={BATCH}",
)  # fmt: skip


PLACES = {"always on": (3, (-6, 6)), "scale to zero": (1, (0, -9)), "API": (0, (8, 6))}
"""Where the name of a fleet stands."""


def profile(hours: int) -> list[float]:
    """Relative rates of hours 0 to 23 of a day whose tasks arrive in `hours` hours from 8 on; 18: as Azure's chat."""
    points = [1 if 8 <= hour < 8 + hours or hours == 24 else 0 for hour in range(24)]
    if hours == 18:
        points = list(scenario(arrivals="diurnal").arrivals.profile)
    return points


def answer(play: Play, folder: Path) -> None:
    """Play every shape on the smallest always-on fleet that meets the SLO, on one pair less, and on the others."""
    parts = []
    for hours in play.some(SMALLEST):
        for replicas in (SMALLEST[hours], SMALLEST[hours] - 1):
            if replicas and not (play.small and replicas < SMALLEST[hours]):
                axes = {"arrivals.profile": [profile(hours)], "scaling.n_replicas": [replicas]}
                tried = play("fleet=always_on", part=f"always_on_{hours}h_{replicas}", axes=axes).frame
                parts.append(tried.assign(hours=hours, replicas=replicas, fleet="always on"))
    for fleet, words, tried_hours in (
        ("scale to zero", ON_DEMAND, ON_DEMAND_HOURS),
        ("API", ["fleet=api_only"], API_HOURS),
    ):
        some = play.some(tried_hours)
        shapes = {"arrivals.profile": [profile(hours) for hours in some]}
        tried = play(*words, part=fleet.replace(" ", "_"), axes=shapes).frame
        parts.append(tried.assign(hours=some, replicas=0, fleet=fleet))
    table = pd.concat(parts, ignore_index=True)
    draw(table[table.apply(is_smallest, axis=1)], folder / "cost_and_utilization.png")
    columns = ["hours", "fleet", "replicas", "slo_attainment_fraction", "ttft_p99_s", "usd_per_mtok_total"]
    columns += ["usd_per_mtok_total" + CI_SUFFIX, "gpu_hours_paid", "busy_fraction_of_paid", "token_fraction_of_peak"]
    print(table[[*columns, "batch_fill_fraction", "cold_starts"]].to_string(index=False, float_format="{:.3f}".format))


def is_smallest(row: pd.Series) -> bool:
    """Whether this is no fleet that was played only to show that it is too small."""
    return row["fleet"] != "always on" or row["replicas"] == SMALLEST[row["hours"]]


def on_paper(table: pd.DataFrame) -> tuple[list[int], list[float]]:
    """USD per Mtok of an always-on fleet for the mean rate within the hours, by its measured saturated speed."""
    steady = table.iloc[0]
    tokens_per_day, seconds = steady["input_tokens"] + steady["output_tokens"], steady["gpu_hours_paid"] * HOUR_S
    peak_tokens_per_s = tokens_per_day / steady["token_fraction_of_peak"] / seconds * GPUS_PER_REPLICA
    per_month = tokens_per_day * MONTH_S / DAY_S
    fleets = [replicas_for(per_month, peak_tokens_per_s, peak_over_mean=24 / hours) for hours in SMALLEST]
    rents = [n * GPUS_PER_REPLICA * USD_PER_GPU_HOUR for n in fleets]
    return list(SMALLEST), [usd_per_mtok(rent, tokens_per_day / DAY_S) for rent in rents]


def draw(table: pd.DataFrame, path: Path) -> None:
    """Cost per million tokens, and how the paid GPUs are used, over the hours a day in which the traffic comes."""
    figure, (cost, use) = panels(
        "Steady: own GPUs; in hours: scale to zero or API", "A fleet sized for a burst idles",
        sharex=True, width=6.2,
    )  # fmt: skip
    hours, usd = on_paper(table)
    cost.plot(hours, usd, color=GREY, linestyle="--", linewidth=1.2)
    name(cost, hours[-2], usd[-2], "always on, on paper", GREY, (8, -6))
    for (fleet, rows), colour in zip(table.groupby("fleet", sort=False), PALETTE, strict=False):
        measured(cost, rows["hours"], rows, "usd_per_mtok_total", colour, fleet, PLACES[fleet])
        if fleet != "API":
            for key, what, style, up in (
                ("busy_fraction_of_paid", "busy", ":", 5),
                ("token_fraction_of_peak", "tokens", "-", -5),
            ):
                measured(
                    use, rows["hours"], rows, key, colour, f"{fleet}: {what}", (len(rows) - 2, (4, up)), linestyle=style
                )
    for axes in (cost, use):
        axes.set_xscale("log")
        axes.set_xlim(28, 1.6)
        axes.set_xticks(list(SMALLEST), [str(hours) for hours in SMALLEST])
        axes.minorticks_off()
    cost.set_yscale("log")
    cost.set_yticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
    cost.minorticks_off()
    use.set_ylim(0, 1.08)
    cost.set_ylabel("USD per million tokens, input and output (log)")
    use.set_ylabel("share of the paid time; of its possible tokens")
    figure.supxlabel(f"hours a day in which the traffic comes (24: steady, 18: Azure's chat; log); {JUDGED}", size=9)
    save(figure, path)


if __name__ == "__main__":
    main(__file__, SMALL, answer)
