"""What a task of k calls costs: through an API on paper, and on a node whose memory must outlast the tools."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes

from experiments.drawing import PALETTE, limit, name, panels, save
from experiments.running import Play, main
from sim.ledger.breakeven import usd_per_mtok
from sim.ledger.task_cost import AgentTask, Reuse, api_task_usd, crossover_calls, self_hosted_task_usd
from sim.report.estimators import ratio_of_sums
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
SHOWN_TOOL_S = "0.3"
RAMP = ("#9CC3E0", "#5B9CCB", "#2468A8", "#08306B")
MODEL = "glm_4_7"
PUBLISHED_TOKENS_PER_S = 16715  # GPUStack, vLLM 0.11, 8x H200, GLM-4.6 with 4000 tokens in and 200 out


def played(table: Table) -> pd.DataFrame:
    """Per scenario, over its seeds: cost of a task with an interval, and hit fraction, of calls finished in the window.

    The node is paid for all the time, so a task of k calls costs k * (rent of the window) / (calls finished in it).
    """
    counted = pd.DataFrame([_counted(row, table.folder / row["folder"]) for row in table.frame.to_dict("records")])
    rows = []
    for (calls, tool_s, clients), seeds in counted.groupby(["calls", "tool_s", "clients"], sort=False):
        usd = ratio_of_sums(list(seeds["rent_usd"] * calls), list(seeds["finished"]))
        rows.append({
            "calls": calls, "tool_s": tool_s, "clients": clients, "seeds": len(seeds),
            "usd_per_task": usd.mean if usd.mean is not None else np.inf,
            "usd_per_task_low": usd.low, "usd_per_task_high": usd.high,
            "hit": seeds["cached"].sum() / max(seeds["input"].sum(), 1),
            "ttft_p99_s": seeds["ttft_p99_s"].mean(), "busy": seeds["busy"].mean(),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _counted(row: dict, folder: Path) -> dict:
    """What one run finished between warm-up and horizon, and the rent of that time."""
    calls = pd.read_parquet(folder / "requests.parquet", columns=["finished_s", "input_tokens", "cached_input_tokens"])
    one = parse(yaml.safe_load((folder / "config.yaml").read_text()))
    calls = calls[(calls["finished_s"] >= one.warmup_s) & (calls["finished_s"] < one.horizon_s)]
    rent_usd_per_s = one.prices.gpu.usd_per_gpu_s(one.gpu.name) * one.engine.tensor_parallel
    return {
        "calls": int(row[CALLS]), "tool_s": f"{row[WAIT]:g}", "clients": int(row[CLIENTS]), "finished": len(calls),
        "rent_usd": rent_usd_per_s * (one.horizon_s - one.warmup_s), "input": calls["input_tokens"].sum(),
        "cached": calls["cached_input_tokens"].sum(), "ttft_p99_s": row["ttft_p99_s"],
        "busy": row["busy_fraction_of_paid"],
    }  # fmt: skip


@cache
def api_usd(model: str, cached: bool):
    """Cost of a task of k calls at list price, on paper: all input at the full price, or all repeated input cached."""
    tariff = scenario("+experiment=how_many_calls", model=model).prices.api.models[model]
    rates = (tariff.usd_per_mtok_input, tariff.usd_per_mtok_output, tariff.usd_per_mtok_cached_input)
    reuse = Reuse.EXACT_PREFIX if cached else Reuse.NONE
    return lambda k: api_task_usd(TASK, k, *rates, reuse=reuse)


def self_usd_on_paper(k: int, reuse: Reuse) -> float:
    """Cost of a task on paper, as cost articles reckon: a published throughput at 70 %, and reused tokens are free."""
    one = scenario("+experiment=how_many_calls")
    rent = one.prices.gpu.usd_per_gpu_s(one.gpu.name) * one.engine.tensor_parallel * HOUR_S
    return self_hosted_task_usd(TASK, k, usd_per_mtok(rent, PUBLISHED_TOKENS_PER_S, 0.7), reuse)


def crossover(rows: pd.DataFrame, api) -> int | None:
    """Fewest calls from which these rows are cheaper, joined by straight lines between the calls that were played."""
    rows = rows.sort_values("calls")
    return crossover_calls(
        lambda k: float(np.interp(k, rows["calls"], rows["usd_per_task"])), api, int(rows["calls"].max())
    )


def draw_calls(axes: Axes, rows: pd.DataFrame) -> None:
    """Own cost over the API's cached price against k, one line per number of tasks at once."""
    some = rows[rows["tool_s"] == SHOWN_TOOL_S]
    clients = sorted(some["clients"].unique())
    for n, colour in zip(clients, RAMP[-len(clients) :], strict=True):
        line = of_api(some[some["clients"] == n].sort_values("calls"))
        with_intervals(axes, line["calls"], line, colour, f"{n} tasks at once")
    limit(axes, 1, "API, cached price", 1, offset=(2, 4))
    axes.set(xscale="log", yscale="log", xlim=(0.9, 36), xlabel=f"calls of a task, k (tools take {SHOWN_TOOL_S} s)")
    axes.set_ylabel("cost of a task on own GPUs, times the API's")
    axes.set_xticks([1, 4, 16], ["1", "4", "16"])
    axes.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    axes.minorticks_off()


def draw_tasks(axes: Axes, rows: pd.DataFrame) -> None:
    """The same ratio of the longest tasks, against how many of them are on the node."""
    longest = rows[rows["calls"] == rows["calls"].max()]
    for tool_s, colour in zip(tools(rows), PALETTE, strict=False):
        line = of_api(longest[longest["tool_s"] == tool_s].sort_values("clients"))
        with_intervals(axes, line["clients"], line, colour, f"tools of {tool_s} s", at=0)
    limit(axes, 1, "API, cached price", 384, offset=(-2, 4))
    calls = int(rows["calls"].max())
    full = api_usd(MODEL, False)(calls) / api_usd(MODEL, True)(calls)
    limit(axes, full, "API, no cache", 384, offset=(-2, 4))
    axes.set(xscale="log", yscale="log", xlabel=f"tasks at once, of {calls} calls each")
    axes.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    _clients_axis(axes, rows)


def draw_hits(axes: Axes, rows: pd.DataFrame) -> None:
    """Fraction of input found in memory against tasks at once, for the longest tasks."""
    longest = rows[rows["calls"] == rows["calls"].max()]
    for (tool_s, colour), place in zip(
        zip(tools(rows), PALETTE, strict=False), ((-6, -4), (6, 2), (8, 6)), strict=False
    ):
        line = longest[longest["tool_s"] == tool_s].sort_values("clients")
        axes.plot(line["clients"], line["hit"], "o-", color=colour, linewidth=1.4)
        point = line.iloc[min(2, len(line) - 1)]
        name(axes, point["clients"], point["hit"], f"tools of {tool_s} s", colour, place)
    axes.set(xscale="log", xlabel=f"tasks at once, of {rows['calls'].max()} calls each", ylim=(-0.03, 1))
    axes.set_ylabel("input found in KV memory, fraction")
    _clients_axis(axes, rows)


def tools(rows: pd.DataFrame) -> list[str]:
    """The tool times that were played, shortest first."""
    return sorted(rows["tool_s"].unique(), key=float)


def _clients_axis(axes: Axes, rows: pd.DataFrame) -> None:
    axes.set_xticks(clients := sorted(rows["clients"].unique()), [f"{n}" for n in clients])
    axes.minorticks_off()


def of_api(rows: pd.DataFrame) -> pd.DataFrame:
    """Cost of a task and its interval in multiples of the API's cached price for as many calls."""
    cached = [api_usd(MODEL, True)(k) for k in rows["calls"]]
    keys = ["usd_per_task", "usd_per_task_low", "usd_per_task_high"]
    return rows.assign(**{key: rows[key].astype(float) / cached for key in keys})


def with_intervals(axes: Axes, x: pd.Series, rows: pd.DataFrame, colour: str, text: str, at: int = -1) -> None:
    """A line through the costs with their 95 % intervals, named at its point `at`."""
    y = rows["usd_per_task"].to_numpy()
    below, above = y - rows["usd_per_task_low"].to_numpy(), rows["usd_per_task_high"].to_numpy() - y
    axes.errorbar(x, y, yerr=np.nan_to_num([below, above]), fmt="o-", color=colour, capsize=3, linewidth=1.4)
    name(axes, x.iloc[at], y[at], text, colour, (7, 0) if at == -1 else (8, 6))


def print_crossovers(rows: pd.DataFrame) -> None:
    """For each tool time and number of tasks: from how many calls on one's own GPUs are cheaper."""
    for (tool_s, clients), some in rows.groupby(["tool_s", "clients"]):
        found = [crossover(some, api_usd(MODEL, cached)) for cached in (False, True)]
        words = ["never" if k is None else f"k >= {k}" for k in found]
        print(f"tools of {tool_s} s, {clients} tasks: cheaper than uncached {words[0]}, than cached {words[1]}")


def answer(play: Play, folder: Path) -> None:
    """Play the node with every number of tasks and tool time, draw, and print where it is cheaper."""
    seeds = {"seed": play.some(range(1, 6))[: 1 if play.small else None]}
    rows = played(play(axes=seeds))
    other = played(play("model=deepseek_v3_2", f"{CLIENTS}=32", f"{WAIT}=0.3", part="deepseek_v3_2", axes=seeds))
    figure, (calls, tasks, hits) = panels(
        "The number of tasks at once decides, not k", "too few leave the node idle,", "too many lose their context",
        width=5.4, height=4.6,
    )  # fmt: skip
    draw_calls(calls, rows)
    draw_tasks(tasks, rows)
    draw_hits(hits, rows)
    save(figure, folder / "cost_against_calls.png")
    other["api_usd"], other["api_cached_usd"] = (
        [api_usd("deepseek_v3_2", c)(k) for k in other["calls"]] for c in (False, True)
    )
    for table in (rows, other):
        print(table.round(4).to_string(index=False))
    print_crossovers(rows)
    for reuse in (Reuse.EXACT_PREFIX, Reuse.NONE):
        print(f"16 calls on own GPUs on paper, reuse {reuse}: ${self_usd_on_paper(16, reuse):.4f}")


if __name__ == "__main__":
    main(__file__, SMALL, answer)
