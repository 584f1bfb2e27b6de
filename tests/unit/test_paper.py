"""Own GPUs or an API on paper: the numbers of cost articles follow, and a simulated fleet is marked beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sim.__main__ import main
from sim.ledger.on_paper import Paper, Zone, points, recipe, task_costs
from sim.schema import parse_config

ARTICLE = Path(__file__).parents[2] / "examples" / "paper_article_004.yaml"


def article(**changes) -> Paper:
    return parse_config(Paper, yaml.safe_load(ARTICLE.read_text()) | changes)


def by_name(paper: Paper) -> dict:
    return {(p.model, p.regime): p for p in points(paper)}


def at_rent(usd_per_gpu_hour: float) -> Paper:
    """The article at another price of a GPU-hour of Hopper's throughput."""
    data = yaml.safe_load(ARTICLE.read_text())
    for model in data["models"].values():
        model["usd_per_hour"] *= usd_per_gpu_hour / 1.10
    return parse_config(Paper, data)


@pytest.mark.parametrize(
    "model, regime, own, api",
    [
        ("qwen3_32b", "short", 0.125, 0.086), ("qwen3_32b", "chat", 0.213, 0.175), ("qwen3_32b", "long", 0.234, 0.090),
        ("deepseek_v3_2", "short", 0.399, 0.274), ("deepseek_v3_2", "chat", 0.703, 0.332),
        ("deepseek_v3_2", "long", 0.403, 0.276), ("glm_4_7", "short", 0.423, 0.441), ("glm_4_7", "chat", 0.666, 1.039),
        ("glm_4_7", "long", 0.240, 0.464),
    ],
)  # fmt: skip
def test_figure_1_of_the_article(model, regime, own, api):
    found = by_name(article())[model, regime]
    assert found.self_usd_per_mtok == pytest.approx(own, abs=6e-4)
    assert found.api_usd_per_mtok == pytest.approx(api, abs=6e-4)


@pytest.mark.parametrize("rent", [0.91, 1.0, 1.14])
def test_the_api_wins_for_two_models_and_loses_for_the_third(rent):
    for (model, regime), found in by_name(at_rent(rent)).items():
        if regime in ("short", "chat", "long"):
            assert (found.self_usd_per_mtok < found.api_usd_per_mtok) == (model == "glm_4_7")


@pytest.mark.parametrize("rent", [0.80, 1.40])
def test_outside_that_window_of_rents_it_does_not(rent):
    """The wrong twin: the article's first figure holds for about $0.90 to $1.15 only."""
    figure = {k: p for k, p in by_name(at_rent(rent)).items() if k[1] in ("short", "chat", "long")}
    assert any((p.self_usd_per_mtok < p.api_usd_per_mtok) != (k[0] == "glm_4_7") for k, p in figure.items())


def test_the_zones_of_figure_3():
    found = by_name(article())
    assert {round(100 * found[m, "chat"].breakeven.needed) for m in ("qwen3_32b", "deepseek_v3_2", "glm_4_7")} == {
        85, 148, 45,
    }  # fmt: skip
    assert all(p.zone is Zone.EASY for (model, _), p in found.items() if model == "glm_4_7")
    near = [p.breakeven.needed for (m, r), p in found.items() if m == "deepseek_v3_2" and r != "chat"]
    assert 0.9 < min(near) and max(near) < 1.1


def test_a_task_of_twenty_calls_is_two_to_three_times_as_cheap_on_own_gpus():
    """Reading B at $0.65 per million tokens: 2.6 x without, 2.2 x with cached reads, crossing at k = 3 and 4."""
    paper = article()
    at_65_cents = 0.65 / by_name(paper)["deepseek_v3_2", "chat"].self_usd_per_mtok
    rent = paper.models["deepseek_v3_2"].usd_per_hour * at_65_cents
    model = paper.models["deepseek_v3_2"].model_copy(update={"usd_per_hour": rent})
    costs = task_costs(paper.model_copy(update={"models": {"deepseek_v3_2": model}}), "deepseek_v3_2", "chat")
    assert costs.api_uncached[19] == pytest.approx(0.0537, abs=1e-4)
    assert costs.api_cached[19] == pytest.approx(0.0448, abs=1e-4)
    assert round(costs.api_uncached[19] / costs.own[19], 1) == 2.6
    assert round(costs.api_cached[19] / costs.own[19], 1) == 2.2
    assert (costs.crossover_uncached, costs.crossover_cached) == (3, 4)


def test_what_is_left_unsaid_is_assumed_as_in_the_article():
    """70 % of the peak and 15 % on the rent: its figure 1 follows without naming either."""
    data = yaml.safe_load(ARTICLE.read_text())
    unsaid = parse_config(
        Paper, {key: data[key] for key in data if key not in ("token_fraction_of_peak", "overhead_fraction")}
    )
    assert by_name(unsaid) == by_name(article())


def test_the_recipe_compares_totals():
    """Two A100 around the clock at $2.00 against $0.88 per million: $2,920 in 730 h, and 1 G tokens cost $880."""
    regime = {"input_tokens": 1, "output_tokens": 1, "tokens_per_s": 4000}
    api = {"usd_per_mtok_input": 0.88, "usd_per_mtok_output": 0.88}
    model = {"usd_per_hour": 4.0, "api": api, "regimes": {"mix": regime}}
    paper = parse_config(Paper, {"models": {"a": model}, "overhead_fraction": 0, "tokens_per_month": 1e9})
    said = [step.value for step in recipe(paper, "a", "mix")]
    assert len(said) == 6 and said[1] == "$880" and said[4].startswith("$2,920")
    assert said[5] == "the API is cheaper by $2,040 a month"


@pytest.mark.slow
def test_the_command_prints_draws_and_marks_what_is_realized(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["lengths=fixed", "horizon_s=60", "arrivals.rate_per_s=1", "drain_s=60", "engine.max_num_seqs=4"]
    command = ["paper", str(ARTICLE), "--figure", "p.svg", "--replicas", "1..2", "--realized", *words]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "1 replica: token_fraction_of_peak" in said and "2 replicas:" in said and "the recipe, qwen3_32b" in said
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    "words, law",
    [
        (["--tokens-per-s", "700"], "--usd-per-hour: is required"),
        (
            ["--tokens-per-s", "0", "--usd-per-hour", "2", "--api", "1/1/1"],
            "tokens_per_s = 0.0: should be greater than 0",
        ),
        (["--tokens-per-s", "7", "--usd-per-hour", "2", "--api", "1"], "--api 1: must be 3 numbers"),
        (["nope.yaml"], "cannot be read"),
        ([str(ARTICLE), "--model", "x"], "--model x: must be one of qwen3_32b"),
        ([str(ARTICLE), "--figure", "a.gif"], "must end in .png or .svg"),
        ([str(ARTICLE), "--fraction", "1.5"], "token_fraction_of_peak"),
        ([str(ARTICLE), "--replicas", "3..1", "--realized"], "--replicas 3..1"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, words, law):
    monkeypatch.chdir(tmp_path)
    assert main(["paper", *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and law in lines[0] and not list(tmp_path.iterdir())
