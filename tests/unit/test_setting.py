"""Every screen says what a result rests on: model, cards, replicas, SLO, price lists, window; of a sweep, once."""

import json
from pathlib import Path

import pytest

import sim
from sim.report.screen import print_lines, wrapped
from sim.study.saved import read_row
from sim.study.setting import read_setting, setting_of, shared
from tests.unit.cli import TINY

WORDS = (*TINY, "horizon_s=120", "hydra/launcher=basic", "output.page=false", "output.study=some")


def told(*words):
    return setting_of(sim.scenario(*words))


def test_cards_replicas_and_tensor_parallelism():
    found = told("gpu=h200_sxm", "model=gpt_oss_120b", "engine.tensor_parallel=4", "scaling=keda", "warmup_s=60")
    assert found["model"] == "gpt_oss_120b" and found["cards"] == "4 x h200_sxm a replica (TP 4)"
    assert found["precision"] == "bf16 weights, mxfp4 experts, bf16 KV cache"
    assert found["replicas"] == "0 to 4" and found["SLO"] == "TTFT ≤ 2 s, TPOT ≤ 0.2 s, for 99 % of calls"
    assert "after a warm-up of 1 min" in found["window"] and "API prices" not in found
    assert told("engine.weight_dtype=fp8", "engine.kv_dtype=fp8")["precision"] == "fp8 weights, fp8 KV cache"


def test_an_api_has_no_cards_and_no_price_of_gpus():
    found = told("fleet=api_only")
    assert found["replicas"] == "none, API only" and not {"cards", "GPU prices", "precision"} & set(found)
    assert found["API prices"] == "open-model APIs, 2026-08-21"
    assert found["API tokens"] == "$0.18 in, $0.18 out, per Mtok"


def test_a_price_that_was_given_is_told_beside_the_list_that_it_replaces():
    assert told("prices.gpu.usd_per_gpu_hour.h100_sxm=0.3")["GPU-hour"] == "$0.30 of h100_sxm"


def test_each_pool_is_told_and_each_application_has_its_slo():
    pools = ("fleet=hybrid_overflow", "pools=spot_a100", "routing.queue_per_replica=8")
    found = told("gpu=l4", *pools)
    assert "baseline 1 x l4 a replica" in found["cards"] and "1 x a100_80gb" in found["cards"]
    assert found["replicas"].startswith("baseline 1; spot ")
    slo = told("applications=chat_and_coding")["SLO"]
    assert slo.count("% of calls") == 2 and slo.startswith("chat ")
    apart = told("+disaggregation={prefill_replicas: 3, link_gb_per_s: 50}", "scaling.n_replicas=2")
    assert apart["replicas"] == "prefill 3; decode 2"


def test_what_all_have_in_common_is_said_once_and_what_differs_is_named():
    settings = [told(f"gpu={gpu}", f"fleet={fleet}") for gpu in ("l4", "l40s") for fleet in ("always_on", "api_only")]
    lines = shared(settings).lines
    assert "model: llama_3_1_8b" in lines and len([line for line in lines if line.startswith("SLO")]) == 1
    assert "cards, by scenario: 1 x l4 a replica (TP 1) | 1 x l40s a replica (TP 1)" in lines
    assert "replicas, by scenario: 1 | none, API only" in lines
    assert "GPU prices: GPU clouds (mostly RunPod secure), 2026-03 to 2026-06" in lines
    assert "GPU-hour, by scenario: $0.67 of l4 | $1.55 of l40s" in lines
    pools = [
        told(f"gpu={gpu}", "fleet=hybrid_overflow", "pools=spot_a100", "routing.queue_per_replica=8")
        for gpu in ("l4", "l40s")
    ]
    assert any(line.startswith("cards, by scenario: baseline 1 x l4") for line in shared(pools).differing)
    many = [told(f"slo.ttft_s={limit}") for limit in range(1, 9)]
    assert shared(many).differing[-1] == "differ, as the labels say: SLO (8 kinds)"
    assert shared([]) == shared([{}]) == ([], [])


def test_the_screens_of_a_run_of_a_sweep_and_of_its_prices_say_so(play, reprice, tmp_path):
    for out in (play(*TINY, "gpu=l4").out, play("-m", *WORDS, "gpu=l4", "fleet=always_on,api_only").out):
        for word in ("model: ", "cards: 1 x l4", "SLO: TTFT", "GPU prices: ", "window: ", "seed: 1, 1 replication"):
            assert out.count(word) == 1, word
    assert out.index("window: ") < out.index("fleet ")
    dearer = reprice("outputs/some", "prices.gpu.provider=Elsewhere")
    assert "GPU prices: Elsewhere, 2026-03" in dearer.out and "API prices: open-model" in dearer.out


def test_a_row_without_it_is_read_off_its_configuration(play, collect, tmp_path):
    play("-m", *WORDS, "gpu=l4,l40s")
    before = collect("outputs/some").out
    for path in Path("outputs/some").glob("*/row.json"):
        own = read_setting(path.parent)
        row = json.loads(path.read_text())
        assert row["setting"] == own
        del row["setting"]
        path.write_text(json.dumps(row))
        assert read_row(path.parent).setting == {}
        assert {**read_setting(path.parent), "window": own["window"]} == own
    after = collect("outputs/some").out
    assert "cards, by scenario: 1 x l4" in before and "cards, by scenario: 1 x l4" in after
    path.write_text(json.dumps(row | {"within": row["within"] | {"config.yaml": {"model": "of another version"}}}))
    assert read_setting(path.parent) == {}


@pytest.mark.parametrize("columns", [40, 60, 80, 140])
def test_lines_are_broken_between_words(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = "  SLO: " + ", ".join(f"word-{number}" for number in range(60))
    print_lines([text])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns and " ".join(" ".join(lines).split()) == text.strip()
    assert list(wrapped("x" * 200, columns)) == ["x" * 200]
