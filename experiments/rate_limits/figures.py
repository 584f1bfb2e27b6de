"""SLO attainment over the provisioned rate limit: clients that wait in turn, clients that back off, GPUs in front."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.drawing import CI_SUFFIX, JUDGED, PALETTE, limit, measured, panels, save
from experiments.running import Play, main

SMALL = {"replications": 1, "horizon_s": 300, "arrivals.exact_tasks": 300, "engine.max_num_seqs": 16}
MEAN_TOKENS_PER_MINUTE = 82_000  # of this traffic, as in conf/experiment/rate_limits.yaml
FINDINGS = {
    "diurnal": "A weekday of chat needs 1.5 times its mean use",
    "bursty": "Bursts of four times the mean need the peak",
}
"""What came out for each shape of the traffic."""
PLACES = {
    "API alone, sends in turn": (0, (-8, 0)),
    "API alone, 429 and backoff": (0, (-8, -6)),
    "two H100s, overflow": (0, (6, 4)),
}
"""Where the name of a client stands."""
BURSTY_S = 21_600
"""A quarter of a day: bursts of five minutes have no cycle that a day would hold."""
TRAFFIC = {"diurnal": (), "bursty": (f"horizon_s={BURSTY_S}", f"arrivals.exact_tasks={BURSTY_S}")}
LIMITS = {"diurnal": (1, 1.25, 1.5), "bursty": (1, 1.5, 2, 3, 4.5, 6)}
"""Tried with the API alone, over the mean use."""
OVERFLOW_LIMITS = (0.25,)
CLIENTS = {
    "API alone, sends in turn": ("api.on_limit=wait",),
    "API alone, 429 and backoff": ("api.on_limit=retry",),
    "two H100s, overflow": ("scaling=always_on", "routing=overflow_on_queue", "api.on_limit=retry"),
}


def answer(play: Play, folder: Path) -> None:
    """Play both shapes at every limit for every client, draw, and print the table."""
    parts = []
    shapes = list(FINDINGS)[:1] if play.small else list(FINDINGS)
    for shape in shapes:
        for number, (client, words) in enumerate(CLIENTS.items()):
            alone = client.startswith("API")
            limits = play.some(LIMITS[shape] if alone else OVERFLOW_LIMITS)
            allowed = {"api.tokens_per_minute": [round(limit * MEAN_TOKENS_PER_MINUTE) for limit in limits]}
            table = play(f"arrivals={shape}", *TRAFFIC[shape], *words, part=f"{shape}_{number}", axes=allowed).frame
            parts.append(table.assign(shape=shape, client=client, limit=limits))
    table = pd.concat(parts, ignore_index=True)
    draw(table, folder / "attainment_over_the_limit.png")
    columns = ["shape", "client", "limit", "slo_attainment_fraction", "slo_attainment_fraction" + CI_SUFFIX]
    columns += ["ttft_p50_s", "ttft_p99_s", "requests_refused", "api_429s", "api_attempts_per_request"]
    columns += ["api_request_fraction", "usd_total"]
    print(table[columns].to_string(index=False, float_format="{:.4g}".format))


def draw(table: pd.DataFrame, path: Path) -> None:
    """One panel per shape of the traffic."""
    shapes = list(table["shape"].unique())
    figure, all_axes = panels(*(FINDINGS[shape] for shape in shapes), sharey=True, width=5.6)
    key = "slo_attainment_fraction"
    for axes, shape in zip(all_axes, shapes, strict=True):
        rows = table[table["shape"] == shape]
        for (client, points), colour in zip(rows.groupby("client", sort=False), PALETTE, strict=False):
            measured(axes, points["limit"], points, key, colour, client, PLACES[client])
        limit(axes, 0.99, "99 %", 7)
        axes.set_xscale("log")
        axes.set_xticks([0.25, 0.5, 1, 1.5, 2, 3, 4.5, 6], ["¼", "½", "1", "1.5", "2", "3", "4.5", "6"])
        axes.minorticks_off()
        axes.set_xlim(0.2, 7.5)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    all_axes[0].set_ylim(0, 1.1)
    all_axes[0].set_ylabel("requests within the SLO")
    figure.supxlabel(f"tokens per minute allowed, over the mean use (log); {JUDGED}", size=9)
    save(figure, path)


if __name__ == "__main__":
    main(__file__, SMALL, answer)
