"""Replicas, attention ranks and whole experts, and SGLang's scheduler, as files of measured runs state them."""

from __future__ import annotations

import json

import pytest

from sim.measured.operating_points import OperatingPoint, scenario_of
from sim.measured.play import Play
from sim.measured.predict import predict
from sim.measured.readers.files import read_results
from sim.measured.stated import ServerStated, StagedRun
from sim.measured.stated_server import server_stated
from sim.schema import ConfigError, parse_config
from tests.fidelity.test_any_file import POINT, RUN, STAGE
from tests.unit.test_result_readers import INFERENCE_MAX, SGLANG, VLLM

GPT_OSS = "openai/gpt-oss-120b"
IN_SGLANG = {"engine": {"name": "SGLang 0.5.10"}}


@pytest.mark.parametrize(
    ("stated", "experts", "replicas_gpus_ranks"),
    [
        ({"data_parallel": 2, "tensor_parallel": 2}, False, (2, 2, 1)),  # vLLM: engines of their own
        ({"data_parallel": 4, "tensor_parallel": 2}, True, (1, 8, 4)),  # vLLM: ranks of two GPUs, in lockstep
        ({"data_parallel": 8, "n_gpus": 8}, True, (1, 8, 8)),
        ({"data_parallel": 4, "replicas": 2}, True, (2, 4, 4)),
        ({"replicas": 2, "n_gpus": 8}, True, (2, 4, 1)),
        ({"data_parallel": 4, "tensor_parallel": 8} | IN_SGLANG, True, (4, 8, 1)),
        ({"data_parallel": 4, "tensor_parallel": 8, "enable_dp_attention": True} | IN_SGLANG, True, (1, 8, 4)),
        ({"data_parallel": 8, "n_gpus": 8, "enable_dp_attention": True} | IN_SGLANG, True, (1, 8, 8)),
    ],
)
def test_data_parallelism_is_of_replicas_or_of_attention(stated, experts, replicas_gpus_ranks):
    assert ServerStated(model="m", gpu="g", **stated).layout(experts) == replicas_gpus_ranks


def test_ranks_without_a_number_are_refused():
    with pytest.raises(ConfigError, match="enable_dp_attention: needs data_parallel"):
        parse_config(ServerStated, {"model": "m", "gpu": "g", "enable_dp_attention": True})


def test_a_row_is_played_as_its_server_was_laid_out():
    """Two H100s: a mixture of experts in two ranks, a dense model as two replicas of half the clients each."""
    ranks = POINT | {"model": GPT_OSS, "dtype": "mxfp4", "data_parallel": "2", "expert_parallel": "true"}
    engine = scenario_of(ranks, Play()).engine
    assert (engine.tensor_parallel, engine.attention_data_parallel, engine.expert_parallel) == (2, 2, True)
    of_ranks, of_replicas = ({p.metric: p.predicted for p in _predicted(row)} for row in (ranks, _dense("2")))
    assert of_ranks["tpot_mean_s"] > 0
    one = {p.metric: p.predicted for p in _predicted(_dense("1") | {"concurrency": "1", "n_requests": "10"})}
    assert of_replicas["output_tok_per_s"] == pytest.approx(2 * one["output_tok_per_s"], rel=0.02)
    (point,), _ = OperatingPoint("f", _dense("2"), 0).points()
    assert (point.concurrency, point.facts.replicas) == (1, 2), "a fit sees one of the replicas"


def _dense(data_parallel: str) -> dict[str, str]:
    return POINT | {"data_parallel": data_parallel}


def _predicted(row):
    return OperatingPoint("f", row, 0).predictions(Play(1))


def _read(tmp_path, content):
    (tmp_path / "r.json").write_text(json.dumps(content))
    return read_results([str(tmp_path / "r.json")])


def test_results_of_load_generators_state_ranks_by_the_flags_of_their_engines(tmp_path):
    def layouts(*rows):
        points = _read(tmp_path, list(rows)).points
        return [(p.concurrency, p.facts.replicas, *p.layout) for p in points]

    vllm = VLLM | {"tp": "2", "dp": "4", "enable_expert_parallel": "true"}
    assert layouts(vllm | {"model_id": GPT_OSS}, vllm) == [(4, 1, 8, 4, True), (1, 4, 2, None, True)]
    row = INFERENCE_MAX[0] | {"model": GPT_OSS, "tp": 4, "ep": 4}
    assert [found[2:] for found in layouts(row, row | {"dp_attention": True})] == [(4, None, True), (4, 4, True)]
    info = {"model_path": GPT_OSS, "tp_size": 8, "dp_size": 4, "ep_size": 8}
    sglang = SGLANG | {"request_rate": None}
    assert layouts(sglang | {"server_info": info}, sglang | {"server_info": info | {"enable_dp_attention": True}}) == [
        (2, 4, 8, None, True), (8, 1, 8, 4, True),
    ]  # fmt: skip


def test_a_row_with_ranks_is_played_with_ranks(tmp_path):
    """Four clients of gpt-oss on four H200s: ranks repeat the attention weights, so a step of theirs takes longer."""
    row = INFERENCE_MAX[0] | {"model": GPT_OSS, "hw": "h200", "tp": 4, "ep": 4, "conc": 4, "precision": "fp4"}
    _read(tmp_path, [row, row | {"dp_attention": "true"}])
    tpot_s = [p.predicted for p in predict(tmp_path / "r.json", 1) if p.metric == "tpot_mean_s"]
    assert 1.05 < tpot_s[1] / tpot_s[0] < 3


def test_a_run_that_says_sglang_is_played_with_sglangs_scheduler():
    told: list[str] = []
    play = Play(note=told.append)

    def engine(**changes):
        run = RUN | {"engine": {"name": "sglang 0.5.9"} | changes.pop("flags", {})} | changes
        return server_stated(parse_config(StagedRun, run), play).engine

    plain = engine()
    assert plain.prefill_first and plain.prefill_first.schedule_policy == "fcfs"
    assert (plain.max_num_batched_tokens, plain.block_tokens, plain.activation_reserve_gb) == (8192, 1, 14.6)
    assert engine(gpu="L40S").max_num_batched_tokens == 4096, "by the card's memory"
    told_flags = engine(flags={"schedule_policy": "lpm", "gpu_memory_utilization": 0.8, "max_num_batched_tokens": 4096})
    assert told_flags.prefill_first.schedule_policy == "lpm"
    assert (told_flags.activation_reserve_gb, told_flags.max_num_batched_tokens) == (0, 4096)
    ranks = engine(model=GPT_OSS, data_parallel=4, tensor_parallel=4, enable_dp_attention=True)
    assert (ranks.attention_data_parallel, ranks.max_num_batched_tokens, ranks.max_num_seqs) == (4, 2048, 512)
    assert ranks.prefill_first.new_token_ratio == pytest.approx(0.3 * plain.prefill_first.new_token_ratio)
    assert set(told) == {
        "engine 'sglang 0.5.9': played as SGLang 0.5.10, with vLLM's step times: no constant is SGLang's own"
    }
    with pytest.raises(ConfigError, match="schedule_policy = lpm: is an option of SGLang"):
        server_stated(parse_config(StagedRun, RUN | {"engine": {"schedule_policy": "lpm"}}), play)
    assert scenario_of(POINT | {"engine": "SGLang 0.4"}, play).engine.prefill_first


def test_prompts_first_shorten_the_wait_and_lengthen_the_answers(tmp_path):
    """A burst of long prompts: SGLang computes all of them before the first answer goes on, vLLM beside the answers."""
    burst = STAGE | {"arrival": "burst", "n_requests": 40, "prompt_tokens": 2000, "output_tokens": 100}
    runs = [RUN | {"id": name, "stages": [burst], "engine": {"name": name}} for name in ("vllm", "sglang")]
    (tmp_path / "runs.json").write_text(json.dumps({"experiments": runs}))
    rows = {(p.experiment, p.metric): p.predicted for p in predict(tmp_path / "runs.json", 1) if p.stage == 0}
    assert rows["sglang", "ttft_mean_s"] < rows["vllm", "ttft_mean_s"]
    assert rows["sglang", "itl_mean_s"] > rows["vllm", "itl_mean_s"]


def test_sglangs_own_results_are_of_sglang_unless_the_words_say_otherwise(tmp_path, capsys):
    from sim.cli.fidelity import main as fidelity

    info = SGLANG["server_info"] | {"chunked_prefill_size": 2048, "max_running_requests": -1, "schedule_policy": "dfs"}
    results = SGLANG | {"request_rate": None, "server_info": info}
    (tmp_path / "r.json").write_text(json.dumps(results))
    tpot_s = {}
    for words in ([], ["--engine", "sglang"], ["--engine", "vllm"]):
        out = tmp_path / "out.json"
        assert fidelity([str(tmp_path / "r.json"), "--gpu", "h100_sxm", "--out", str(out), *words]) == 0
        tpot_s[words[-1] if words else ""] = [r["predicted"] for r in json.loads(out.read_text())]
    said = capsys.readouterr().err
    assert "engine sglang" in said and "max_num_batched_tokens 2048" in said and "schedule_policy dfs" in said
    assert tpot_s[""] == tpot_s["sglang"] != tpot_s["vllm"]
