"""Monthly cost over monthly tokens: what always-on pairs of A100s and H100s cost, on paper and played, and the API."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.drawing import GREY, JUDGED, PALETTE, limit, measured, name, panels, save
from experiments.running import Play, main
from sim.ledger.breakeven import breakeven_volume, self_hosted_usd_per_month
from sim.report.verdict import may_meet
from sim.scenarios import scenario
from sim.units import HOUR_S, MONTH_S, MTOK

SMALL = {"replications": 1, "horizon_s": 300, "warmup_s": 30, "engine.max_num_seqs": 16}
BILLION = 1e9
FLEETS = [  # GPU, billions of tokens a month, pairs to try, seconds to play
    ("a100_80gb_sxm", (10,), [2], 7_200),
    ("h100_sxm", (20,), [1], 3_600),
    ("h100_sxm", (50,), [2], 3_600),
    ("a100_80gb_sxm", (20,), [3, 4], 3_600),
    ("a100_80gb_sxm", (50,), [7, 8], 3_600),
    ("h100_sxm", (0.1, 1, 3, 10), [1], 14_400),
    ("a100_80gb_sxm", (0.1, 1, 3), [1], 14_400),
]
NAMES = {"a100_80gb_sxm": "A100", "h100_sxm": "H100"}
USD_PER_GPU_HOUR = {"a100_80gb_sxm": 2.00, "h100_sxm": 3.50}  # conf/prices/article_001.yaml
API_USD_PER_MTOK = (0.59, 0.88)  # its range ends at 0.90; 0.88 is what it uses
ARTICLE_USD_PER_MONTH, ARTICLE_BAND = 2880, (10 * BILLION, 50 * BILLION)
GPUS_PER_REPLICA = 2
SMALL_VOLUMES = (0.1, 0.3, 1)
ON_DEMAND = (
    "gpu=a100_80gb_sxm", "fleet=scale_to_zero", "prices=runpod_serverless_flex", "scaling.idle_timeout_s=60",
    "scaling.target_requests_per_replica=16", "placement.target_requests_per_replica=16",
)  # fmt: skip


def rates(volumes: Sequence[float]) -> list[float]:
    """Requests per second that carry the given volumes, in billions of tokens a month."""
    lengths = scenario().lengths
    per_request = lengths.mean_input_tokens + lengths.mean_output_tokens
    return [round(volume * BILLION / MONTH_S / per_request, 5) for volume in volumes]


def answer(play: Play, folder: Path) -> None:
    """Play every fleet, draw the picture, print the table and the break-even volumes on paper."""
    parts = []
    for gpu, volumes, replicas, horizon_s in play.some(FLEETS):
        axes = {"arrivals.rate_per_s": rates(volumes), "gpu": [gpu], "scaling.n_replicas": replicas}
        part = f"{gpu}_{'_'.join(map(str, volumes))}"
        table = play(part=part, axes={**axes, "horizon_s": horizon_s}).frame
        parts.append(table.assign(fleet="always on"))
    volumes = rates(play.some(SMALL_VOLUMES))
    on_demand = play("horizon_s=43200", *ON_DEMAND, part="on_demand", axes={"arrivals.rate_per_s": volumes}).frame
    table = pd.concat([*parts, on_demand.assign(fleet="scale to zero")], ignore_index=True)
    windows_per_month = table["usd_per_month"] / table["usd_total"]
    table["volume"] = (table["input_tokens"] + table["output_tokens"]) * windows_per_month
    peaks = {gpu: peak_tokens_per_month(rows) for gpu, rows in table[table["fleet"] == "always on"].groupby("gpu")}
    draw(table, peaks, folder / "cost_of_volume.png")
    print_answer(table, peaks)


def peak_tokens_per_month(rows: pd.DataFrame) -> float:
    """What one saturated replica serves in a month."""
    served = rows["input_tokens"] + rows["output_tokens"]
    per_replica_s = served / rows["token_fraction_of_peak"] / (rows["gpu_hours_paid"] * HOUR_S / GPUS_PER_REPLICA)
    return float(per_replica_s.median()) * MONTH_S


def draw(table: pd.DataFrame, peaks: dict[str, float], path: Path) -> None:
    """Both scales logarithmic; dashed: on paper, rent times the fewest pairs that could serve the volume."""
    figure, (axes,) = panels(
        "Own pairs are cheaper than the API from 3 to 9 billion tokens a month", width=8.2, height=5.2
    )
    volumes = np.geomspace(0.08 * BILLION, 70 * BILLION, 400)
    axes.axvspan(*np.divide(ARTICLE_BAND, BILLION), color="#000000", alpha=0.06, linewidth=0)
    name(axes, 22, 50, "crossover\nsays article 001", GREY, (0, 4))
    low, high = (volumes / MTOK * usd for usd in API_USD_PER_MTOK)
    axes.fill_between(volumes / BILLION, low, high, color=PALETTE[2], alpha=0.35, linewidth=0)
    name(axes, 0.3, 0.3 * BILLION / MTOK * API_USD_PER_MTOK[0], r"API, \$0.59 to \$0.88 per Mtok", "#1B7F5F", (12, -8))
    limit(axes, ARTICLE_USD_PER_MONTH, r"two A100s, says article 001: \$2,880", 0.075, offset=(1, -6))
    for (gpu, peak), colour, place in zip(peaks.items(), PALETTE, ((-1, (46, 0)), (-1, (46, 0))), strict=False):
        rent = monthly_rent(gpu)
        paper = [self_hosted_usd_per_month(volume, rent, peak) for volume in volumes]
        axes.plot(volumes / BILLION, paper, color=colour, linestyle="--", linewidth=1.2)
        rows = smallest(table, gpu)
        text = f"{NAMES[gpu]} pairs,\nalways on"
        measured(axes, rows["volume"] / BILLION, rows, "usd_per_month", colour, text, place, linewidth=0)
    rows = table[table["fleet"] == "scale to zero"]
    text = "A100 pair, scale to zero (serverless prices)"
    measured(axes, rows["volume"] / BILLION, rows, "usd_per_month", PALETTE[4], text, (0, (2, 26)), linewidth=1)
    axes.set(xscale="log", yscale="log", xlim=(0.065, 260), ylim=(40, 1e5), ylabel="USD a month (log)")
    axes.set_xlabel(f"billions of tokens a month, input and output (log)\n{JUDGED}")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    save(figure, path)


def smallest(table: pd.DataFrame, gpu: str) -> pd.DataFrame:
    """Of every volume the smallest fleet that meets the SLO, or the largest that was tried."""
    rows = table[(table["fleet"] == "always on") & (table["gpu"] == gpu)]
    kept = []
    for _, tried in rows.groupby("arrivals.rate_per_s"):
        good = tried[tried.apply(may_meet, axis=1)]
        kept.append(good.iloc[0] if len(good) else tried.iloc[-1])
    return pd.DataFrame(kept)


def monthly_rent(gpu: str) -> float:
    """USD a month of one replica."""
    return GPUS_PER_REPLICA * USD_PER_GPU_HOUR[gpu] * MONTH_S / HOUR_S


def print_answer(table: pd.DataFrame, peaks: dict[str, float]) -> None:
    """Print the table, and the break-even volumes on paper at one, three and five times the rent."""
    columns = ["fleet", "gpu", "volume", "scaling.n_replicas", "scaling.idle_timeout_s", "usd_per_month"]
    columns += ["usd_per_mtok_total", "token_fraction_of_peak", "ttft_p99_s", "slo_attainment_fraction", "meets_slo"]
    print(table.reindex(columns=columns).to_string(index=False, float_format="{:.4g}".format))
    for gpu, peak in peaks.items():
        print(f"{NAMES[gpu]}: a saturated pair serves {peak / BILLION:.1f} billion tokens a month")
        for times in (1, 3, 5):
            for usd in API_USD_PER_MTOK:
                print(f"  {times} x rent, API ${usd}: {breakeven_volume(times * monthly_rent(gpu), peak, usd)}")


if __name__ == "__main__":
    main(__file__, SMALL, answer)
