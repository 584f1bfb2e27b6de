"""Monthly cost over the share of requests that come out of office hours: timetables, an H100 around the clock, APIs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.drawing import CI_SUFFIX, GREY, JUDGED, PALETTE, measured, name, panels, save
from experiments.running import Play, main
from sim.ledger.breakeven import blended_usd_per_mtok
from sim.scenarios import scenario
from sim.study.table import Table
from sim.units import MTOK

SMALL = {"replications": 1, "arrivals.exact_tasks": 150, "engine.max_num_seqs": 8}
NIGHTS = (0, 0.02, 0.06, 0.25)
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


PLACES = {
    "timetable, API at night": (2, (-8, 6)),
    "always on": (0, (8, 6)),
    "timetable, open API at night": (3, (0, -8)),
    "timetable, on demand at night": (2, (6, 8)),
}
"""Where the name of a fleet stands."""


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
    for fleet, words in play.some(FLEETS.items()):
        tried = play.some(NIGHTS)
        if fleet == "always on":  # It costs the same at any of them.
            tried = [tried[0], tried[-1]]
        office = {"arrivals.profile": [profile(night) for night in tried]}
        part = fleet.replace(",", "").replace(" ", "_")
        for traffic, week, nights in (("office", office, tried), ("azure", azure(), ["azure"])):
            played = play(*words, part=f"{part}_{traffic}", axes=week)
            parts.append(played.frame.assign(fleet=fleet, traffic=traffic, night=nights))
            if "API" in fleet:
                cheap = at_open_prices(played)
                parts.append(cheap.assign(fleet="timetable, open API at night", traffic=traffic, night=nights))
    table = pd.concat(parts, ignore_index=True).copy()
    sent_away = table[table["fleet"] == "timetable, API at night"].set_index("night")["api_request_fraction"]
    table["out_of_hours"] = [sent_away[night] for night in table["night"]]
    draw(table, folder / "cost_by_share_out_of_hours.png")
    columns = ["fleet", "traffic", "out_of_hours", "usd_per_month", "usd_per_month" + CI_SUFFIX, "usd_api"]
    columns += ["gpu_hours_paid", "cold_starts", "token_fraction_of_peak", "ttft_p99_s", "slo_attainment_fraction"]
    print(table[[*columns, "meets_slo"]].to_string(index=False, float_format="{:.4g}".format))


def at_open_prices(played: Table) -> pd.DataFrame:
    """The same runs with the overflow billed at an open model's price."""
    sides = zip(("input", "output"), OPEN, strict=True)
    return played.reprice(**{f"prices.api.usd_per_mtok_{side}": usd for side, usd in sides}).frame


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw cost over the share out of hours: lines are the office's week, points beside them Azure's code service."""
    figure, (axes,) = panels(
        "400 million tokens a month: a timetable saves two thirds if nights are silent", width=8.6, height=5.0
    )
    key, most = "usd_per_month", float(table["out_of_hours"].max())
    office, azure_week = (table[table["traffic"] == traffic] for traffic in ("office", "azure"))
    for (fleet, rows), colour in zip(office.groupby("fleet", sort=False), PALETTE, strict=False):
        measured(axes, rows["out_of_hours"], rows, key, colour, fleet, PLACES[fleet])
        week = azure_week[azure_week["fleet"] == fleet]
        measured(axes, week["out_of_hours"], week, key, colour)
    both = table["input_tokens"].iloc[0], table["output_tokens"].iloc[0]
    monthly = office["usd_per_month"].iloc[0] / office["usd_total"].iloc[0] * sum(both) / MTOK
    bills = [blended_usd_per_mtok(*prices, *both) * monthly for prices in (CLOSED, OPEN)]
    draw_paper(axes, bills, most)
    axes.axvline(most, color=GREY, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    name(axes, most, 1750, "Azure's code service", GREY, (-4, 0))
    axes.set(ylabel="USD a month", ylim=(0, None), xlim=(-0.01, most + 0.02))
    axes.set_xlabel(f"requests out of office hours (Monday to Friday, 8 to 18); {JUDGED}", size=9)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    save(figure, path)


def draw_paper(axes: Axes, api_usd: list[float], most: float) -> None:
    """The API alone, and the timetable on paper: the office's hours of rent and the rest at the API's price."""
    for usd, words in zip(api_usd, ("closed API alone", "open API alone"), strict=True):
        axes.axhline(usd, color=GREY, linewidth=1)
        name(axes, 0, usd, rf"{words}: \${usd:,.0f}", GREY, (2, 3))
    shares = np.array([0, most])
    rent = USD_PER_GPU_HOUR * OFFICE_HOURS_A_MONTH
    axes.plot(shares, rent + shares * api_usd[0], color=GREY, linestyle="--", linewidth=1.2)
    name(axes, most / 2, rent + most / 2 * api_usd[0], "API at night, on paper", GREY, (8, -6))


if __name__ == "__main__":
    main(__file__, SMALL, answer)
