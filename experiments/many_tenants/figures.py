"""The least fleet that serves N pooled customers within the SLO, how busy it is, and the square-root law beside it."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.drawing import CI_SUFFIX, GREY, JUDGED, PALETTE, limit, measured, name, panels, save
from experiments.running import Play, main
from sim.report.verdict import is_yes, may_meet

SMALL = {"horizon_s": 900, "replications": 1, "arrivals.rate_per_s": 0.01}
SOURCES, REPLICAS = "arrivals.n_sources", "scaling.n_replicas"
FLEETS = {1: (2, 3), 2: (2, 3), 4: (3, 4), 8: (4, 5), 16: (6, 7), 32: (9, 10), 64: (13, 14, 15)}
"""Numbers of customers, and the replicas tried."""
SMOOTH = {64: (7, 8)}
"""The same without any bursts."""
SMOOTH_WORDS = ("arrivals.burst_factor=1", "horizon_s=7200")
BURST_TIME_FRACTION = 0.1
ATTAINMENT = 0.99
API_USD_PER_MTOK = 0.18  # conf/prices/market_2026.yaml, 8B
FINDINGS = ("Pooling fills a fleet from 3 to 36 % of its tokens", "and makes them fourteen times cheaper")


def played(play: Play, fleets: dict[int, tuple[int, ...]], *words: str, part: str) -> pd.DataFrame:
    """One row per number of customers and replicas."""
    tables = []
    for n in play.some(fleets):
        axes = {SOURCES: [n], REPLICAS: list(play.some(fleets[n]))}
        tables.append(play(*words, part=f"{part}_{n}", axes=axes).frame)
    table = pd.concat(tables, ignore_index=True).copy()
    return table.assign(n=table[SOURCES].astype(int), replicas=table[REPLICAS].astype(int))


def least_fleets(table: pd.DataFrame) -> pd.DataFrame:
    """Per number of customers the smallest fleet that meets the SLO, else the smallest that may, else the largest."""
    rows = []
    for _, tried in table.sort_values("replicas").groupby("n"):
        good, possible = (tried[tried.apply(test, axis=1)] for test in (_meets, may_meet))
        rows.append((good if len(good) else possible).iloc[0] if len(possible) else tried.iloc[-1])
    return pd.DataFrame(rows)


def _meets(row: pd.Series) -> bool:
    return is_yes(row["meets_slo"])


def square_root_law(n: np.ndarray, at_most: float = 1.0) -> np.ndarray:
    """Mean load over the load that normal customers exceed 1 % of the time: 1 / (1 + c / sqrt(n)), times a ceiling.

    Of one customer that bursts p of the time at a fixed rate, standard deviation over mean is sqrt((1 - p) / p).
    """
    spread = sqrt((1 - BURST_TIME_FRACTION) / BURST_TIME_FRACTION)
    return at_most / (1 + NormalDist().inv_cdf(ATTAINMENT) * spread / np.sqrt(n))


def draw_use(axes: Axes, found: pd.DataFrame, smooth: pd.DataFrame) -> None:
    """How busy the least fleet is against N, in tokens and in time, with the law on paper."""
    n = np.geomspace(1, 128, 80)
    ceiling = float(smooth["token_fraction_of_peak"].iloc[0])
    limit(axes, ceiling, f"64 customers without bursts: {ceiling:.0%}", 0.9, offset=(1, 3))
    for most, style, words in (
        (1.0, (0, (4, 3)), "square-root law, on paper"),
        (ceiling, (0, (1, 1.5)), f"law x {ceiling:.0%}"),
    ):
        axes.plot(n, square_root_law(n, most), color=GREY, linestyle=style, linewidth=1.2)
        x = np.array([40.0 if most == 1 else n[-1]])
        name(axes, x[0], float(square_root_law(x, most)[0]), words, GREY, (-6, 4))
    for key, words, colour, place in (
        ("busy_fraction_of_paid", "time with a request on it", PALETTE[2], (5, (-10, 4))),
        ("token_fraction_of_peak", "tokens, of what it could serve", PALETTE[0], (4, (8, -8))),
    ):
        measured(axes, found["n"], found, key, colour, words, place)
    axes.set(ylabel="share of the paid fleet", ylim=(0, 1.06))
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")


def draw_cost(axes: Axes, found: pd.DataFrame) -> None:
    """Draw the cost of a million tokens in the least fleet, over the number of customers."""
    key = "usd_per_mtok_total"
    measured(axes, found["n"], found, key, PALETTE[0])
    for row in found.to_dict("records"):
        name(axes, row["n"], row[key], f"{row['replicas']} L4s", PALETTE[0], (6, 6))
    limit(axes, API_USD_PER_MTOK, rf"API: \${API_USD_PER_MTOK}", 0.9, offset=(1, 3))
    axes.set_yscale("log")
    axes.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    axes.set(ylabel="USD per million tokens (log)")


def answer(play: Play, folder: Path) -> None:
    """Play every number of customers on the fleets around the least, draw, and print the table."""
    table = played(play, FLEETS, part="bursty")
    smooth = least_fleets(played(play, SMOOTH, *SMOOTH_WORDS, part="smooth"))
    found = least_fleets(table)
    figure, (use, cost) = panels(FINDINGS[0], FINDINGS[1], width=5.6)
    draw_use(use, found, smooth)
    draw_cost(cost, found)
    for axes in (use, cost):
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(FLEETS), [str(n) for n in FLEETS])
        axes.minorticks_off()
        axes.set_xlim(0.8, 140)
    figure.supxlabel(f"customers (log), each on the least fleet within the SLO; {JUDGED}", size=9)
    save(figure, folder / "utilization_against_customers.png")
    columns = ["n", "replicas", "slo_attainment_fraction", "slo_judgement"]
    for key in ("token_fraction_of_peak", "busy_fraction_of_paid", "batch_fill_fraction", "usd_per_mtok_total"):
        columns += [key, key + CI_SUFFIX]
    print(pd.concat([table, smooth]).reindex(columns=columns).to_string(index=False, float_format="{:.4g}".format))


if __name__ == "__main__":
    main(__file__, SMALL, answer)
