"""Cost of a day of chats and agents over the GPUs kept: all bought, all own, overflow, and routing by class of task."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.drawing import CI_SUFFIX, JUDGED, PALETTE, measured, panels, save
from experiments.running import Play, main

SMALL = {"replications": 1, "horizon_s": 1200, "arrivals.exact_tasks": 80, "engine.max_num_seqs": 4}
FLEETS = {
    "API alone": ((0,), ("scaling=none", "routing=api_only", "placement=least_loaded")),
    "GPUs alone": ((3, 4), ("routing=fleet_only",)),
    "overflow, not asking": ((1, 2, 3), ("routing.queue_per_replica=0",)),  # as fleet=hybrid_overflow
    "by class": ((2, 3), ("routing=by_calls",)),
    "by class, agents overflow": ((2,), ("routing=by_application", "routing.rest.queue_per_replica=0")),
}
"""The numbers of L4s tried, and the overrides."""
PLACES = {
    "API alone": (0, (0, 8)),
    "GPUs alone": (1, (0, 8)),
    "overflow, not asking": (0, (0, -8)),
    "by class": (1, (8, -4)),
    "by class, agents overflow": (0, (-6, 8)),
}
"""Where the name of a fleet stands."""
CACHED_READS = "+prices.api.models.llama_3_1_8b.usd_per_mtok_cached_input=0.09"  # half, as Groq and Fireworks have it


def answer(play: Play, folder: Path) -> None:
    """Play every fleet at every size, bill it also at an API that discounts cached reads, draw, and print the table."""
    parts, fleets = [], list(FLEETS.items())
    for number, (fleet, (sizes, words)) in enumerate(fleets[2:4] if play.small else fleets):
        tried = play.some(sizes)
        table = play(*words, part=str(number), axes={"scaling.n_replicas": tried} if fleet != "API alone" else {})
        cheap = table.reprice(CACHED_READS).frame
        usd = {f"usd_cached_reads{end}": cheap[f"usd_total{end}"].to_numpy() for end in ("", CI_SUFFIX)}
        parts.append(table.frame.assign(fleet=fleet, gpus=tried, **usd))
    table = pd.concat(parts, ignore_index=True)
    draw(table, folder / "cost_over_gpus.png")
    columns = ["fleet", "gpus", "usd_total", "usd_total" + CI_SUFFIX, "usd_api", "usd_cached_reads"]
    columns += ["slo_attainment_fraction", "ttft_p99_s", "api_request_fraction", "token_fraction_of_peak"]
    print(table[[*columns, "meets_slo"]].to_string(index=False, float_format="{:.4g}".format))


def draw(table: pd.DataFrame, path: Path) -> None:
    """Cost of the day over the GPUs kept, at two price lists of the API."""
    figure, (full, cached) = panels(
        "Cached reads at full price: a mixture is cheapest", "at half price: the API alone is", width=5.6, sharey=True
    )
    for axes, key in ((full, "usd_total"), (cached, "usd_cached_reads")):
        for (fleet, rows), colour in zip(table.groupby("fleet", sort=False), PALETTE, strict=False):
            measured(axes, rows["gpus"], rows, key, colour, fleet, PLACES[fleet])
        axes.set_xticks(range(5))
        axes.set_xlim(-0.6, 4.6)
    full.set(ylabel="USD a day", ylim=(0, 72))
    figure.supxlabel(f"L4s kept around the clock; {JUDGED}", size=9)
    save(figure, path)


if __name__ == "__main__":
    main(__file__, SMALL, answer)
