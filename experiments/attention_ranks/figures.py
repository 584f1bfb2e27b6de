"""DeepSeek-V3 on eight H200s: one tensor-parallel group or eight attention ranks, from one reader to a full node."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from experiments.drawing import PALETTE, name, panels, save
from experiments.running import Play, main

SMALL = {"horizon_s": 60, "warmup_s": 10, "drain_s": 30, "engine.max_num_seqs": 8}
RANKS, WHOLE, CLIENTS = "engine.attention_data_parallel", "engine.expert_parallel", "arrivals.n_clients"
LAYOUTS = ((1, False), (1, True), (8, False), (8, True))
"""Attention ranks, and whether experts are whole; ranks send tokens to whole ones by an all-to-all."""
NAMES = dict(zip(LAYOUTS, ("one group", "one group, whole experts", "8 ranks", "8 ranks, whole experts"), strict=True))
SLOTS = 1024
"""Most running sequences of the node."""
SHAPES = {"chat": (1024, 1024), "long_prompts": (8192, 1024), "reasoning": (1024, 8192)}
TITLES = {
    "chat": "1k in, 1k out: up to 60 % more, from 256 readers on",
    "long_prompts": "8k in, 1k out: 29 % more, at four times the time",
    "reasoning": "1k in, 8k out: three times as much, and faster",
}
COLUMNS = [CLIENTS, "output_tokens", "window_s", "tpot_p50_s", "ttft_p95_s", "usd_per_mtok_output", "preemptions"]
NAMED = (1, 16, 128, 512)
N_CLIENTS = (1, 4, 16, 64, 128, 256, 512, 1024)


def played(play: Play, shape: str) -> pd.DataFrame:
    """A row per layout and number of clients."""
    prompt, answer = SHAPES[shape]
    words = (f"lengths.max_input_tokens={prompt}", f"lengths.max_output_tokens={answer}")
    lasts = answer // 1024
    words += (f"horizon_s={900 * lasts}", f"warmup_s={300 * lasts}", f"drain_s={900 * lasts}")
    tables = []
    for ranks, whole in LAYOUTS:
        layout = (f"{RANKS}={ranks}", f"{WHOLE}={str(whole).lower()}", f"engine.max_num_seqs={SLOTS // ranks}")
        layout += ("engine.expert_exchange=all_to_all",) if whole and ranks > 1 else ()
        part = f"{shape}_{ranks}_{'whole' if whole else 'sliced'}"
        table = play(*words, *layout, part=part, axes={CLIENTS: play.some(N_CLIENTS)}).frame
        tables.append(table[COLUMNS].assign(**{RANKS: ranks, WHOLE: whole, "shape": shape}))
    rows = pd.concat(tables, ignore_index=True)
    tokens_per_s = rows["output_tokens"].astype(float) / rows["window_s"].astype(float)
    return rows.assign(output_tokens_per_s=tokens_per_s)


def draw(axes: Axes, rows: pd.DataFrame) -> None:
    """Tokens of the node against the pace of one reader, a line per layout, a point per number of readers."""
    for layout, text in NAMES.items():
        ranks, whole = layout
        some = rows[(rows[RANKS] == ranks) & (rows[WHOLE] == whole)].sort_values(CLIENTS)
        tpot_ms, tokens = 1e3 * some["tpot_p50_s"].astype(float), some["output_tokens_per_s"]
        looks = {"linestyle": "--", "alpha": 0.6} if whole else {}
        axes.plot(
            tpot_ms, tokens, marker="o", color=PALETTE[ranks > 1], markersize=4, linewidth=1.5, label=text, **looks
        )
        for clients, x, y in zip(some[CLIENTS], tpot_ms, tokens, strict=True):
            if clients in NAMED and not whole:
                name(axes, x, y, f"{clients}", PALETTE[ranks > 1], (-5, 4) if ranks == 1 else (6, -4))
    axes.set(xlabel="median time per output token, ms (log); numbers are readers at once", xscale="log", yscale="log")
    ticks = [5, 10, 20, 50, 100, 200]
    axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axes.minorticks_off()


def answer(play: Play, folder: Path) -> None:
    """Play every shape, layout and number of clients; draw, and print the table of the README."""
    shapes = [played(play, shape) for shape in play.some(SHAPES)[: 1 if play.small else None]]
    figure, panes = panels(*(TITLES[rows["shape"].iloc[0]] for rows in shapes), width=5.4, height=4.6, sharey=True)
    for axes, rows in zip(panes, shapes, strict=True):
        draw(axes, rows)
    panes[0].set_ylabel("output tokens per second of the node (log)")
    panes[0].legend(frameon=False, fontsize=8.5, loc="lower right")
    save(figure, folder / "pace_and_tokens.png")
    keys = ["output_tokens_per_s", "tpot_p50_s", "ttft_p95_s", "usd_per_mtok_output", "preemptions"]
    rows = pd.concat(shapes)
    print(rows.set_index(["shape", CLIENTS, RANKS, WHOLE])[keys].astype(float).round(4).sort_index().to_string())


if __name__ == "__main__":
    main(__file__, SMALL, answer)
