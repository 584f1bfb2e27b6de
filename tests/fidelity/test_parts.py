"""What the fidelity suite does before it measures anything: names, requests, prefixes, arithmetic of errors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sim.__main__ import main
from sim.hardware.names import gpu_file, model_file, names_context, names_fp8
from sim.measured import staged_runs
from sim.measured.client_metrics import seen_by_clients
from sim.measured.logged_runs import sent_requests
from sim.measured.operating_points import scenario_of
from sim.measured.play import Play
from sim.measured.predict import predict
from sim.measured.prediction import Prediction, as_text, mean_absolute_errors
from sim.measured.sent_requests import Sent, write_requests
from sim.measured.stated import StagedRun, StageStated
from sim.measured.stated_server import server_stated
from sim.measured.tuned_on import is_tuned_on
from sim.randomness import Streams
from sim.schema import ConfigError, TraceError, parse_config
from sim.work import Outcome
from sim.workload.arrivals.replay import Replay
from sim.workload.workload import Workload

LOADED = {
    "stage": 0, "rate_rps": 5.0, "duration_s": 600, "n_requests": 3000, "arrival": "poisson",
    "prompt_tokens": {"mean": 591.63, "p50": 591.0, "min": 580.0, "p5": 582.95, "p95": 601.0, "max": 604.0},
    "output_tokens": 247, "shared_prefix_tokens": 100, "n_prefix_groups": 10, "n_distinct_prompts": 100,
    "prompt_repeat_period_requests": 100,
}  # fmt: skip
RUN = {
    "id": "made-up", "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "H100-SXM-80GB", "tensor_parallel": 1,
    "dtype": "bfloat16", "kv_dtype": "bfloat16",
    "engine": {"max_num_seqs": 128, "max_num_batched_tokens": 4096, "kv_cache_blocks": 12345, "block_size": 16},
    "stages": [
        LOADED | {"duration_s": 20, "n_requests": 100}, LOADED | {"stage": 1, "duration_s": 10, "n_requests": 90},
    ],
}  # fmt: skip
STAGE = parse_config(StageStated, LOADED)


@pytest.mark.parametrize(
    ("hugging_face_id", "file"),
    [
        ("Qwen/Qwen3-14B", "qwen3_14b"),
        ("meta-llama/llama-3.1-8b-INSTRUCT", "llama_3_1_8b"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama_3_1_8b"),
        ("codellama/CodeLlama-34b-Instruct-hf", "code_llama_34b"),
        ("01-ai/Yi-34B-Chat", "yi_34b"),
        ("mistralai/Mistral-Nemo-Base-2407", "mistral_nemo"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral_8x7b"),
        ("RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic", "llama_4_scout"),
        ("meta-llama/Llama-2-70b-chat-hf", "llama_2_70b"),
        ("llama-2-7b", "llama_2_7b"),
        ("Llama2-7B-chat", "llama_2_7b"),
        ("llama-3-1-70b-instruct", "llama_3_1_70b"),
        ("qwen2-5-7b", "qwen2_5_7b"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "qwen2_5_7b"),
        ("Qwen/Qwen2.5-7B-Instruct-1M", "qwen2_5_7b"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507", "qwen3_235b_a22b"),
        ("Mixtral-8x7B-v0-1", "mixtral_8x7b"),
        ("Mixtral-8x22B-Instruct-v0-1", "mixtral_8x22b"),
        ("CodeLlama-34b-Python-hf", "code_llama_34b"),
        ("01-ai/Yi-34B-200K", "yi_34b"),
        ("01-ai/Yi-1.5-34B-Chat", "yi_34b"),
        ("nvidia/Mistral-NeMo-12B-Instruct", "mistral_nemo"),
        ("deepseek-ai/DeepSeek-R1", "deepseek_v3"),
        ("deepseek-ai/DeepSeek-V3.1", "deepseek_v3"),
        ("deepseek-ai/DeepSeek-V3.2", "deepseek_v3_2"),
    ],
)
def test_a_model_is_found_by_its_shape(hugging_face_id, file):
    assert model_file(hugging_face_id) == file


@pytest.mark.parametrize("hugging_face_id", ["Qwen/Qwen3-38B", "Llama-2-13b", "Qwen2.5-72B", "DeepSeek-V2", "Yi-6B"])
def test_another_size_or_generation_is_another_model(hugging_face_id):
    with pytest.raises(ConfigError, match="is not known"):
        model_file(hugging_face_id)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("H100-80GB", "h100_sxm"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("NVIDIA-A100-SXM4-80GB", "a100_80gb_sxm"),
        ("A100-SXM4-40GB", "a100_40gb_sxm"),
        ("B200-SXM-192GB", "b200"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx_4090"),
    ],
)
def test_a_card_is_found_as_its_driver_writes_it(name, file):
    assert gpu_file(name) == file


def test_a_slice_of_a_card_is_not_the_card():
    with pytest.raises(ConfigError, match="'A100-SXM4-20GB': is not known"):
        gpu_file("A100-SXM4-20GB")


def test_unknown_names_are_refused_with_what_is_known():
    with pytest.raises(ConfigError, match="'acme/Llama-9'.*Qwen/Qwen3-14B"):
        model_file("acme/Llama-9")
    with pytest.raises(ConfigError, match="'TPU-v5'.*h100_sxm"):
        gpu_file("TPU-v5")
    assert names_fp8("RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic") and not names_fp8("openai/gpt-oss-20b")


def test_a_longer_context_may_be_in_the_name():
    assert names_context("01-ai/Yi-34B-200K") == 204_800 and names_context("Qwen/Qwen3-14B") is None


def test_flags_and_logged_blocks_reach_the_engine():
    run = parse_config(StagedRun, RUN | {"tensor_parallel": 2, "dtype": "fp8"})
    engine = server_stated(run, Play()).engine
    assert (engine.max_num_seqs, engine.max_num_batched_tokens, engine.kv_cache_blocks) == (128, 4096, 12345)
    assert (engine.tensor_parallel, engine.weight_dtype) == (2, "fp8")


def test_a_stage_sends_exactly_its_requests_with_exponential_gaps():
    times_s = staged_runs._moments(STAGE, 3000, np.random.default_rng(1))
    gaps_s = np.diff(times_s)
    assert len(times_s) == 3000 and times_s[0] == 0 and times_s[-1] < 600
    assert gaps_s.mean() == pytest.approx(0.2, rel=0.01)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1.0, abs=0.06)  # three standard errors of an exponential's CV
    even = parse_config(StageStated, LOADED | {"arrival": "constant"})
    assert np.diff(staged_runs._moments(even, 3000, None)) == pytest.approx(np.full(2999, 0.2))


def test_prompts_repeat_round_robin_and_groups_begin_alike():
    sent = staged_runs._requests(STAGE, np.random.default_rng(1), 0.0, 0, None)
    assert all(a[1:] == b[1:] for a, b in zip(sent, sent[100:], strict=False))
    assert len({s.prefix for s in sent}) == 100 and len({s.prefix.split()[0] for s in sent}) == 10
    lengths = np.array([s.input_tokens for s in sent])
    assert lengths.mean() == pytest.approx(591.63, abs=0.5) and lengths.min() >= 579 and lengths.max() <= 605
    later = staged_runs._requests(STAGE, np.random.default_rng(1), 0.0, 40, None)
    assert later[0][1:] == sent[40][1:]  # a later stage goes on with the same prompts


def test_a_log_may_name_what_prompts_begin_with(tmp_path):
    path = tmp_path / "log.csv"
    requests = [
        Sent(0.0, 50, 5, "sys:16 a:34"),
        Sent(1.0, 60, 5, "sys:16 b:20"),
        Sent(2.0, 9, 5),
        Sent(3.0, 9, 5, "a:9"),
    ]
    write_requests(path, requests)
    calls = [t.calls[0] for b in Workload(Replay(path=str(path))).task_blocks(Streams(1), 10.0) for t in b]
    assert [sum(n for _, n in c.segments) for c in calls] == [50, 36, 0, 9]
    assert calls[0].segments[0] == calls[1].segments[0]
    assert calls[0].segments[1][0] != calls[3].segments[0][0]  # the same name after other text is other text
    for bad in ("sys", "sys:0", "sys:16 a:99", ":5"):
        write_requests(path, [Sent(0.0, 50, 5, bad)])
        with pytest.raises(TraceError, match="line 2, column 'prefix'"):
            Replay(path=str(path)).log  # noqa: B018


def test_a_conversation_goes_on_from_the_prompt_it_repeats(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text(
        "arrival_s,input_tokens,output_tokens,prefix_hit_tokens_ideal\n0,100,5,0\n1,200,5,96\n2,300,5,192\n3,90,5,0\n"
    )
    prefixes = [sent.prefix for sent in sent_requests(path)]
    assert prefixes == ["prompt0:100", "prompt0:96 prompt1:104", "prompt0:96 prompt1:96 prompt2:108", "prompt3:90"]


def test_operating_points_become_closed_loops_and_bursts():
    row = {
        "source": "x", "engine": "vllm", "gpu": "H100-SXM", "tp": "2", "model": "meta-llama/Llama-3.1-70B",
        "dtype": "fp8", "input_len": "1024", "output_len": "512", "concurrency": "8",
        "notes": "sweep; lengths uniform in [0.8L,L]",
    }  # fmt: skip
    scenario = scenario_of(row, Play())
    assert (scenario.arrivals.n_clients, scenario.arrivals.n_tasks) == (8, 80)
    assert (scenario.lengths.mean_input_tokens, scenario.engine.prefix_caching) == (921.5, False)
    burst = scenario_of(row | {"concurrency": "", "notes": "all 300 requests sent at once"}, Play())
    assert burst.arrivals.n_clients == burst.arrivals.n_tasks == 300
    with pytest.raises(TraceError, match="neither a concurrency"):
        scenario_of(row | {"concurrency": ""}, Play())


def test_errors_leave_out_overload_and_what_was_not_measured():
    rows = [
        Prediction("a", 0, "m", 1.1, 1.0), Prediction("a", 1, "m", 0.8, 1.0), Prediction("b", 0, "m", 9.0, 1.0, True),
        Prediction("a", "overall", "m", 5.0, 1.0), Prediction("a", 0, "n", 5.0),
    ]  # fmt: skip
    assert mean_absolute_errors(rows) == {"m": pytest.approx(0.15)}


def test_one_command_takes_any_file_of_the_schema(tmp_path, capsys):
    file, out = tmp_path / "runs.json", tmp_path / "predictions.json"
    file.write_text(json.dumps({"schema": "", "units": "", "experiments": [RUN]}))
    words = ["fidelity", str(file), "--out", str(out), "--replications", "1"]
    assert main(words) == 0
    rows = json.loads(out.read_text())
    assert {tuple(row) for row in rows} == {("experiment", "stage", "metric", "predicted")}
    assert {row["stage"] for row in rows} == {0, 1, "overall"}
    needed = {f"{m}_{s}_s" for m in ("ttft", "e2e") for s in ("mean", "p50", "p90", "p99")} | {"itl_mean_s"}
    assert needed <= {row["metric"] for row in rows if row["stage"] == 1}
    assert "made-up 1" in capsys.readouterr().out
    strange = RUN | {"id": "strange", "model": "acme/Llama-9"}
    file.write_text(json.dumps({"experiments": [strange, RUN]}))
    assert main(words) == 0
    assert capsys.readouterr().err.startswith("not predicted: strange: model = 'acme/Llama-9'")
    assert json.loads(out.read_text()) == rows
    file.write_text(json.dumps({"experiments": [strange]}))
    assert main(words) == 2


def test_the_same_run_gives_the_same_predictions(tmp_path):
    file = tmp_path / "runs.json"
    file.write_text(json.dumps({"experiments": [RUN]}))
    assert predict(file, 2) == predict(file, 2)


def test_latencies_are_what_load_generators_call_them():
    """Three requests by hand. ITL: time after the first tokens over tokens after the first, of all together (vLLM's
    definition): (5 + 8 + 0) / (6 + 5 + 1 - 3). TPOT: the mean of each request's own, where it has any: 5 / 5 and 8 / 4.
    """
    requests = {
        "arrived_s": np.array([0.0, 1.0, 2.0]), "first_token_s": np.array([1.0, 3.0, 5.0]),
        "finished_s": np.array([6.0, 11.0, 5.0]), "output_tokens": np.array([6, 5, 1]),
        "input_tokens": np.array([10, 20, 30]), "outcome": np.full(3, Outcome.FINISHED),
    }  # fmt: skip
    seen = seen_by_clients(requests)
    assert seen["ttft_mean_s"] == 2.0 and seen["e2e_mean_s"] == pytest.approx(19 / 3)
    assert seen["itl_mean_s"] == pytest.approx(13 / 9)
    assert seen["tpot_mean_s"] == 1.5
    assert seen["makespan_s"] == 11.0 and seen["requests_per_s"] == pytest.approx(3 / 11)
    assert seen["output_tok_per_s"] == pytest.approx(12 / 11) and seen["total_tok_per_s"] == pytest.approx(72 / 11)
    refused = requests | {"outcome": np.array([Outcome.FINISHED, Outcome.REFUSED, Outcome.FINISHED])}
    assert seen_by_clients(refused)["ttft_mean_s"] == 2.0 and seen_by_clients(refused)["makespan_s"] == 6.0


def test_a_run_that_constants_were_set_by_is_told_from_one_that_was_only_compared():
    """conf/engine/trt_llm_2024.yaml was set by NVIDIA's H100 rows; their A100 rows were left out, as README says."""
    assert is_tuned_on("NVIDIA NIM 1.0", "H100 SXM") and is_tuned_on("bt-h100-llama-2-7b", "H100-SXM-80GB")
    assert not is_tuned_on("NVIDIA NIM 1.0", "A100 SXM") and not is_tuned_on("my own server", "H100 SXM")


def test_predicting_twice_what_was_measured_is_an_error_of_plus_100_percent():
    rows = [Prediction("a", 0, "ttft_mean_s", 2.0, 1.0), Prediction("a", 1, "ttft_mean_s", 0.5, 1.0)]
    assert [row.error for row in rows] == [1.0, -0.5]
    lines = as_text(rows).splitlines()
    assert [line.split() for line in lines if "error" in line][:2] == [["error", "+100.0%"], ["error", "-50.0%"]]
    assert lines[-1].split()[-1] == "75.0%"
