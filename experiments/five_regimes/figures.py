"""Break-even of own GPUs against the API, for three models and five shapes of call, beside the load within the SLO."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml
from matplotlib.axes import Axes

from experiments.drawing import GREY, PALETTE, panels, save
from experiments.running import Play, main
from sim.ledger.breakeven import breakeven_fraction
from sim.report.verdict import is_yes
from sim.scenarios import Scenario, scenario
from sim.simulation import peak_tokens_per_s
from sim.units import HOUR_S
from sim.workload.workload import Workload

SMALL = {"horizon_s": 60, "warmup_s": 0, "drain_s": 60, "replications": 1, "arrivals.burst_factor": [1]}
ARTICLE = Path(__file__).parents[2] / "examples" / "paper_article_004.yaml"
OVERHEAD = 1.15  # article 004 adds 15 % to the rent
LOADS = (0.15, 0.3, 0.5, 0.7, 0.9)
"""Offered load as a fraction of the saturated rate."""
MODELS = {
    "qwen3_32b": ("engine.tensor_parallel=1", "engine.weight_dtype=null"),
    "deepseek_v3_2": ("engine.tensor_parallel=8", "engine.weight_dtype=fp8"),
    "glm_4_7": ("engine.tensor_parallel=8", "engine.weight_dtype=fp8"),
}
NAMES = {"qwen3_32b": "Qwen3-32B", "deepseek_v3_2": "DeepSeek-V3.2", "glm_4_7": "GLM-4.7"}
CARDS = {"h200_sxm": "H200", "b200": "B200"}
PUBLISHED_ON = {"qwen3_32b": "h100_sxm", "deepseek_v3_2": "h200_sxm", "glm_4_7": "h200_sxm"}
TTFT_S = {"short": 2, "chat": 2, "medium": 2, "long": 5, "very_long": 15}
"""The SLO's time to first token: a choice, longer where the prompt alone takes seconds."""


def words_of(model: str, card: str, regime: str, tokens: dict) -> list[str]:
    """What tells one case from the base scenario."""
    lengths = [f"lengths.{side}={tokens[side]}" for side in ("input_tokens", "output_tokens")]
    return [f"model={model}", f"gpu={card}", *MODELS[model], *lengths, f"slo.ttft_s={TTFT_S[regime]}"]


def saturated_tokens_per_s(one: Scenario) -> float:
    """Input and output tokens per second of one replica that always has work."""
    return peak_tokens_per_s(one, Workload(one.arrivals, one.lengths, one.tasks))


def case(play: Play, model: str, card: str, regime: str, tokens: dict) -> dict:
    """One model, card and shape of call: its saturated rate, its break-even, and the highest load within the SLO."""
    words = words_of(model, card, regime, tokens)
    one = scenario("+experiment=five_regimes", *words)
    peak = saturated_tokens_per_s(one)
    size = tokens["input_tokens"] + tokens["output_tokens"]
    rates = [load * peak / size for load in play.some(LOADS)]
    frame = play(*words, part=f"{model}_{card}_{regime}", axes={"arrivals.rate_per_s": rates}).frame
    tariff = one.prices.api.models[model]
    paid = tariff.usd_per_mtok_input * tokens["input_tokens"] + tariff.usd_per_mtok_output * tokens["output_tokens"]
    usd_per_hour = one.prices.gpu.usd_per_gpu_s(card) * one.engine.tensor_parallel * HOUR_S
    return {
        "model": model, "card": card, "regime": regime, "tokens_per_s": peak,
        "break_even": breakeven_fraction(usd_per_hour, peak, paid / size, OVERHEAD).needed,
        "steady": reached(frame, 1), "bursty": reached(frame, 4),
    }  # fmt: skip


def reached(frame: pd.DataFrame, burst_factor: int) -> float:
    """The highest token_fraction_of_peak of the scenarios that meet the SLO; 0 if none does."""
    rows = frame[frame["arrivals.burst_factor"].astype(float) == burst_factor]
    within = rows[[is_yes(meets) for meets in rows["meets_slo"]]]
    return float(within["token_fraction_of_peak"].max()) if len(within) else 0.0


def draw(axes: Axes, rows: pd.DataFrame) -> None:
    """One line per case: a dot where own GPUs begin to be cheaper, a bar for what traffic lets them reach."""
    axes.axvspan(0.7, 1.0, color=GREY, alpha=0.08, linewidth=0)
    for y, row in enumerate(rows.to_dict("records")):
        axes.plot([0, row["steady"]], [y, y], color="#B8D0E8", linewidth=7, solid_capstyle="butt", zorder=1)
        axes.plot([0, row["bursty"]], [y, y], color=PALETTE[0], linewidth=7, solid_capstyle="butt", zorder=2)
        wins = row["break_even"] <= row["steady"]
        axes.plot(
            row["break_even"], y, "D", color=PALETTE[1], markersize=6, markerfacecolor=PALETTE[1] if wins else "white",
            markeredgewidth=1.5, zorder=4,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [f"{NAMES[row.model]}, {row.regime}" for row in rows.itertuples()], fontsize=8)
    axes.set(xlim=(0, 3), xlabel="token_fraction_of_peak (shaded: 0.7 to 1)")


def published(play: Play, article: dict) -> pd.DataFrame:
    """Saturated rates of the simulator beside the published throughput of the same model on the same cards."""
    rows = []
    for model, card in play.some(PUBLISHED_ON.items())[: 1 if play.small else None]:
        for regime, tokens in article[model]["regimes"].items():
            one = scenario("+experiment=five_regimes", *words_of(model, card, regime, tokens))
            found = {"simulated": saturated_tokens_per_s(one), "published": tokens["tokens_per_s"]}
            rows.append({"model": model, "card": card, "regime": regime, **found})
    table = pd.DataFrame(rows)
    return table.assign(ratio=table["simulated"] / table["published"])


def answer(play: Play, folder: Path) -> None:
    """Play every case, draw both cards, and print the tables."""
    article = yaml.safe_load(ARTICLE.read_text(encoding="utf-8"))["models"]
    cases = [(model, regime, tokens) for model in MODELS for regime, tokens in article[model]["regimes"].items()]
    chosen = cases[:1] if play.small else cases
    table = pd.DataFrame([case(play, model, card, *rest) for card in play.some(CARDS) for model, *rest in chosen])
    wins = [int((table["break_even"] <= table[key]).sum()) for key in ("steady", "bursty")]
    figure, axes = panels(*CARDS.values(), width=6.2, height=5.2, sharey=True)
    for each, card in zip(axes, CARDS, strict=True):
        draw(each, table[table["card"] == card])
    axes[0].invert_yaxis()  # and with it the other panel, which shares the axis
    words = "diamond: own GPUs are cheaper from here on\n(filled: steady traffic gets there)"
    axes[0].text(1.12, 0.0, words, size=8.5, color=PALETTE[1], va="center")
    axes[1].text(
        1.12, 0.0, "bar: load within the SLO,\nlight if steady, dark in bursts", size=8.5, color=PALETTE[0], va="center"
    )
    figure.suptitle(
        f"Own GPUs reach break-even in {wins[0]} of {len(table)} cases if traffic is steady, in {wins[1]} if bursty",
        weight="bold", size=12,
    )  # fmt: skip
    save(figure, folder / "break_even_and_reached.png")
    print(table.round(3).to_string(index=False))
    print(published(play, article).round(2).to_string(index=False))


if __name__ == "__main__":
    main(__file__, SMALL, answer)
