"""Monthly cost over the share of requests that come out of office hours: timetables, an H100 around the clock, APIs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.drawing import CI_SUFFIX, PALETTE, measured, panels, save
from experiments.running import Play, main
from sim.ledger.breakeven import blended_usd_per_mtok
from sim.report.verdict import is_yes
from sim.scenarios import scenario
from sim.study.table import Table
from sim.units import MTOK

SMALL = {"replications": 1, "arrivals.exact_tasks": 150, "engine.max_num_seqs": 8}
NIGHTS = (0, 0.02, 0.06, 0.12, 0.25)
"""Rate outside the office's eight busy hours, of the rate within them."""
AZURE_SHIFT_H = 4  # its code service is busy from 13 to 23 UTC, this office is open from 8 to 18
TIMETABLE = (
    "scaling=business_hours", "scaling.time_zone=+00:00", "scaling.lead_s=900",
    "scaling.target_requests_per_replica=64",
    "scaling.periods=[{days:[mon,tue,wed,thu,fri],start:'08:00',end:'18:00',min_replicas:1,max_replicas:1}]",
)  # fmt: skip
FLEETS = {
    "timetable, API at night": (
        *TIMETABLE, "scaling.otherwise={min_replicas:0,max_replicas:0}", "routing=overflow_on_wait",
        "routing.predicted_wait_s=1", "api=open_model_70b_class",
    ),
    "always on": ("fleet=always_on",),
    "timetable, on demand at night": (*TIMETABLE, "scaling.otherwise={min_replicas:0,max_replicas:1}"),
}  # fmt: skip
USD_PER_GPU_HOUR, OFFICE_HOURS_A_MONTH, HOURS_A_MONTH = 1.644, 220, 730  # article 003: 10 h on 22 days
CLOSED = (3.0, 15.0)  # article 003's mid-tier API, input and output
# OpenRouter's cheapest qwen/qwen3-32b, from pydantic/genai-prices, as in conf/prices/market_2026.yaml.
OPEN = (0.10, 0.30)


def profile(night: float) -> list[float]:
    """Rates of hours 0 to 23 of a weekday: busy from 9 to 17, `night` of it otherwise."""
    return [1 if 9 <= hour < 17 else night for hour in range(24)]


def azure() -> dict[str, list]:
    """The week of Azure's code service, moved to this office's hours."""
    given = scenario("arrivals=diurnal_coding").arrivals
    factors = {f"arrivals.{key}": [getattr(given, key)] for key in ("weekday_factor", "weekend_factor")}
    return {"arrivals.profile": [np.roll(given.profile, -AZURE_SHIFT_H).tolist()], **factors}


def answer(play: Play, folder: Path) -> None:
    """Play the fleets on every share, bill the overflow at two price lists, draw, and print the table."""
    parts = []
    nights = {"arrivals.profile": [profile(night) for night in play.some(NIGHTS)]}
    for fleet, words in play.some(FLEETS.items()):
        name = fleet.replace(",", "").replace(" ", "_")
        for traffic, week in (("office", nights), ("azure", azure())):
            played = play(*words, part=f"{name}_{traffic}", axes=week)
            table = played.frame
            parts.append(table.assign(fleet=fleet, traffic=traffic, row=range(len(table))))
            if "API" in fleet:
                cheap = at_open_prices(played)
                parts.append(cheap.assign(fleet="timetable, open API at night", traffic=traffic, row=range(len(table))))
    table = pd.concat(parts, ignore_index=True)
    out_of_hours = table[table["fleet"] == "timetable, API at night"].set_index(["traffic", "row"])
    traffic_and_row = pd.MultiIndex.from_frame(table[["traffic", "row"]])
    table["out_of_hours"] = out_of_hours["api_request_fraction"].reindex(traffic_and_row).to_numpy()
    draw(table, folder / "cost_by_share_out_of_hours.png")
    columns = ["fleet", "traffic", "out_of_hours", "usd_per_month", "usd_per_month" + CI_SUFFIX, "usd_api"]
    columns += ["gpu_hours_paid", "cold_starts", "token_fraction_of_peak", "ttft_p99_s", "slo_attainment_fraction"]
    print(table[[*columns, "meets_slo"]].to_string(index=False, float_format="{:.4g}".format))


def at_open_prices(played: Table) -> pd.DataFrame:
    """The same runs with the overflow billed at an open model's price."""
    sides = zip(("input", "output"), OPEN, strict=True)
    return played.reprice(**{f"prices.api.usd_per_mtok_{side}": usd for side, usd in sides}).frame


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw cost over the share out of hours: lines are the office's week, squares Azure's code service."""
    figure, (axes,) = panels("400 million tokens a month", width=8.2, height=5.0)
    office = table[table["traffic"] == "office"]
    for (fleet, rows), colour in zip(office.groupby("fleet", sort=False), PALETTE, strict=False):
        key = "usd_per_month"
        measured(axes, rows["out_of_hours"], rows[key], rows[key + CI_SUFFIX], rows["meets_slo"], colour, label=fleet)
        week = table[(table["traffic"] == "azure") & (table["fleet"] == fleet)].iloc[0]
        face = colour if is_yes(week["meets_slo"]) else "white"
        axes.plot(week["out_of_hours"], week[key], "s", color=colour, markerfacecolor=face, markersize=6, zorder=4)
    both = table["input_tokens"].iloc[0], table["output_tokens"].iloc[0]
    monthly = office["usd_per_month"].iloc[0] / office["usd_total"].iloc[0] * sum(both) / MTOK
    bills = [blended_usd_per_mtok(*prices, *both) * monthly for prices in (CLOSED, OPEN)]
    draw_paper(axes, bills, float(table["out_of_hours"].max()))
    axes.plot([], [], "s", color="#444444", label="Azure's code service")
    axes.set(ylabel="USD a month", ylim=(0, None), xlim=(-0.01, None))
    axes.set_xlabel("requests out of office hours (Monday to Friday, 8 to 18); hollow: misses the SLO")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(0.0, 0.93))
    save(figure, path)


def draw_paper(axes: Axes, api_usd: list[float], most: float) -> None:
    """The API alone, and the timetable on paper: the office's hours of rent and the rest at the API's price."""
    for usd, name in zip(api_usd, ("closed API alone", "open API alone"), strict=True):
        axes.axhline(usd, color="#666666", linewidth=1)
        axes.annotate(
            f"{name}: ${usd:,.0f}", (most, usd), xytext=(0, 3), textcoords="offset points", size=8.5, ha="right",
            color="#444444",
        )  # fmt: skip
    shares = np.array([0, most])
    rent = USD_PER_GPU_HOUR * OFFICE_HOURS_A_MONTH
    axes.plot(shares, rent + shares * api_usd[0], color="#666666", linestyle="--", linewidth=1.2, label="on paper")


if __name__ == "__main__":
    main(__file__, SMALL, answer)
