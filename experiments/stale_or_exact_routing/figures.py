"""A published ladder of load on eight pods, routed by chance, by load, and by what a router knows of their caches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes

from experiments.drawing import GREY, PALETTE, name, panels, save
from experiments.running import Play, main
from sim.report.estimators import Interval, Support, mean
from sim.scenarios import parse

SMALL = {"scaling.n_replicas": 2, "engine.max_num_seqs": 8}
STAGES = (
    (15, 50), (3, 20), (10, 20), (15, 20), (20, 38), (22, 34), (25, 30), (30, 25), (35, 21), (40, 38), (43, 36),
    (46, 33), (49, 30), (52, 29), (55, 27), (57, 26), (60, 25),
)  # fmt: skip
"""(requests per second, seconds) of the published ladder; the first one warms the caches up."""
SMALL_STAGES = ((4, 5), (1, 10), (4, 10))
STAGE_S = 400.0
"""From the beginning of a stage to the next: longer than the slowest router takes to drain one."""
GROUPS, PROMPTS, SHARED, OWN, ANSWER = 150, 5, 6_000, 1_200, 1_000
WEIGHTS = ("placement.prefix_weight", "placement.queue_weight", "placement.kv_weight")
AGE = "placement.refresh_s"
AGES_S = (0.0, 0.2, 0.5, 1.0, 2.0)


def weights(*values: float) -> list[str]:
    """The words that set the weights of prefix, queue and KV memory."""
    return [f"{key}={value:g}" for key, value in zip(WEIGHTS, values, strict=True)]


ROUTERS = {
    "random": ["placement=random"],
    "load 0/1/1": [*weights(0, 1, 1), f"{AGE}=1"],
    "estimated index 1/1/1": ["placement=llm_d_estimated"],
    "exact index 1/1/1": weights(1, 1, 1),
    "exact index 3/2/2": weights(3, 2, 2),
}
"""Name and words of each router; load metrics are 0.2 s old if nothing else is said."""


def write_ladder(path: Path, seed: int, stages: Sequence[tuple[float, float]]) -> None:
    """A log of the ladder: Poisson within a stage, prompts in shuffled rounds."""
    rng = np.random.default_rng(seed)
    n = [rng.poisson(rate * seconds) for rate, seconds in stages]
    moments = [
        np.sort(rng.uniform(0, seconds, k)) + i * STAGE_S
        for i, (k, (_, seconds)) in enumerate(zip(n, stages, strict=True))
    ]
    rounds = [rng.permutation(GROUPS * PROMPTS) for _ in range(-(-sum(n) // (GROUPS * PROMPTS)))]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        for arrived_s, prompt in zip(np.concatenate(moments), np.concatenate(rounds), strict=False):
            group = int(prompt) % GROUPS
            blocks = [group * 10 + i for i in range(SHARED // OWN)] + [GROUPS * 10 + int(prompt)]
            row = {"arrived_s": round(float(arrived_s), 6), "input_tokens": SHARED + OWN, "output_tokens": ANSWER}
            out.write(json.dumps(row | {"hash_ids": blocks, "block_size": OWN}) + "\n")


def by_stage(table, stages: Sequence[tuple[float, float]]) -> pd.DataFrame:
    """One row for each run and stage after the warm-up: rate, mean and p90 of TTFT in s, output tokens per second."""
    rows = []
    for row in table.frame.to_dict("records"):
        folder = table.folder / row["folder"]
        calls = pd.read_parquet(folder / "requests.parquet", columns=["arrived_s", "first_token_s", "finished_s"])
        placement = parse(yaml.safe_load((folder / "config.yaml").read_text())).placement
        age_s = getattr(placement, "refresh_s", np.nan)
        # A replay begins with its first row, so that all moments are a little earlier than those of the log.
        stage = (calls["arrived_s"] / STAGE_S + 0.25).astype(int)
        for i, (rate, _) in list(enumerate(stages))[1:]:
            some = calls[stage == i]
            ttft_s = some["first_token_s"] - some["arrived_s"]
            lasted_s = some["finished_s"].max() - some["arrived_s"].min()
            rows.append({
                "path": row["arrivals.path"], "age_s": age_s, "rate_per_s": rate, "ttft_mean_s": ttft_s.mean(),
                "ttft_p90_s": ttft_s.quantile(0.9), "output_tokens_per_s": ANSWER * len(some) / lasted_s,
                "overlaps": some["finished_s"].max() > calls.loc[stage > i, "arrived_s"].min(),
            })  # fmt: skip
    return pd.DataFrame(rows)


def over_seeds(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Mean TTFT with its 95 % interval over the seeds, for each value of `by`."""
    found: dict[float, Interval] = {
        value: mean(list(some["ttft_mean_s"]), Support.NON_NEGATIVE) for value, some in rows.groupby(by)
    }
    return pd.DataFrame(
        [{by: value, "mean": i.mean, "low": i.low, "high": i.high} for value, i in found.items()]
    ).astype(float)


def line(axes: Axes, rows: pd.DataFrame, by: str, colour: str, text: str, offset=(7, 0), at: int = -1) -> None:
    """A named line of means with intervals."""
    found = over_seeds(rows, by)
    reach = np.nan_to_num([found["mean"] - found["low"], found["high"] - found["mean"]])
    axes.errorbar(found[by], found["mean"], yerr=reach, fmt="o-", color=colour, capsize=3, linewidth=1.4, markersize=4)
    name(axes, found[by].iloc[at], found["mean"].iloc[at], text, colour, offset)


def draw(routed: dict[str, pd.DataFrame], aged: dict[str, pd.DataFrame], path: Path) -> None:
    """Left: the ladder. Right: what the age of the metrics does below the knee."""
    figure, (ladder, ages) = panels(
        "Without a prefix index the pods break between 15 and 20 requests/s",
        "Fresh metrics flatter a load-aware router", width=6.6, height=4.6,
    )  # fmt: skip
    colours = dict(zip(routed, PALETTE, strict=False))
    for text, rows in routed.items():
        line(ladder, rows, "rate_per_s", colours[text], text, *(((5, -8), 0) if text == "random" else ()))
    ladder.set(yscale="log", xlabel="requests per second of a stage", ylabel="mean time to first token, s (log)")
    ladder.set_xlim(0, 88)
    ladder.set_xticks([3, 10, 15, 20, 30, 40, 50, 60])
    ladder.yaxis.set_major_formatter("{x:g}")
    for text, rows in aged.items():
        line(ages, rows, "age_s", colours[text], text, (0, 8), at=1)
    by_chance = routed["random"]
    level = by_chance.loc[by_chance["rate_per_s"] == below_knee(by_chance), "ttft_mean_s"].mean()
    ages.axhline(level, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    name(ages, 2.0, level, "random", GREY, (-2, 5))
    ages.set(
        xlabel="age of load metrics, s", ylabel=f"mean TTFT at {below_knee(by_chance):g} requests/s, s", ylim=(0, None)
    )
    save(figure, path)


def below_knee(rows: pd.DataFrame) -> float:
    """10 requests per second, or in small the highest rate."""
    return min(10.0, rows["rate_per_s"].max())


def answer(play: Play, folder: Path) -> None:
    """Write the logs, play every router on each, and the ages of the metrics of two of them."""
    stages = SMALL_STAGES if play.small else STAGES
    logs = play.outputs / "stale_or_exact_routing"
    paths = [str(logs / f"ladder_{seed}.jsonl") for seed in ((1,) if play.small else range(1, 6))]
    for seed, path in enumerate(paths, 1):
        write_ladder(Path(path), seed, stages)
    routed = {}
    for text, words in ROUTERS.items():
        part = text.replace(" ", "_").replace("/", "")
        routed[text] = by_stage(play(*words, part=part, axes={"arrivals.path": paths}), stages)
    ages = play.some(AGES_S)
    aged = {}
    for text in ("load 0/1/1", "exact index 3/2/2"):
        table = play(*ROUTERS[text], part=f"ages_{text[:4]}", axes={AGE: ages, "arrivals.path": paths})
        rows = by_stage(table, stages)
        aged[text] = rows[rows["rate_per_s"] == below_knee(rows)]
    draw(routed, aged, folder / "ladder.png")
    for text, rows in routed.items():
        print(text, "- a stage overlaps the next" if rows["overlaps"].any() else "")
        means = rows.groupby("rate_per_s")[["ttft_mean_s", "ttft_p90_s", "output_tokens_per_s"]].mean()
        print(means.T.round(2).to_string())
    for text, rows in aged.items():
        print(text, over_seeds(rows, "age_s").round(3).to_string(index=False), sep="\n")


if __name__ == "__main__":
    main(__file__, SMALL, answer)
