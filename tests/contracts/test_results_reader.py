"""What ResultsReader asks of every reader of benchmark results, and that a reader in a new file is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sim
from sim.measured.readers.files import read_results, result_readers
from sim.measured.readers.reader import Document
from sim.schema import TraceError
from tests.unit import test_result_readers as other

VLLM = {
    "completed": 40, "max_concurrency": 4, "total_input_tokens": 20_000, "total_output_tokens": 4_000,
    "mean_ttft_ms": 50.0, "mean_tpot_ms": 10.0, "output_throughput": 380.0,
}  # fmt: skip
REQUEST = {
    "prompt_tokens": 500, "output_tokens": 100, "time_to_first_token_ms": 50.0, "inter_token_latency_ms": 10.0,
    "request_latency": 1.04, "request_start_time": 1000.0,
}  # fmt: skip
GUIDELLM = {
    "benchmarks": [{"config": {"strategy": {"type_": "synchronous"}}, "requests": {"successful": [REQUEST]}}],
}  # fmt: skip
SERVER = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100-SXM", "dtype": "bf16"}
STAGE = {
    "rate_rps": 2, "n_requests": 40, "prompt_tokens": 500, "output_tokens": 100,
    "measured": {"ttft_mean_s": 0.05, "tpot_mean_s": 0.01},
}  # fmt: skip
INFERENCE_PERF_SUCCESSES = {
    "count": 60,
    "latency": {"request_latency": {"mean": 0.05 + 99 * 0.01}, "time_to_first_token": {"mean": 0.05}},
    "throughput": {"output_tokens_per_sec": 195.0},
    "prompt_len": {"mean": 500.0}, "output_len": {"mean": 100.0},
}  # fmt: skip
SAMPLES = {
    "Vllm": json.dumps(VLLM),
    "GuideLlm": json.dumps(GUIDELLM),
    "PlainCsv": "concurrency,input_tokens,output_tokens,ttft_ms,tpot_ms\n4,500,100,50,10\n",
    "PointsWithServer": (
        "source,engine,gpu,tp,model,dtype,input_len,output_len,concurrency,ttft_ms_mean,tpot_ms_mean\n"
        "mine,vllm,H100-SXM,1,meta-llama/Llama-3.1-8B,bf16,500,100,4,50,10\n"
    ),
    "StagedRuns": json.dumps({"experiments": [SERVER | {"id": "mine", "stages": [STAGE]}]}),
    "LoggedRuns": json.dumps(SERVER | {"id": "mine"}),
    "Sglang": json.dumps(other.SGLANG | {
        "max_concurrency": 4, "total_input_tokens": 32_000, "total_output_tokens": 6_400, "mean_ttft_ms": 50.0,
        "mean_tpot_ms": 10.0, "mean_e2e_latency_ms": 1040.0,
    }),
    "AiPerf": json.dumps(other.AIPERF | {
        "time_to_first_token": {"unit": "ms", "avg": 50.0}, "inter_token_latency": {"unit": "ms", "avg": 10.0},
        "output_sequence_length": {"unit": "tokens", "avg": 100},
    }),
    "GenAiPerfCsv": (
        other.GENAI_CSV.replace("(ms),40.00", "(ms),50.00").replace("(ms),9.50", "(ms),10.00")
        .replace("Length,200.00", "Length,100.00").replace('"1,500.00"', "500.00")
    ),
    "LlmPerf": json.dumps(other.LLMPERF | {
        "results_ttft_s_mean": 0.05, "results_number_output_tokens_mean": 100.0,
        "results_end_to_end_latency_s_mean": 0.05 + 99 * 0.01,
    }),
    "InferencePerf": json.dumps(other.INFERENCE_PERF | {"successes": INFERENCE_PERF_SUCCESSES}),
    "InferenceMax": json.dumps(other.INFERENCE_MAX[0] | {
        "mean_ttft": 0.05, "mean_tpot": 0.01, "mean_input_tokens": 500.0, "mean_output_tokens_actual": 100.0,
    }),
}  # fmt: skip
ODD = [None, 3, "", "words", [], {}, {"benchmarks": 3}, {"mean_ttft": 3}]
READERS = {type(reader).__name__: reader for reader in result_readers()}


def test_every_reader_has_a_sample_here():
    assert READERS.keys() == SAMPLES.keys()


@pytest.mark.parametrize("name", READERS)
def test_a_sample_is_recognised_by_its_own_reader_alone(name):
    text = SAMPLES[name]
    document = Document("r", "r", json.loads(text) if text[0] == "{" else text)
    assert [other for other, reader in READERS.items() if reader.recognises(document)] == [name]


@pytest.mark.parametrize("name", READERS)
def test_a_reader_does_not_recognise_odd_documents(name):
    assert not any(READERS[name].recognises(Document("r", "r", content)) for content in ODD)


@pytest.mark.parametrize("name", [name for name in READERS if name != "LoggedRuns"])  # a log is not one load
def test_one_measurement_is_the_same_point_in_every_format(name, tmp_path):
    path = tmp_path / "mine-concurrency4" / "r"  # genai-perf's CSV leaves the number of clients to its folder's name
    path.parent.mkdir()
    path.write_text(SAMPLES[name])
    ((point,), notes) = read_results([str(path)]).all_points()
    assert not notes
    assert (point.input_tokens, point.output_tokens) == (500, 100)
    assert point.measured.ttft_s == pytest.approx(0.05) and point.measured.tpot_s == pytest.approx(0.01)


def test_a_log_is_a_run_but_no_point(tmp_path):
    (tmp_path / "r.json").write_text(SAMPLES["LoggedRuns"])
    with pytest.raises(TraceError, match="needs a CSV of its requests, r.csv, beside it"):
        read_results([str(tmp_path / "r.json")])
    (tmp_path / "r.csv").write_text("arrival_s,input_tokens,output_tokens\n0,500,100\n")
    results = read_results([str(tmp_path / "r.json")])
    assert [run.name for run in results.runs] == ["mine"]
    assert results.all_points() == ([], ["mine: left out, a log of requests is not one load"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"overloaded": True}, "did not keep up"),
        ({"arrival": "burst"}, "sent at once"),
        ({"n_distinct_prompts": 10}, "its prompts repeat"),
        ({"measured": {}}, "gives none of ttft_mean_s"),
        ({"output_tokens": None}, "output_tokens: is required"),
    ],
)
def test_a_stage_that_is_no_steady_state_is_left_out_with_the_reason(changes, why, tmp_path):
    run = SERVER | {"id": "mine", "stages": [STAGE | changes]}
    (tmp_path / "r.json").write_text(json.dumps({"experiments": [run]}))
    points, (note,) = read_results([str(tmp_path / "r.json")]).all_points()
    assert not points and note.startswith("mine") and why in note


OWN = '''
"""A format of one's own."""
from sim.measured.points import Figures, Point
from sim.measured.readers.reader import Document, Results, ResultsReader


class Own(ResultsReader):
    """One operating point with my keys."""

    format = "mine (my_clients)"

    def recognises(self, document: Document) -> bool:
        return isinstance(document.content, dict) and "my_clients" in document.content

    def read(self, document: Document) -> Results:
        measured = Figures(0.05, 0.01, None)
        return Results([Point(document.place, document.path, 500, 100, measured, document.content["my_clients"])])
'''


@pytest.mark.slow
def test_a_reader_in_a_new_file_is_found(tmp_path):
    shutil.copytree(Path(sim.__file__).parent, tmp_path / "sim", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sim/measured/readers/own.py").write_text(OWN)
    (tmp_path / "r.json").write_text('{"my_clients": 4}')
    program = "from sim.measured.readers.files import read_results; print(read_results(['r.json']).points[0].label)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "4 clients, 500 -> 100", done.stderr
