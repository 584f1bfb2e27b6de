"""Results of every load generator become operating points; what was taken for what, and what was not, is told.

The files are written here from the formats' own lists of keys. Copies of the same content lie beside the project, too,
and are read where they are there.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from sim.measured.described_server import measured_on, server_described
from sim.measured.predict import predict
from sim.measured.readers.files import read_results
from sim.schema import ConfigError, TraceError

CASES = Path(__file__).parents[3] / "shared" / "cases" / "logs"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
LOADS = [(n, *shape) for n in (1, 4, 16, 64, 128) for shape in ((256, 256), (2048, 256), (8192, 128))]

VLLM = {
    "backend": "vllm", "model_id": LLAMA, "num_prompts": 40, "request_rate": "inf", "max_concurrency": 4,
    "duration": 20.5, "completed": 40, "failed": 0, "total_input_tokens": 10240, "total_output_tokens": 10240,
    "output_throughput": 499.5, "mean_ttft_ms": 31.21, "mean_tpot_ms": 7.964,
}  # fmt: skip
SGLANG = {
    "backend": "sglang", "dataset_name": "random", "request_rate": float("inf"), "max_concurrency": 8,
    "random_range_ratio": 1.0, "duration": 15.4, "completed": 64, "total_input_tokens": 32000,
    "total_output_tokens": 12800, "total_output_tokens_retokenized": 12790, "output_throughput": 831.0,
    "mean_e2e_latency_ms": 1930.5, "mean_ttft_ms": 40.0, "mean_tpot_ms": 5.0, "mean_itl_ms": 9.5, "concurrency": 7.9,
    "accept_length": None, "server_info": {"model_path": LLAMA, "tp_size": 2, "kv_cache_dtype": "auto"},
}  # fmt: skip
GUIDELLM = {
    "metadata": {"guidellm_version": "0.6.0"},
    "args": {"model": LLAMA},
    "benchmarks": [{
        "config": {"strategy": {"type_": "concurrent", "streams": 8}},
        "metrics": {
            "request_totals": {"successful": 64, "errored": 0, "total": 64},
            "time_to_first_token_ms": {"successful": {"mean": 41.0}},
            "inter_token_latency_ms": {"successful": {"mean": 9.4}},
            "prompt_token_count": {"successful": {"mean": 500}},
            "output_token_count": {"successful": {"mean": 200}},
            "output_tokens_per_second": {"successful": {"mean": 830.0}},
        },
    }],
}  # fmt: skip
AIPERF = {
    "request_count": {"unit": "requests", "avg": 64}, "time_to_first_token": {"unit": "ms", "avg": 40.0},
    "inter_token_latency": {"unit": "ms", "avg": 9.5}, "output_sequence_length": {"unit": "tokens", "avg": 200},
    "input_sequence_length": {"unit": "tokens", "avg": 500},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 828.8},
    "input_config": {"endpoint": {"model_names": [LLAMA]}, "loadgen": {"concurrency": 8}},
}  # fmt: skip
GENAI_PERF = AIPERF | {
    "input_config": {"model": [LLAMA], "perf_analyzer": {"stimulus": {"concurrency": 8}}},
}  # fmt: skip
GENAI_CSV = (
    "Metric,avg,min,max,p99,p95,p90,p75,p50,p25\r\nTime To First Token (ms),40.00,1,2,3,4,5,6,7,8\r\n"
    "Inter Token Latency (ms),9.50,1,2,3,4,5,6,7,8\r\nOutput Sequence Length,200.00,1,2,3,4,5,6,7,8\r\n"
    'Input Sequence Length,"1,500.00",1,2,3,4,5,6,7,8\r\n\r\nMetric,Value\r\n'
    "Output Token Throughput (per sec),828.80\r\nRequest Count (count),64.00\r\n"
)
LLMPERF = {
    "version": "2023-08-31", "name": "x", "model": LLAMA, "num_concurrent_requests": 8, "mean_input_tokens": 500,
    "results_ttft_s_mean": 0.04, "results_end_to_end_latency_s_mean": 1.9305, "results_inter_token_latency_s_mean": 9.0,
    "results_number_input_tokens_mean": 500.0, "results_number_output_tokens_mean": 200.0,
    "results_num_completed_requests": 64, "results_num_requests_started": 64, "results_number_errors": 0,
    "results_mean_output_throughput_token_per_s": 828.8,
}  # fmt: skip
INFERENCE_PERF = {
    "load_summary": {"count": 60, "requested_rate": 2.0, "achieved_rate": 2.0, "schedule_delay": {"mean": 0.001}},
    "successes": {
        "count": 60,
        "latency": {
            "request_latency": {"mean": 1.9305}, "time_to_first_token": {"mean": 0.04},
            "inter_token_latency": {"mean": 0.00475},
        },
        "throughput": {"output_tokens_per_sec": 395.0},
        "prompt_len": {"mean": 500.0}, "output_len": {"mean": 200.0},
    },
    "failures": {"count": 0},
}  # fmt: skip
INFERENCE_MAX = [
    {
        "hw": "h100", "conc": n, "model": LLAMA, "framework": "vllm", "precision": "bf16", "tp": 1,
        "num_requests_total": 8 * n, "num_requests_successful": 8 * n, "mean_ttft": 0.0171, "mean_tpot": 0.007885,
        "mean_input_tokens": float(prompt), "mean_output_tokens_actual": float(answer), "output_tput_tps": 126.25 * n,
    }
    for n, prompt, answer in LOADS
]  # fmt: skip


@pytest.fixture
def read(tmp_path):
    """`read(content)` reads it as a file: text, or JSON."""

    def read(content, name="r.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_results([str(path)])

    return read


def case(name: str):
    path = CASES / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside the project: its twin in this file is tested all the same")
    return read_results([str(path)])


def as_lines(results: list[dict]) -> str:
    return "".join(json.dumps(result) + "\n" for result in results)


def sweep(**changes) -> str:
    """Fifteen results of 40 requests each, as `--append-result` writes them."""
    loads = [(n, prompt, answer) for n, prompt, answer in LOADS]
    rows = [
        VLLM | {"max_concurrency": n, "total_input_tokens": 40 * prompt, "total_output_tokens": 40 * answer} | changes
        for n, prompt, answer in loads
    ]
    return as_lines(rows)


# --- every format gives its points --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name", "figures", "tokens"),
    [
        (GUIDELLM, "r.json", (0.041, 0.0094, 830.0), 500),
        (AIPERF, "r.json", (0.040, 0.0095, 828.8), 500),
        (GENAI_PERF, "r.json", (0.040, 0.0095, 828.8), 500),
        (GENAI_CSV, "x-concurrency8/profile_export_genai_perf.csv", (0.040, 0.0095, 828.8), 1500),
        (LLMPERF, "r.json", (0.040, 0.0095, 828.8), 500),
        (SGLANG, "r.jsonl", (0.040, 0.0095, 831.0), 500),
    ],
    ids=["guidellm", "aiperf", "genai-perf", "genai-perf-csv", "llmperf", "sglang"],
)
def test_eight_clients_of_500_and_200_tokens(content, name, figures, tokens, read):
    """TPOT is the time after the first token over the tokens after it, whatever a tool calls its own."""
    results = read(content, name)
    (point,) = results.points
    assert (point.concurrency, point.rate_per_s, point.requests) == (8, None, 64)
    assert (point.input_tokens, point.output_tokens) == (tokens, 200)
    assert point.measured == pytest.approx(figures)
    assert "csv" in name or results.model_ids == [LLAMA]


def test_a_rate_of_inference_perf(read):
    (point,) = read(INFERENCE_PERF, "stage_0_lifecycle_metrics.json").points
    assert (point.rate_per_s, point.burstiness, point.requests) == (2.0, 1.0, 60)
    assert point.measured == pytest.approx((0.04, 0.0095, 395.0))


@pytest.mark.parametrize("rows", ["own", "beside"])
def test_fifteen_rows_of_inference_max_are_in_seconds(rows, read):
    results = read(INFERENCE_MAX) if rows == "own" else case("infmax_agg.json")
    assert [point.concurrency for point in results.points] == [n for n, _, _ in LOADS]
    assert {(point.tensor_parallel, point.facts.gpu, point.facts.model) for point in results.points} == {
        (1, "h100", LLAMA)
    }
    assert results.points[0].measured == pytest.approx((0.0171, 0.007885, 126.25))
    assert results.points[0].requests == 8
    assert results.receipt_lines()[0].split(": ", 1)[1] == (
        f"read as InferenceMAX; 15 points; model {LLAMA}; card h100; engine vllm; tensor parallel 1; weights bf16; "
        "1 to 128 clients; 256 to 8192 -> 128 to 256 tokens"
    )


@pytest.mark.parametrize(
    ("file", "figures"),
    [("aiperf.json", (0.040, 0.0095, 828.8)), ("guidellm_stats_only.json", (0.041, 0.0094, 830.0))],
)
def test_files_beside_the_project_give_the_same_point(file, figures):
    (point,) = case(file).points
    assert (point.concurrency, point.input_tokens, point.output_tokens) == (8, 500, 200)
    assert point.measured == pytest.approx(figures, rel=1e-4)


def test_lengths_of_inference_max_are_nine_tenths_of_what_is_asked_for(read):
    row = {"hw": "h200", "conc": 4, "isl": 1000, "osl": 100, "tp": 4, "mean_ttft": 0.1, "output_tput_per_gpu": 50.0}
    (point,) = read([row]).points
    assert (point.input_tokens, point.output_tokens, point.measured.output_tokens_per_s) == (900, 90, 200.0)


# --- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["own", "beside"])
def test_results_without_failures_keep_their_throughput(source, read):
    results = read(sweep(), "r.jsonl") if source == "own" else case("vllm_none_failed.jsonl")
    assert len(results.points) == 15 and not results.notes
    assert all(point.measured.output_tokens_per_s for point in results.points)


@pytest.mark.parametrize("source", ["failed", "completed only", "beside"])
def test_one_request_in_ten_failed_so_throughput_is_not_fitted(source, read):
    """The span of a run has the failed requests in it, their tokens have not: throughput reads a tenth too low."""
    stated = {"failed": 4} if source == "failed" else {"failed": None}
    own = sweep(completed=36, **stated)
    results = case("vllm_one_in_ten_failed.jsonl") if source == "beside" else read(own, "r.jsonl")
    assert len(results.points) == len(results.notes) == 15
    assert (
        "4 of 40 requests failed (10.0%); latencies are of those answered, throughput is not used" in results.notes[0]
    )
    assert all(point.measured.output_tokens_per_s is None and point.measured.ttft_s for point in results.points)


def test_a_run_of_which_most_failed_is_left_out_and_one_failure_in_a_thousand_is_told(read):
    with pytest.raises(TraceError, match=r"left out, 30 of 40 requests failed \(75.0%\)"):
        read(VLLM | {"completed": 10, "failed": 30, "total_input_tokens": 2560})
    results = read(VLLM | {"num_prompts": 1000, "completed": 999, "failed": 1})
    assert results.points[0].measured.output_tokens_per_s == 499.5 and "1 of 1000" in results.notes[0]


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (AIPERF | {"error_request_count": {"unit": "requests", "avg": 16}}, "r.json"),
        (LLMPERF | {"results_number_errors": 16, "results_num_requests_started": 80}, "r.json"),
    ],
    ids=["aiperf", "llmperf"],
)
def test_other_tools_count_failures_under_other_names(content, path, read):
    results = read(content, path)
    assert "16 of 80 requests failed (20.0%)" in results.notes[0]
    assert results.points[0].measured.output_tokens_per_s is None


# --- requests one by one -------------------------------------------------------------------------------------------


def eight_clients(n=64):
    """(began, first token, ended, input, output) of requests of eight clients, each sent when one is answered."""
    return [
        (2.0 * (i // 8) + 0.001 * (i % 8), 0.04, 2.0 * (i // 8) + 0.001 * (i % 8) + 1.99, 500, 196) for i in range(n)
    ]


def at_a_rate(n=60):
    gaps = np.random.default_rng(1).exponential(0.5, n)
    return [(t, 0.04, t + 0.535, 500, 100) for t in np.cumsum(gaps).tolist()]


def by_aiperf(requests, error=None, phase="profiling", turn=0):
    return [
        {
            "metadata": {"request_start_ns": 1.79e18 + 1e9 * began, "benchmark_phase": phase, "turn_index": turn},
            "metrics": {
                "time_to_first_token": {"value": 1000 * ttft, "unit": "ms"},
                "request_latency": {"value": 1000 * (ended - began), "unit": "ms"},
                "input_sequence_length": {"value": prompt, "unit": "tokens"},
                "output_sequence_length": {"value": answer, "unit": "tokens"},
            },
            "error": error,
        }
        for began, ttft, ended, prompt, answer in requests
    ]


def by_inference_perf(requests, stage=0, error=None, late_s=0.0):
    return [
        {
            "stage_id": stage, "scheduled_time": 77.0 + began - late_s, "start_time": 77.0 + began,
            "end_time": 77.0 + ended, "error": error,
            "info": {
                "request_metrics": {"input_tokens": prompt},
                "response_metrics": {"output_tokens": answer, "output_token_times": [77.0 + began + ttft]},
            },
        }
        for began, ttft, ended, prompt, answer in requests
    ]  # fmt: skip


def by_llmperf(requests, error=None):
    return [
        {
            "error_code": error, "error_msg": "", "inter_token_latency_s": 0.01, "ttft_s": ttft,
            "end_to_end_latency_s": ended - began, "request_output_throughput_token_per_s": 98.0,
            "number_total_tokens": prompt + answer, "number_output_tokens": answer, "number_input_tokens": prompt,
        }
        for began, ttft, ended, prompt, answer in requests
    ]  # fmt: skip


def lines(rows):
    return "\n".join(map(json.dumps, rows))


@pytest.mark.parametrize(
    "content", [lines(by_aiperf(eight_clients())), by_inference_perf(eight_clients())], ids=["aiperf", "inference_perf"]
)
def test_clients_are_told_by_the_requests_that_are_always_inside(content, read):
    (point,) = read(content).points
    assert (point.concurrency, point.rate_per_s, point.requests) == (8, None, 64)
    assert point.measured == pytest.approx((0.040, 0.01, 64 * 196 / 15.997), rel=1e-3)
    assert point.lengths is not None and set(point.lengths) == {(500, 196)}


@pytest.mark.parametrize(
    "content", [lines(by_aiperf(at_a_rate())), by_inference_perf(at_a_rate())], ids=["aiperf", "inference_perf"]
)
def test_requests_that_do_not_wait_for_one_another_come_at_a_rate(content, read):
    (point,) = read(content).points
    assert point.concurrency is None and point.burstiness == 1.0
    assert point.rate_per_s == pytest.approx(59 / np.ptp([began for began, *_ in at_a_rate()]))
    assert point.measured[:2] == pytest.approx((0.040, 0.005), rel=1e-3)


def test_requests_at_even_gaps_have_no_burstiness(read):
    even = [(0.25 * i, 0.04, 0.25 * i + 0.04 + 0.002 * (i % 7 + 1), 500, 2) for i in range(40)]
    (point,) = read(by_inference_perf(even)).points
    assert (point.rate_per_s, point.burstiness) == (pytest.approx(4.0), None)


def test_each_stage_of_a_file_of_requests_is_a_point(read):
    stages = [*by_inference_perf(at_a_rate()), *by_inference_perf(eight_clients(), stage=1)]
    points = read(stages).points
    assert [point.source.rpartition(", ")[2] for point in points] == ["stage 0", "stage 1"]
    late = [*stages, *by_inference_perf(at_a_rate(), stage=2, late_s=0.1)]
    results = read(late)
    assert len(results.points) == 2 and "the client sent its requests later" in results.notes[0]


def test_llmperf_says_its_clients_in_the_summary_beside_the_requests(read, tmp_path):
    name = tmp_path / "run_individual_responses.json"
    name.write_text(json.dumps(by_llmperf(eight_clients())))
    with pytest.raises(TraceError, match="it is in the \\*_summary.json of the same run, which must lie beside it"):
        read_results([str(name)])
    (tmp_path / "run_summary.json").write_text(json.dumps(LLMPERF))
    (point,) = read_results([str(name)]).points
    assert (point.concurrency, point.facts.model) == (LLMPERF["num_concurrent_requests"], LLAMA)
    assert point.measured[:2] == pytest.approx((0.040, 1.95 / 195))
    both = read_results([str(name), str(tmp_path / "run_summary.json")])
    assert len(both.points) == 1 and "the run is read from its requests" in both.notes[0]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (by_aiperf(at_a_rate()), by_aiperf(at_a_rate(15), error={"code": 500})),
        (by_inference_perf(at_a_rate()), by_inference_perf(at_a_rate(15), error={"error_type": "timeout"})),
    ],
    ids=["aiperf", "inference_perf"],
)
def test_requests_that_failed_are_counted_and_left_out(good, bad, read):
    results = read(lines(good + bad))
    assert "15 of 75 requests failed (20.0%)" in results.notes[0] and results.points[0].requests == 60


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (lines(by_aiperf(at_a_rate(), turn=1)), "later turns of a conversation find their prompts cached"),
        (lines(by_aiperf(at_a_rate(), phase="warmup")), "no request succeeded"),
        (by_inference_perf([(0.001 * i, 0.04, 9.0, 500, 100) for i in range(40)]), "sent at once"),
        (by_inference_perf(at_a_rate(), error={"error_type": "timeout"}), "no request succeeded"),
    ],
)
def test_requests_that_are_no_steady_load_are_left_out(content, why, read):
    with pytest.raises(TraceError, match=why):
        read(content)


# --- what the file says of its server -----------------------------------------------------------------------------


def test_metadata_of_vllm_is_read_and_the_rest_is_named(read):
    results = read(VLLM | {"model_id": "served", "model_path": LLAMA, "tp": "2", "replicas": "2", "zone": "b"})
    (point,) = results.points
    assert (point.tensor_parallel, point.concurrency, point.requests) == (2, 2, 20), "of one of the two replicas"
    assert point.measured == pytest.approx((0.03121, 0.007964, 499.5 / 2))
    assert results.model_ids == [LLAMA]
    (line,) = results.receipt_lines()
    assert f"model {LLAMA}; tensor parallel 2; replicas 2; 2 clients" in line and "not used: zone b" in line
    results = read([VLLM, VLLM | {"replicas": "3"}])
    assert "4 clients cannot be shared by 3 replicas" in results.notes[0] and len(results.points) == 1


@pytest.mark.parametrize(
    "path", ["/models/Llama-3.1-8B-Instruct/", f"/c/models--{LLAMA.replace('/', '--')}/snapshots/0a"]
)
def test_a_model_is_found_by_the_path_it_was_loaded_from(path, read):
    server = server_described(words(), read(VLLM | {"model_id": path}).model_ids)
    assert server.model.name == "llama_3_1_8b"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (SGLANG | {"accept_length": 2.4}, "accept_length says that tokens are drafted"),
        (VLLM | {"num_speculative_tokens": "3"}, "num_speculative_tokens says that tokens are drafted"),
        ([INFERENCE_MAX[0] | {"spec_decoding": "mtp"}], "spec_decoding says that tokens are drafted"),
        ([INFERENCE_MAX[0] | {"disagg": True}], "prompts and answers have servers of their own"),
        ({"conc": 4, "scenario_type": "agentic-coding", "request_metrics": {}}, "an agentic scenario replays sessions"),
        (AIPERF | {"was_cancelled": True}, "the run was cancelled"),
        (INFERENCE_PERF | {"load_summary": {"count": 60}}, "its stages are several loads"),
        ([{"number_total_tokens": 9, "request_output_throughput_token_per_s": 1.0}], "states no number of clients"),
        (AIPERF | {"time_to_first_token": {"unit": "fortnight", "avg": 1}}, "'fortnight' is not one of"),
        (AIPERF | {"input_config": {}}, "input_config.loadgen.concurrency': is missing"),
        (GENAI_CSV, "does not say how many clients there were"),
    ],
)
def test_what_would_be_played_as_something_else_is_left_out_with_the_reason(content, why, read):
    with pytest.raises(TraceError, match=why):
        read(content, "r.csv" if isinstance(content, str) else "r.json")


def test_what_is_left_out_is_counted_by_reason(read):
    rows = [
        *INFERENCE_MAX[:3],
        *(INFERENCE_MAX[0] | {"disagg": True} for _ in range(2)),
        INFERENCE_MAX[3] | {"router": "r"},
    ]
    (line,) = read(rows).receipt_lines()
    assert "4 points" in line and "left out: 2 (2 disagg says" in line and "stated but not used: router r" in line


def words(**changes) -> Namespace:
    flags = ("tensor_parallel", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "weight_dtype")
    nothing = dict.fromkeys((*flags, "kv_dtype", "model", "model_config", "config_dir"))
    return Namespace(**nothing | {"gpu": "h100_sxm", "engine": "vllm"} | changes)


def test_points_of_another_card_or_number_format_are_left_out(read):
    rows = [INFERENCE_MAX[0], INFERENCE_MAX[1] | {"hw": "b200-nv"}, INFERENCE_MAX[2] | {"precision": "fp8"}]
    results = read(rows)
    server = server_described(words(weight_dtype="bf16"), results.model_ids)
    kept, notes = measured_on(server, results.points, [])
    assert [point.source[-1] for point in kept] == ["1"]
    assert "measured with --gpu b200, not h100_sxm" in notes[0] and "--weight-dtype fp8, not bf16" in notes[1]


def test_formats_that_all_results_state_are_those_of_the_server(read):
    results = read([row | {"precision": "fp8"} for row in INFERENCE_MAX])
    facts = [point.facts for point in results.points]
    assert server_described(words(), results.model_ids, facts).engine.weight_dtype == "fp8"
    assert server_described(words(weight_dtype="mxfp4"), results.model_ids, facts).engine.weight_dtype == "mxfp4"


# --- models that conf/model has not ---------------------------------------------------------------------------------


@pytest.fixture
def config_json(tmp_path) -> Path:
    """A published shape of 3 billion parameters."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({
        "model_type": "llama", "hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24,
        "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 28, "vocab_size": 128256,
        "tie_word_embeddings": True, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
    }))  # fmt: skip
    return path


@pytest.mark.parametrize("source", ["own", "beside"])
def test_a_model_that_is_not_known_is_read_from_its_config(source, config_json, read):
    unknown = VLLM | {"model_id": "meta-llama/Llama-3.2-3B-Instruct"}
    results = read(unknown) if source == "own" else case("vllm_model_not_in_conf.json")
    with pytest.raises(
        ConfigError, match="say with --model which of conf/model has that shape, or with --model-config"
    ):
        server_described(words(), results.model_ids)
    server = server_described(words(model_config=config_json), results.model_ids)
    assert server.model.hidden == 3072 and 3.0e9 < server.model.total_params < 3.4e9
    with pytest.raises(ConfigError, match="give either it or --model-config"):
        server_described(words(model="llama_3_1_8b", model_config=config_json), results.model_ids)


def test_fidelity_plays_them_where_they_say_card_and_model(tmp_path, capsys):
    path = tmp_path / "agg.json"
    path.write_text(json.dumps([INFERENCE_MAX[0] | {"num_requests_total": 2, "num_requests_successful": 2}]))
    rows = predict(path, replications=1)
    assert {row.metric for row in rows} == {"ttft_mean_s", "tpot_mean_s", "output_tok_per_s"}
    assert next(row.measured for row in rows if row.metric == "tpot_mean_s") == 0.007885
    assert "read as InferenceMAX; 1 point; model" in capsys.readouterr().err
    path.write_text(json.dumps([{k: v for k, v in INFERENCE_MAX[0].items() if k != "hw"}]))
    with pytest.raises(ConfigError, match="say with --gpu"):
        predict(path, replications=1)
