"""The same chat on steps that mix prompts and answers, and on steps of prompts first: first tokens against gaps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.drawing import CI_SUFFIX, JUDGED, PALETTE, measured, panels, save
from experiments.running import Play, main

SMALL = {"horizon_s": 60, "warmup_s": 0, "replications": 1, "engine.max_num_seqs": 64}
RATE, BUDGET = "arrivals.rate_per_s", "engine.max_num_batched_tokens"
ENGINES = {"vllm_0_24": "vLLM", "sglang": "SGLang"}
RATES_PER_S = (8, 12, 16, 18, 20, 22)
SERVED_PER_S = 20
"""The highest of these rates that all of them serve: beyond it a queue grows."""
BUDGETS = (8192, 2048)
LINES = {("vllm_0_24", 8192): "-", ("vllm_0_24", 2048): "--", ("sglang", 8192): "-", ("sglang", 2048): "--"}
GAPS_MS = (50, 100, 200, 400)
KEYS = ("ttft_p50_s", "ttft_p95_s", "itl_p50_s", "itl_p99_s", "tpot_mean_s", "slo_attainment_fraction")


def played(play: Play) -> pd.DataFrame:
    """One row per engine, budget of a step and rate."""
    axes = {BUDGET: play.some(BUDGETS), RATE: play.some(RATES_PER_S)}
    tables = [play(f"engine={engine}", part=engine, axes=axes).frame.assign(preset=engine) for engine in ENGINES]
    rows = pd.concat(tables, ignore_index=True).copy()
    return rows.assign(rate=rows[RATE].astype(float), budget=rows[BUDGET].astype(int))


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Left: p95 of the time to first token. Right: p99 of the gaps between tokens. Both against the load, in ms."""
    figure, (first, gaps) = panels("Prompts first: first tokens a little sooner", "and much longer gaps between tokens")
    in_ms = rows.copy()
    for axes, key, words, most_per_s in (
        (first, "ttft_p95_s", "p95 of time to first token, ms", SERVED_PER_S),
        (gaps, "itl_p99_s", "p99 of the gaps between tokens, ms (log)", max(RATES_PER_S)),
    ):
        for column in (key, key + CI_SUFFIX):
            in_ms[column] = 1000 * in_ms[column].astype(float)
        for engine, budget in LINES:
            some = in_ms[(rows["preset"] == engine) & (rows["budget"] == budget) & (rows["rate"] <= most_per_s)]
            colour, style = PALETTE[list(ENGINES).index(engine)], LINES[engine, budget]
            measured(axes, some["rate"], some, key, colour, linestyle=style)
            axes.plot([], [], style, color=colour, label=f"{ENGINES[engine]}, {budget:,}")
        axes.set_ylabel(words)
    first.set_ylim(0, None)
    gaps.set_yscale("log")
    gaps.set_yticks(GAPS_MS, [str(ms) for ms in GAPS_MS])
    gaps.minorticks_off()
    first.legend(frameon=False, fontsize=8.5, title="engine, tokens of prompts in a step", title_fontsize=8.5)
    figure.supxlabel(f"requests per second; {JUDGED}", size=9)
    save(figure, path)


def answer(play: Play, folder: Path) -> None:
    """Play both engines at every load and budget; draw, and print the table of the README."""
    rows = played(play)
    draw(rows, folder / "first_tokens_and_gaps.png")
    columns = ["preset", "budget", "rate"]
    for key in KEYS:
        columns += [key, key + CI_SUFFIX]
    columns += ["meets_slo", "preemptions"]
    print(rows.reindex(columns=columns).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main(__file__, SMALL, answer)
