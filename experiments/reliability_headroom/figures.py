"""SLO attainment and cost over spare replicas: GPUs that stay, that fail, that a spot market takes back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.drawing import CI_SUFFIX, JUDGED, PALETTE, limit, measured, panels, save
from experiments.running import Play, main

SMALL = {"replications": 1, "horizon_s": 1200, "arrivals.exact_tasks": 150, "engine.max_num_seqs": 8}
NEEDED = 2
"""Pairs that meet the SLO if nothing happens."""
SPOT = ("reliability=spot", "prices=nebius_spot")
FLEETS = {
    "on demand, failures as published": ((0, 1), ("reliability=gpu_failures",)),
    "on demand, each GPU fails once a day": ((0, 1, 2), ("reliability=gpu_failures", "reliability.gpu_mtbf_hours=24")),
    "spot": ((0, 1, 2, 3), SPOT),
    "spot, an API behind": ((0, 1), (*SPOT, "routing=overflow_on_queue", "api=open_model_70b_class")),
}
"""The spares tried, and the overrides."""
PLACES = {
    "on demand, failures as published": (0, (4, -10)),
    "on demand, each GPU fails once a day": (2, (-8, 4)),
    "spot": (3, (-8, 4)),
    "spot, an API behind": (1, (6, -8)),
}
"""Where the name of a fleet stands."""


def answer(play: Play, folder: Path) -> None:
    """Play every fleet with its spares, draw, and print the table."""
    parts, fleets = [], list(FLEETS.items())
    for number, (fleet, (spares, words)) in enumerate(fleets[2:] if play.small else fleets):
        tried = play.some(spares)
        axes = {"scaling.n_replicas": [NEEDED + spare for spare in tried]}
        parts.append(play(*words, part=str(number), axes=axes).frame.assign(fleet=fleet, spare=tried))
    table = pd.concat(parts, ignore_index=True)
    draw(table, folder / "spare_replicas.png")
    columns = ["fleet", "spare", "slo_attainment_fraction", "slo_attainment_fraction" + CI_SUFFIX, "ttft_p99_s"]
    columns += ["usd_per_mtok_total", "usd_per_mtok_total" + CI_SUFFIX, "usd_api", "replicas_lost", "requests_retried"]
    columns += ["requests_failed", "gpu_hours_paid", "token_fraction_of_peak"]
    print(table[columns].to_string(index=False, float_format="{:.4g}".format))


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw SLO attainment and cost over the number of spare replicas."""
    figure, (kept, cost) = panels(
        "On spot two spares meet the SLO, one is open", "and costs less than on demand without any", width=5.6
    )
    for i, (fleet, rows) in enumerate(table.groupby("fleet", sort=False)):
        beside = rows["spare"] + 0.06 * (i - 1.5)  # Shifted, so that fleets that cost the same do not hide each other.
        measured(kept, beside, rows, "slo_attainment_fraction", PALETTE[i])
        measured(cost, beside, rows, "usd_per_mtok_total", PALETTE[i], fleet, PLACES[fleet])
    limit(kept, 0.99, "99 %", -0.3)
    kept.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    kept.set(ylabel="requests within the SLO", ylim=(None, 1.03))
    cost.set(ylabel="USD per million tokens, input and output", ylim=(0, 0.92))
    for axes in (kept, cost):
        axes.set_xticks(range(4), ["N", "N+1", "N+2", "N+3"])
        axes.set_xlim(-0.5, 3.5)
    figure.supxlabel(f"pairs of H100s kept, N = 2; colours as on the right; {JUDGED}", size=9)
    save(figure, path)


if __name__ == "__main__":
    main(__file__, SMALL, answer)
