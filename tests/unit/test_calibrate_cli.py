"""Calibration from the command line: what people already have goes in, a GPU that scenarios can choose comes out."""

from __future__ import annotations

import json

import pytest

from sim.hardware.gpu import gpu_named
from sim.measured.play import play
from sim.measured.points import Figures, Point
from sim.measured.readers.files import read_results
from sim.schema import TraceError
from tests.unit.test_calibrate import SERVER, TRUTH, UNKNOWN

VLLM = {
    "date": "20260301-101010", "backend": "vllm", "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "tokenizer_id": "meta-llama/Llama-3.1-8B-Instruct", "num_prompts": 4, "request_rate": "inf", "burstiness": 1.0,
    "max_concurrency": 2, "duration": 3.2, "completed": 4, "failed": 0, "total_input_tokens": 2000,
    "total_output_tokens": 404, "request_throughput": 1.25, "output_throughput": 126.25, "mean_ttft_ms": 50.0,
    "median_ttft_ms": 49.0, "mean_tpot_ms": 11.0, "mean_itl_ms": 11.0, "p99_tpot_ms": 12.0,
}  # fmt: skip
DETAILED = VLLM | {
    "completed": 3, "input_lens": [100, 200, 300, 400], "output_lens": [3, 1, 5, 0], "ttfts": [0.03, 0.05, 0.07, 0.0],
    "itls": [[0.01, 0.012], [], [0.02, 0.02, 0.02, 0.02], []], "errors": ["", "", "", "Timeout"],
}  # fmt: skip


def guidellm_request(start: float, latency_s: float, newer: bool) -> dict:
    times = {"request_start_time": start, "request_end_time": start + latency_s} if newer else {"start_time": start}
    return times | {
        "request_id": "r", "prompt_tokens": 512, "output_tokens": 101, "request_latency": latency_s,
        "time_to_first_token_ms": 100.0, "inter_token_latency_ms": 9.0,
    }  # fmt: skip


def guidellm(strategy: dict, newer: bool) -> dict:
    """Four requests of one second each, two at a time."""
    done = [guidellm_request(1000.0 + i // 2, 1.0, newer) for i in range(4)]
    benchmark = {"requests": {"successful": done, "incomplete": [], "errored": []}}
    return {"benchmarks": [benchmark | {"config" if newer else "args": {"strategy": strategy}}]}


@pytest.fixture
def read(tmp_path):
    """`read(content)` reads it as a file: text, or JSON."""

    def read(content, name="r.json"):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return read_results([str(tmp_path / name)])

    return read


# --- readers ---------------------------------------------------------------------------------------------------------


def test_vllm_means(read):
    results = read(VLLM)
    (point,) = results.points
    assert (point.concurrency, point.rate_per_s, point.requests) == (2, None, 4)
    assert (point.input_tokens, point.output_tokens, point.lengths) == (500, 101, None)
    assert point.measured == pytest.approx((0.05, 0.011, 126.25))
    assert results.model_ids == ["meta-llama/Llama-3.1-8B-Instruct"]


def test_vllm_details_take_the_place_of_means_and_failed_requests_do_not_count(read):
    (point,) = read(DETAILED).points
    assert point.lengths == ((100, 3), (200, 1), (300, 5)) and point.requests == 3
    assert point.measured.ttft_s == pytest.approx(0.05)
    assert point.measured.tpot_s == pytest.approx((0.011 + 0.02) / 2)  # an answer of one token has no TPOT
    assert (point.input_tokens, point.output_tokens) == (200, 3)


def test_vllm_rates(read):
    kept_up = {"request_rate": 1.25, "max_concurrency": None, "burstiness": 0.5}
    (point,) = read(VLLM | kept_up).points
    assert (point.rate_per_s, point.burstiness, point.concurrency) == (1.25, 0.5, None)
    (point,) = read(VLLM | {"request_rate": 40.0, "mean_ttft_ms": 500.0}).points
    assert point.concurrency == 2, "2 clients were always busy: they, not the rate, were the load"


def test_vllm_results_without_a_steady_state_are_left_out_and_told(read):
    burst = VLLM | {"max_concurrency": None}
    results = read([VLLM, burst])
    assert len(results.points) == 1 and "sent at once" in results.notes[0] and "entry 2" in results.notes[0]
    drowned = VLLM | {"max_concurrency": None, "request_rate": 10.0}
    assert "did not keep up" in read([VLLM, drowned]).notes[0]
    with pytest.raises(TraceError, match="no operating point .* measure with --max-concurrency"):
        read(burst)


def test_vllm_appended_results_are_lines(read):
    points = read(json.dumps(VLLM) + "\n" + json.dumps(VLLM | {"max_concurrency": 4}) + "\n").points
    assert [p.concurrency for p in points] == [2, 4] and "line 2" in points[1].source


@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize(
    ("strategy", "load"),
    [
        ({"type_": "concurrent", "streams": 2}, (2, None, 1.0)),
        ({"type_": "synchronous"}, (1, None, 1.0)),
        ({"type_": "throughput", "max_concurrency": 512}, (2, None, 1.0)),  # as many as were under way
        ({"type_": "poisson", "rate": 2.0}, (None, 2.0, 1.0)),
        ({"type_": "constant", "rate": 2.0}, (None, 2.0, None)),
        ({}, (2, None, 1.0)),
    ],
)
def test_guidellm(strategy, load, newer, read):
    (point,) = read(guidellm(strategy, newer)).points
    assert (point.concurrency, point.rate_per_s, point.burstiness) == load
    assert point.measured == pytest.approx((0.1, 0.009, 202.0))
    assert (point.input_tokens, point.output_tokens, point.requests) == (512, 101, 4)


@pytest.mark.parametrize("duration_s", [5.0 + 8.0, None])
def test_the_last_answer_takes_its_time_also_where_the_server_keeps_up(duration_s, read):
    """20 a second for 5 s, and 8 s for an answer of 800 tokens: throughput over all of it is 38 % of the rate."""
    calm = VLLM | {
        "max_concurrency": None, "request_rate": 20.0, "completed": 100, "total_input_tokens": 25_600,
        "total_output_tokens": 80_000, "output_throughput": 80_000 / 13.0, "duration": duration_s,
        "mean_ttft_ms": 40.0, "mean_tpot_ms": 10.0,
    }  # fmt: skip
    (point,) = read(calm).points
    assert point.rate_per_s == 20.0
    drowned = calm | {"output_throughput": 80_000 / 26.0, "duration": duration_s and 26.0}
    assert "did not keep up" in read([VLLM, drowned]).notes[0]


def test_guidellm_results_without_a_steady_state_are_left_out_and_told(read):
    known = guidellm({"type_": "synchronous"}, True)["benchmarks"]
    unsteady = (({"type_": "constant", "rate": 50.0}, "did not keep up"), ({"type_": "throughput"}, "at once"))
    for strategy, why in unsteady:
        report = guidellm(strategy, True)
        report["benchmarks"] += known
        results = read(report)
        assert len(results.points) == 1 and len(results.notes) == 1 and why in results.notes[0]


@pytest.mark.parametrize(
    "named",
    [
        {"args": {"model": "Qwen/Qwen3-8B"}},
        {"benchmarks": [{"config": {"backend": {"model": "Qwen/Qwen3-8B"}, "strategy": {"type_": "synchronous"}}}]},
        {"benchmarks": [{"worker": {"backend_model": "Qwen/Qwen3-8B"}}]},
    ],
)
def test_guidellm_names_its_model(named, read):
    report = guidellm({"type_": "synchronous"}, True)
    (benchmark,) = report["benchmarks"]
    benchmark |= named.get("benchmarks", [{}])[0]
    assert read(report | {k: v for k, v in named.items() if k != "benchmarks"}).model_ids == ["Qwen/Qwen3-8B"]


def test_requests_without_a_token_are_left_out_and_told(read):
    report = guidellm({"type_": "concurrent", "streams": 2}, True)
    done = report["benchmarks"][0]["requests"]["successful"]
    done[0] |= {"output_tokens": 0}
    done[1] |= {"time_to_first_token_ms": None}
    results = read(report)
    assert results.points[0].requests == 2
    assert "r.json, benchmark 0: 2 of 4 requests are left out; request 0" in results.notes[0]
    in_one_piece = DETAILED | {"itls": [[], [], [0.02, 0.02, 0.02, 0.02], []]}
    results = read([in_one_piece, VLLM | {"completed": 0}])
    assert results.points[0].requests == 3 and results.points[0].measured.tpot_s == pytest.approx(0.02)
    assert ["one piece" in results.notes[0], "no request succeeded" in results.notes[-1]] == [True, True]


@pytest.mark.parametrize("key", ["inter_token_latency_ms", "request_latency", "prompt_tokens"])
def test_one_odd_request_is_left_out_and_told(key, read):
    report = guidellm({"type_": "concurrent", "streams": 2}, True)
    report["benchmarks"][0]["requests"]["successful"][2][key] = None
    results = read(report)
    assert results.points[0].requests == 3
    assert f"1 of 4 requests are left out; request 2, key '{key}': is missing" in results.notes[0]
    for itls, why in ((["a"], "is not a list of numbers"), ([0.0, 0.0], "0.0 is not a number > 0")):
        results = read(DETAILED | {"itls": [itls, [], [0.02] * 4, []]})
        assert results.points[0].requests == 2 and why in results.notes[0]


def test_one_failed_run_does_not_refuse_the_others(read):
    results = read([VLLM, DETAILED | {"errors": ["no"] * 4}, VLLM | {"ramp_up_strategy": "linear"}])
    assert len(results.points) == 1
    assert ["no request succeeded" in results.notes[0], "ramped up" in results.notes[1]] == [True, True]


@pytest.mark.parametrize("where", [("metrics",), ()])
@pytest.mark.parametrize(
    ("strategy", "load"),
    [({"type_": "constant", "rate": 5.0}, (None, 5.0)), ({"type_": "throughput", "max_concurrency": 99}, (5, None))],
)
def test_a_sample_of_the_requests_stands_for_all_of_them(strategy, load, where, read):
    """500 requests of one second, five a second, of which every fiftieth was saved."""
    done = [guidellm_request(1000 + i / 5, 1.0, True) for i in range(0, 500, 50)]
    totals = {"request_totals": {"successful": 500, "incomplete": 0, "errored": 0}}
    benchmark = {"config": {"strategy": strategy}, "start_time": 1000.0, "end_time": 1100.8}
    benchmark |= {"requests": {"successful": done}} | ({where[0]: totals} if where else totals)
    results = read({"benchmarks": [benchmark]})
    (point,) = results.points
    assert (point.concurrency, point.rate_per_s, point.requests, len(point.lengths)) == (*load, 500, 10)
    assert point.measured.output_tokens_per_s == pytest.approx(500 * 101 / 100.8)
    assert "only 10 of its 500 requests were saved" in results.notes[0]


def test_guidellm_traces_are_left_out_and_no_model_is_no_name(read):
    report = guidellm({"type_": "trace"}, True)
    report["benchmarks"] += guidellm({"type_": "synchronous"}, True)["benchmarks"]
    report["benchmarks"][1]["worker"] = {"backend_model": "None"}
    results = read(report)
    assert len(results.points) == 1 and "a trace is not one load" in results.notes[0] and not results.model_ids


def test_rows_of_a_csv_that_did_not_keep_up_are_left_out_and_told(read):
    head = "rate_per_s,input_tokens,output_tokens,ttft_s,tpot_s,throughput,requests\n"
    results = read(head + "50,512,128,60,0.03,512,2000\n1,512,128,0.05,0.01,127,500\n", "my.csv")
    assert [point.rate_per_s for point in results.points] == [1.0]
    assert "my.csv, line 2: left out, the server did not keep up" in results.notes[0]


def test_plain_csv(read):
    head = "concurrency,input_tokens,output_tokens,ttft_ms,tpot_s,throughput,note\n"
    first, second = read(head + "8,512,128,90,0.01,,x\n\n1,9000,64,,0.007,99,\n", "my.csv").points
    assert (first.concurrency, first.measured) == (8, Figures(0.09, 0.01, None))
    assert (second.input_tokens, second.measured) == (9000, Figures(None, 0.007, 99.0))
    assert second.source.endswith("my.csv, line 4")
    (point,) = read("request_rate,input_len,output_len,mean_ttft_ms,mean_tpot_ms\n2.5,10,20,30,40\n", "v.csv").points
    assert (point.rate_per_s, point.measured) == (2.5, Figures(0.03, 0.04, None))


@pytest.mark.parametrize(
    ("column", "words"),
    [("kv_dtype", "'kv_dtype': is not one of .*; say it with --kv-dtype"), ("colour", "'colour': is not one of")],
)
def test_a_column_that_is_not_understood_is_refused(column, words, read):
    with pytest.raises(TraceError, match=f"my.csv, line 1, column {words}"):
        read(f"concurrency,input_len,output_len,tpot_ms,{column}\n8,512,128,10,fp8\n", "my.csv")


def test_remarks_and_further_statistics_change_nothing(read):
    plain = "concurrency,input_len,output_len,tpot_ms\n8,512,128,10\n"
    remarked = "concurrency,input_len,output_len,tpot_ms,notes,p99_ttft_ms\n8,512,128,10,cold,900\n"
    assert read(remarked, "my.csv").points == read(plain, "my.csv").points


OF_8B = ("--model", "llama_3_1_8b")
MINE = ("my.csv", *OF_8B)
HEAD = "concurrency,input_tokens,output_tokens,ttft_s,tpot_s\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (HEAD + "8,512,128,0.1,fast\n", "r, line 2, column 'tpot_s': 'fast' is not a number > 0"),
        (HEAD + "8,512,128,0.1,0.01\n8,512,-3,0.1,0.01\n", "r, line 3, column 'output_tokens': '-3' is not"),
        (HEAD + "1.5,512,128,0.1,0.01\n", "line 2, column 'concurrency': '1.5' is not a whole number"),
        (HEAD + "8,512,128,nan,0.01\n", "line 2, column 'ttft_s': 'nan' is not"),
        (HEAD + ",512,128,0.1,0.01\n", "line 2: give either concurrency or rate_per_s"),
        (HEAD + "8,512,128,,\n", "line 2: gives none of ttft, tpot and throughput"),
        (HEAD + "8,512,128,1,1,1\n", "line 2: has more fields than the header"),
        ("concurrency,input_tokens,ttft_s\n", "line 1, column 'output_tokens': is missing; found concurrency"),
        ("concurrency,input_tokens,output_tokens,ttft_s,ttft_ms\n", "columns ttft_s and ttft_ms: give one of them"),
        ("", "r: is empty"),
        ('{"a": 1}', "r: is none of: AIPerf or genai-perf (time_to_first_token, "),
        ('{"a": ', "r, line 1, column 7: is not JSON"),
        (VLLM | {"completed": 0}, "r: left out, no request succeeded"),
        (VLLM | {"mean_tpot_ms": "x"}, "r, key 'mean_tpot_ms': 'x' is not a number"),
        (VLLM | {"max_concurrency": -1}, "r, key 'max_concurrency': -1 is not"),
        (DETAILED | {"ttfts": [0.1]}, "arrays are not of one length: input_lens 4, output_lens 4, ttfts 1, itls 4"),
        (DETAILED | {"errors": ["no"] * 4}, "r: left out, no request succeeded"),
        ({"benchmarks": [{"metrics": {}}]}, "r, benchmark 0, key 'requests.successful': is missing"),
        ({"benchmarks": [{"requests": {"successful": [{}]}}]}, "request 0, key 'prompt_tokens': is missing"),
    ],
)  # fmt: skip
def test_bad_results_are_one_line_naming_the_place(content, expected, read, calibrate, tmp_path):
    with pytest.raises(TraceError) as told:
        read(content, "r")
    assert expected in str(told.value)
    said = calibrate("r")
    assert said.code == 2 and expected.split("r, ")[-1] in said.line
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def my_csv(tmp_path):
    """A CSV of a server with the constants TRUTH."""
    rows = ["concurrency,input_tokens,output_tokens,ttft_ms,tpot_ms,throughput,requests,comment"]
    server = SERVER.with_values(TRUTH)
    for prompt in (256, 4096):
        for n in (1, 16, 96):
            seen = play(server, Point("", "", prompt, 128, UNKNOWN, concurrency=n, requests=4 * n))
            rows.append(f"{n},{prompt},128,{1e3 * seen[0]:.3f},{1e3 * seen[1]:.3f},{seen[2]:.1f},{4 * n},")
    (tmp_path / "my.csv").write_text("\n".join(rows) + "\n")


def test_the_overlay_is_a_gpu_that_scenarios_can_choose(my_csv, calibrate, request, tmp_path):
    play = request.getfixturevalue("play")  # the command line; here `play` plays a point
    said = calibrate(*MINE, "--out", "mine/gpu/my_h100.yaml", "--check", "my.csv", "--max-num-seqs", "128")
    assert said.code == 0, said.err
    assert "mean absolute error on the points it was fitted to: TTFT" in said.out
    assert "mean absolute error on points it never saw" in said.out
    assert "llm-traffic-sim --config-dir mine gpu=my_h100 engine=my_h100" in said.out
    text = (tmp_path / "mine/gpu/my_h100.yaml").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("gemm_efficiency"))
    assert "fitted to my.csv, 6 points, 20" in line and f"was {gpu_named('h100_sxm').gemm_efficiency}" in line
    assert str(tmp_path) not in text
    assert "aiconfigurator" in text  # what stays keeps its source
    assert play("--config-dir", "mine", "gpu=my_h100", "engine=my_h100", "horizon_s=60").code == 0
    (config,) = tmp_path.glob("outputs/runs/*/config.yaml")
    assert f"gemm_efficiency: {line.split()[1]}" in config.read_text()
    assert "max_num_seqs: 128" in config.read_text()


@pytest.mark.slow
def test_nothing_is_overwritten_unless_asked(my_csv, calibrate, tmp_path):
    assert calibrate(*MINE, "--gpu", "h100_sxm").code == 0
    written = tmp_path / "mine/gpu/my_h100_sxm.yaml"
    written.write_text("precious")
    said = calibrate(*MINE)
    assert said.code == 2 and "exists already; --force replaces it" in said.line
    assert written.read_text() == "precious"
    assert calibrate(*MINE, "--force").code == 0
    assert written.read_text() != "precious"
    assert not list(tmp_path.rglob("*.partial*"))


def test_a_file_outside_a_group_says_how_to_use_it(my_csv, calibrate, tmp_path):
    said = calibrate(*MINE, "--out", "my_gpu.yaml")
    assert said.code == 0 and "put my_gpu.yaml in a folder mine/gpu" in said.out
    assert (tmp_path / "my_gpu.yaml").is_file() and (tmp_path / "my_gpu_engine.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([*MINE, "--gpu", "h200"], "gpu=h200: is not one of"),
        (["my.csv"], "the results do not say which model was served: say with --model"),
        (["my.csv", "--model", "llama"], "model=llama: is not one of"),
        (["my.csv", "--model", "llama_3_1_405b"], "llama_3_1_405b needs"),
        ([*MINE, "--tensor-parallel", "0"], "engine.tensor_parallel = 0"),
        ([*MINE, "--engine", "linear_server"], "nothing to calibrate"),
        (["my.csv", "--out", "x.txt"], "must end in .yaml"),
        (["nowhere.csv"], "nowhere.csv: cannot be read"),
    ],
)
def test_bad_arguments_are_one_line_and_leave_nothing(words, expected, my_csv, calibrate, tmp_path):
    said = calibrate(*words)
    assert said.code == 2 and expected in said.line
    assert [p.name for p in tmp_path.iterdir()] == ["my.csv"]


def test_the_model_is_the_one_the_results_name(calibrate, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(VLLM))
    assert "on h100_sxm" in calibrate("r.json").out.partition("operating points of llama_3_1_8b ")[2]
    for name in ("meta-llama/Meta-Llama-3.1-8B-Instruct", "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic"):
        (tmp_path / "r.json").write_text(json.dumps(VLLM | {"model_id": name}))
        assert "operating points of llama_3_1_8b " in calibrate("r.json").out
    assert "; fp8 weights" in calibrate("r.json").out
    assert "; fp8 weights" not in calibrate("r.json", "--weight-dtype", "bf16").out
    (tmp_path / "r.json").write_text(json.dumps(VLLM | {"model_id": "me/my-model"}))
    said = calibrate("r.json")
    assert said.code == 2 and "the results are of me/my-model: say with --model" in said.line


def test_one_fit_is_of_one_model_in_one_number_format(calibrate, tmp_path):
    other = VLLM | {"model_id": "Qwen/Qwen3-8B"}
    (tmp_path / "r.json").write_text(json.dumps(VLLM))
    (tmp_path / "check.json").write_text(json.dumps([other, VLLM | {"completed": 0}]))
    assert "Qwen/Qwen3-8B: say with --model" in calibrate("r.json", "--check", "check.json").line
    assert "note: check.json, entry 2: left out" in calibrate("r.json", "--check", "check.json", *OF_8B).out
    (tmp_path / "r.json").write_text(json.dumps([VLLM, VLLM | {"model_id": "RedHatAI/Llama-3.1-8B-Instruct-FP8"}]))
    assert "fp8 and other weights in one fit" in calibrate("r.json").line
    assert "operating points of" in calibrate("r.json", "--weight-dtype", "fp8").out


def test_results_that_no_plausible_server_gives_are_warned_of(calibrate, tmp_path):
    rows = [f"{n},{i},128,{t}" for n, i, t in ((1, 512, 7), (8, 512, 5), (64, 512, 60), (1, 4096, 9), (64, 4096, 20))]
    (tmp_path / "odd.csv").write_text("\n".join(["concurrency,input_tokens,output_tokens,tpot_ms", *rows]) + "\n")
    said = calibrate("odd.csv", *OF_8B, "--hold", "per_sequence_us,layer_overhead_us")
    assert said.code == 0 and "warning: no plausible constants explain the measured TPOT; check" in said.out


ROW = "mine,vllm,{gpu},1,meta-llama/Llama-3.1-8B,{dtype},{input_len},128,{clients},,{tpot_ms},{tokens_per_s}"


def test_rows_with_their_servers_are_calibrated_to_where_the_server_is_the_same(calibrate, tmp_path):
    head = "source,engine,gpu,tp,model,dtype,input_len,output_len,concurrency,ttft_ms_mean,tpot_ms_mean,out_tok_s"
    loads = [(1, 256, 9.6, 103), (64, 256, 13, 4700), (1, 8192, 9.9, 85), (64, 8192, 60, 900)]
    rows = [
        ROW.format(gpu="H100-SXM", dtype="bf16", input_len=prompt, clients=n, tpot_ms=ms, tokens_per_s=rate)
        for n, prompt, ms, rate in loads
    ]
    elsewhere = ROW.format(gpu="L40S", dtype="bf16", input_len=256, clients=1, tpot_ms=30, tokens_per_s=33)
    in_fp8 = ROW.format(gpu="H100-SXM", dtype="fp8", input_len=256, clients=1, tpot_ms=6, tokens_per_s=160)
    (tmp_path / "rows.csv").write_text("\n".join([head, *rows, elsewhere, in_fp8]) + "\n")
    said = calibrate("rows.csv", "--out", "mine/gpu/own.yaml")
    assert said.code == 0 and said.out.startswith("4 operating points of llama_3_1_8b on h100_sxm")
    assert "points left out: 1, measured with --gpu l40s, not h100_sxm" in said.out
    assert "points left out: 1, measured with --weight-dtype fp8, not bf16" in said.out
    assert (tmp_path / "mine/gpu/own.yaml").is_file()
