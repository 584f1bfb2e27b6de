"""What a task of k calls costs: through an API on paper, and on a node whose memory must outlast the tools."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.running import Play, main
from sim.ledger.breakeven import usd_per_mtok
from sim.ledger.task_cost import AgentTask, Reuse, api_task_usd, crossover_calls, self_hosted_task_usd
from sim.report.figures import DPI, PALETTE
from sim.scenarios import parse, scenario
from sim.study.table import Table
from sim.units import HOUR_S

SMALL = {
    "horizon_s": 90,
    "warmup_s": 30,
    "tasks.calls_per_task": [1, 2],
    "arrivals.n_clients": 2,
    "tasks.wait_s.median": 0.3,
    "engine.max_num_seqs": 2,
}
TASK = AgentTask(growth_tokens=231 + 299)  # answers come back in the next prompt
CALLS, WAIT, CLIENTS = "tasks.calls_per_task", "tasks.wait_s.median", "arrivals.n_clients"
TOOLS = ("0.3", "10", "30")
COLOURS = dict(zip(TOOLS, PALETTE, strict=False))
MARKS = {32: "o", 128: "s", 192: "D", 384: "^"}
PUBLISHED_TOKENS_PER_S = {"glm_4_7": 16715}  # GPUStack, vLLM 0.11, 8x H200, GLM-4.6 with 4000 tokens in and 200 out
MOST_CALLS = 16


def played(table: Table) -> pd.DataFrame:
    """Per scenario: cost of a task and hit ratio, over all calls that finished within the window.

    The node is paid for all the time, so a task of k calls costs k * (rent per second) / (calls finished per second).
    """
    rows = []
    for row in table.frame.to_dict("records"):
        folder = table.folder / row["digest"]
        calls = pd.read_parquet(
            folder / "requests.parquet", columns=["finished_s", "input_tokens", "cached_input_tokens"]
        )
        one = parse(yaml.safe_load((folder / "config.yaml").read_text()))
        start_s, end_s = one.warmup_s, one.horizon_s
        calls = calls[(calls["finished_s"] >= start_s) & (calls["finished_s"] < end_s)]
        per_s = len(calls) / (end_s - start_s)
        k, gpus = int(row[CALLS]), one.engine.tensor_parallel
        rent_usd_per_s = one.prices.gpu.usd_per_gpu_s(one.gpu.name) * gpus
        rows.append({
            "calls": k, "tool_s": f"{row[WAIT]:g}", "clients": int(row[CLIENTS]),
            "usd_per_task": rent_usd_per_s * k / per_s if per_s else np.inf,
            "hit": calls["cached_input_tokens"].sum() / max(calls["input_tokens"].sum(), 1),
            "ttft_p99_s": row["ttft_p99_s"], "busy": row["busy_fraction_of_paid"],
        })  # fmt: skip
    return pd.DataFrame(rows)


@cache
def api_usd(model: str, cached: bool):
    """Cost of a task of k calls at list price, on paper: all input at the full price, or all repeated input cached."""
    tariff = scenario("+experiment=how_many_calls", model=model).prices.api.models[model]
    rates = (tariff.usd_per_mtok_input, tariff.usd_per_mtok_output, tariff.usd_per_mtok_cached_input)
    reuse = Reuse.EXACT_PREFIX if cached else Reuse.NONE
    return lambda k: api_task_usd(TASK, k, *rates, reuse=reuse)


@cache
def self_usd_on_paper(reuse: Reuse):
    """Cost of a task on paper, as cost articles reckon: a published throughput at 70 %, and reused tokens are free."""
    one = scenario("+experiment=how_many_calls")
    rent = one.prices.gpu.usd_per_gpu_s(one.gpu.name) * one.engine.tensor_parallel * HOUR_S
    rate = usd_per_mtok(rent, PUBLISHED_TOKENS_PER_S[one.model.name], 0.7)
    return lambda k: self_hosted_task_usd(TASK, k, rate, reuse)


def crossover(rows: pd.DataFrame, api) -> int | None:
    """Fewest calls from which these rows are cheaper, joined by straight lines between the calls that were played."""
    rows = rows.sort_values("calls")
    return crossover_calls(
        lambda k: float(np.interp(k, rows["calls"], rows["usd_per_task"])), api, int(rows["calls"].max())
    )


def draw_costs(axes: Axes, rows: pd.DataFrame) -> None:
    """Cost against k: lines on paper, marks played."""
    k = np.arange(1, MOST_CALLS + 1)
    for cached, dash in ((False, "-"), (True, (0, (5, 2)))):
        name = "API, cached input" if cached else "API, no cache"
        axes.plot(
            k, [api_usd("glm_4_7", cached)(n) for n in k], color="#222222", linestyle=dash, linewidth=1.6, label=name
        )
    for reuse, name in (
        (Reuse.EXACT_PREFIX, "own GPUs on paper, all reused"),
        (Reuse.NONE, "own GPUs on paper, none reused"),
    ):
        dots = (0, (1, 1.5)) if reuse is Reuse.NONE else (0, (4, 1.5, 1, 1.5))
        axes.plot(k, [self_usd_on_paper(reuse)(n) for n in k], color=PALETTE[3], linestyle=dots, label=name)
    for (tool_s, clients), line in rows.groupby(["tool_s", "clients"]):
        line = line.sort_values("calls")
        axes.plot(
            line["calls"], line["usd_per_task"], color=COLOURS[tool_s], marker=MARKS.get(clients, "o"), linewidth=0.9,
            markersize=5.5,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="calls of a task, k", ylabel="USD a task", title="GLM-4.7 on 8 H200s")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.set_xticks([1, 2, 4, 8, 16])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def draw_hits(axes: Axes, rows: pd.DataFrame) -> None:
    """Share of input found in memory against tasks at once, for the longest tasks."""
    longest = rows[rows["calls"] == rows["calls"].max()]
    for tool_s, line in longest.groupby("tool_s"):
        line = line.sort_values("clients")
        axes.plot(line["clients"], line["hit"], color=COLOURS[tool_s], linewidth=1)
        for point in line.to_dict("records"):
            axes.plot(point["clients"], point["hit"], MARKS.get(point["clients"], "o"), color=COLOURS[tool_s])
    for tool_s in TOOLS:
        axes.plot([], [], color=COLOURS[tool_s], linewidth=3, label=f"tools of {tool_s} s")
    for clients, mark in MARKS.items():
        axes.plot([], [], mark, color="#555555", label=f"{clients} tasks at once")
    axes.set(xscale="log", xlabel="tasks at once", ylabel="share of input found in KV memory", ylim=(-0.03, 1))
    axes.set_title(f"k = {rows['calls'].max()}")
    axes.set_xticks(sorted(rows["clients"].unique()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")


def draw_crossovers(axes: Axes, rows: pd.DataFrame) -> None:
    """For each tool time and number of tasks: from how many calls on one's own GPUs are cheaper."""
    tools, clients = sorted(rows["tool_s"].unique(), key=float), sorted(rows["clients"].unique())
    for x, n in enumerate(clients):
        for y, tool_s in enumerate(tools):
            some = rows[(rows["clients"] == n) & (rows["tool_s"] == tool_s)]
            found = [crossover(some, api_usd("glm_4_7", cached)) for cached in (False, True)]
            words = ["never" if k is None else f"k ≥ {k}" for k in found]
            shade = sum(k is not None for k in found)
            colour = ("#F3D6C6", "#E7ECC9", "#BFE3CF")[shade]
            axes.fill_between([x - 0.48, x + 0.48], y - 0.48, y + 0.48, color=colour, linewidth=0)
            axes.text(x, y, f"no cache: {words[0]}\ncached: {words[1]}", ha="center", va="center", size=8)
    axes.set_xticks(range(len(clients)), [f"{n}" for n in clients])
    axes.set_yticks(range(len(tools)), [f"{t} s" for t in tools])
    axes.set(xlabel="tasks at once", ylabel="tool time, median", title="own GPUs cheaper for good (k up to 16)")
    axes.tick_params(length=0)


def answer(play: Play, folder: Path) -> None:
    rows = played(play())
    other = played(play("model=deepseek_v3_2", f"{CLIENTS}=32", f"{WAIT}=0.3", part="deepseek_v3_2"))
    figure = Figure(figsize=(16.5, 5), layout="constrained")
    costs, hits, crossovers = figure.subplots(1, 3, width_ratios=(1.1, 0.85, 1.25))
    draw_costs(costs, rows)
    draw_hits(hits, rows)
    draw_crossovers(crossovers, rows)
    for axes in (costs, hits):
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "cost_against_calls.png", dpi=DPI)
    other["api_usd"], other["api_cached_usd"] = (
        [api_usd("deepseek_v3_2", c)(k) for k in other["calls"]] for c in (False, True)
    )
    print(other.round(4).to_string(index=False))


if __name__ == "__main__":
    main(__file__, SMALL, answer)
