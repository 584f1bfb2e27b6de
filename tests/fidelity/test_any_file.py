"""One command plays any file of the schema: an odd run is named and left out, the others are predicted."""

from __future__ import annotations

import csv
import json
import re

import pytest

from sim.__main__ import main
from sim.cli.fidelity import main as fidelity
from sim.hardware.model import model_named
from sim.measured import staged_runs
from sim.measured.operating_points import rows_of, scenario_of
from sim.measured.play import Play
from sim.measured.predict import predict
from sim.measured.stated import StagedRun, StageStated
from sim.measured.stated_server import server_stated
from sim.schema import ConfigError, TraceError, parse_config

STAGE = {"stage": 0, "rate_rps": 5.0, "duration_s": 4, "prompt_tokens": 300, "output_tokens": 20}
RUN = {
    "id": "plain",
    "model": "meta-llama/Llama-3.1-8B",
    "gpu": "H100-SXM-80GB",
    "dtype": "bfloat16",
    "stages": [STAGE],
}
POINT = {
    "source": "made up", "engine": "vllm", "gpu": "H100-SXM", "model": "meta-llama/Llama-3.1-8B", "dtype": "bf16",
    "tp": "1", "input_len": "100", "output_len": "10", "concurrency": "2", "ttft_ms_mean": "20", "notes": "",
}  # fmt: skip


def without(key: str, run: dict = RUN) -> dict:
    return {k: v for k, v in run.items() if k != key}


def with_stage(**changes) -> dict:
    return RUN | {"id": "odd", "stages": [STAGE | changes]}


@pytest.fixture
def command(tmp_path, capsys):
    """Plays some content as a file; gives the exit code, what was written, and the lines on stderr."""

    def run(content, *options: str, name: str = "runs.json"):
        file, out = tmp_path / name, tmp_path / "predictions.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        out.unlink(missing_ok=True)
        code = main(["fidelity", str(file), "--out", str(out), "--replications", "1", *options])
        said = capsys.readouterr()
        return code, json.loads(out.read_text()) if out.exists() else None, said.err.splitlines()

    return run


def as_csv(rows: list[dict]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)])


ODD = [
    (with_stage(output_tokens=None), "odd: stages.0.output_tokens: is required"),
    (RUN | {"stages": [without("prompt_tokens", STAGE)]}, "plain: stages.0.prompt_tokens: is required"),
    (with_stage(prompt_tokens={"nominal": None}), "odd: stages.0.prompt_tokens: needs a mean"),
    (with_stage(output_tokens="many"), "odd: stages.0.output_tokens.* = 'many': .*number"),
    (with_stage(rate_rps=-5), "odd: stages.0.rate_rps = -5: should be greater than 0"),
    (with_stage(rate_rps=None, duration_s=None), "odd: stages.0: needs n_requests, or rate_rps and duration_s"),
    (with_stage(n_requests=10**12), "odd: stages.0.n_requests = 1000000000000: should be less than"),
    (with_stage(rate_rps=1e12), "odd: stages.0: needs n_requests, .*at most 10000000"),
    (with_stage(prompt_tokens=1e300), "odd: stages.0.prompt_tokens.mean = 1e[+]300: should be less than"),
    (with_stage(arrival="lévy"), "odd: stages.0.arrival = 'lévy': should be 'poisson', 'constant' or 'burst'"),
    (without("id"), "experiments.0: id: is required"),
    (without("model"), "plain: model: is required"),
    (RUN | {"gpu": None}, "plain: gpu: is required"),
    (RUN | {"stages": []}, "plain: stages = .*at least 1 item"),
    (RUN | {"engine": {"max_num_seqs": 0}}, "plain: engine.max_num_seqs = 0: should be greater than 0"),
    (RUN | {"tensor_parallel": 3}, "plain: engine.tensor_parallel = 3: must divide the 32 attention heads"),
    (RUN | {"dtype": "int4"}, "plain: dtype = 'int4': is not one of bf16, .*fp8"),
    (RUN | {"kv_dtype": "int8"}, "plain: kv_dtype = 'int8': is not one of"),
    (RUN | {"engine": {"max_model_len": 200}}, "plain: 20 of 20 requests refused: .* longer than the 200 tokens"),
    (7, "experiments.0: configuration = 7: .*valid dictionary"),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "words"), ODD, ids=[words[:40] for _, words in ODD])
def test_an_odd_run_is_named_with_its_key_and_the_next_one_is_played(odd, words, command):
    code, rows, errors = command({"experiments": [odd, RUN | {"id": "good"}]})
    assert code == 0 and {row["experiment"] for row in rows} == {"good"}
    assert len(errors) == 1 and re.match(f"not predicted: {words}", errors[0])


@pytest.mark.parametrize("content", ["[1, 2]", '{"a": 1}', "7", '{"experiments": {}}', '{"experiments": []}', "{"])
def test_a_file_of_something_else_is_refused_in_one_line(content, command):
    code, rows, errors = command(content)
    assert code == 2 and rows is None and len(errors) == 1 and errors[0].startswith("error: ")


def test_nothing_could_be_played(command):
    code, rows, errors = command({"experiments": [without("gpu")]})
    assert (code, rows) == (2, None)
    assert errors[-1].endswith("no run could be played")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only", "nosuch"], "error: --only = 'nosuch'"),
        (["--replications", "0"], "error: --replications = 0: must be >= 1"),
        (["--out", "/nowhere/at/all.json"], "error: --out = '/nowhere/at/all.json': its folder does not exist"),
        (["--model-config", "absent.json"], "error: model.config_path = 'absent.json'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(options, words, command, monkeypatch):
    monkeypatch.setattr("sim.measured.play.simulate", None)
    code, rows, errors = command({"experiments": [RUN]}, *options)
    assert (code, rows) == (2, None) and len(errors) == 1 and errors[0].startswith(words)


def test_what_is_null_or_a_number_in_quotes_does_no_harm(command):
    _, plain, _ = command({"experiments": [RUN]})
    nulls = {"replicas": None, "engine": None, "overall": None, "kv_dtype": None, "n_gpus": None}
    stage = STAGE | {"measured": None, "shared_prefix_tokens": None, "output_tokens": "20", "n_requests": None}
    code, rows, errors = command({"experiments": [RUN | nulls | {"stages": [stage]}]})
    assert (code, errors) == (0, []) and rows == plain


def test_a_row_says_how_its_server_was_started():
    fp8 = POINT | {"kv_dtype": "fp8", "max_num_seqs": "64", "max_num_batched_tokens": "4096", "prefix_caching": "true"}
    engine = scenario_of(fp8, Play()).engine
    assert (engine.kv_dtype, engine.max_num_seqs, engine.max_num_batched_tokens) == ("fp8", 64, 4096)
    assert engine.prefix_caching and not scenario_of(POINT, Play()).engine.prefix_caching


def test_a_cache_of_fp8_makes_room_for_a_larger_batch_and_so_for_shorter_waits(command):
    long = POINT | {"gpu": "L40S", "input_len": "8000", "output_len": "512", "concurrency": "64"}
    _, wide, _ = command(as_csv([long]), name="points.csv")
    _, narrow, _ = command(as_csv([long | {"kv_dtype": "fp8"}]), name="points.csv")
    ttft_s = [next(r["predicted"] for r in rows if r["metric"] == "ttft_mean_s") for rows in (wide, narrow)]
    assert ttft_s[1] < 0.9 * ttft_s[0]


@pytest.mark.parametrize("column", ["kv_type", "pipeline_parallel", "tokens_per_s"])
def test_a_column_that_is_not_understood_is_refused_before_anything_is_played(column, command, monkeypatch):
    monkeypatch.setattr("sim.measured.play.simulate", None)
    code, rows, (line,) = command(as_csv([POINT | {column: "1"}]), name="points.csv")
    assert (code, rows) == (2, None)
    assert f"points.csv: column '{column}': is not one of source, engine" in line and "kv_dtype" in line


def test_a_row_at_a_rate_is_named_and_left_out(command):
    code, rows, (line,) = command(as_csv([POINT | {"request_rate": "5"}, POINT | {"request_rate": ""}]), name="p.csv")
    assert code == 0 and {row["stage"] for row in rows} == {1}
    assert line.startswith("not predicted: vllm") and "request_rate: a row is a closed loop" in line


def test_a_single_stage_has_its_overall_too(command):
    _, rows, _ = command({"experiments": [RUN]})
    assert {row["stage"] for row in rows} == {0, "overall"}


def lasts_s(**changes) -> float:
    return parse_config(StageStated, {"prompt_tokens": 10, "output_tokens": 10} | changes).lasts_s


def test_a_stage_is_sent_at_once_only_if_it_says_so_or_says_nothing_else():
    assert lasts_s(rate_rps=5, n_requests=100) == 20
    assert lasts_s(rate_rps=5, duration_s=30, n_requests=100) == 30
    assert lasts_s(n_requests=100) == lasts_s(rate_rps=5, n_requests=100, arrival="Burst") == 0


def weights(model: str, dtype: str | None = "bfloat16"):
    """(linear layers, experts) as they are played."""
    scenario = server_stated(
        parse_config(StagedRun, RUN | {"model": model, "dtype": dtype, "tensor_parallel": 8}), Play()
    )
    override = scenario.engine.weight_dtype
    return scenario.model.mlp_dtype_under(override), scenario.model.expert_dtype_under(override)


@pytest.mark.parametrize(
    ("model", "dtype", "played"),
    [
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "bfloat16", ("bf16", "bf16")),
        ("unsloth/Llama-4-Scout-17B-16E-Instruct", None, ("bf16", "bf16")),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "fp8", ("fp8", "fp8")),
        ("RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic", "bfloat16", ("fp8", "fp8")),
        ("Qwen/Qwen3-32B-FP8", "auto", ("fp8", "fp8")),
        ("openai/gpt-oss-120b", "bfloat16", ("bf16", "mxfp4")),
        ("openai/gpt-oss-120b", "mxfp4", ("bf16", "mxfp4")),
        ("unsloth/gpt-oss-20b-BF16", None, ("bf16", "bf16")),
        ("nvidia/DeepSeek-R1-FP4", "nvfp4", ("nvfp4", "nvfp4")),
        ("meta-llama/Llama-3.1-8B", "float16", ("bf16", "bf16")),
        ("meta-llama/Llama-3.1-8B", "float32", ("bf16", "bf16")),
        ("meta-llama/Llama-3.1-8B", "fp8_e4m3", ("fp8", "fp8")),
    ],
)
def test_weights_are_in_the_format_that_dtype_and_name_say(model, dtype, played):
    assert weights(model, dtype) == played


def test_natively_quantised_models_stay_so_whatever_they_compute_in():
    run = parse_config(StagedRun, RUN | {"model": "deepseek-ai/DeepSeek-R1", "gpu": "B200", "tensor_parallel": 8})
    scenario = server_stated(run, Play())
    assert (scenario.model.weight_dtype, scenario.engine.weight_dtype) == ("fp8", None)


def test_the_server_said_how_long_a_request_may_be(command):
    longer = RUN | {"model": "meta-llama/Llama-2-7b-hf", "stages": [STAGE | {"prompt_tokens": 5000}]}
    code, rows, errors = command({"experiments": [longer | {"engine": {"max_model_len": 8192}}]})
    assert (code, errors) == (0, []) and rows
    spread = RUN | {"stages": [STAGE | {"prompt_tokens": {"min": 100, "p50": 300, "max": 500}}]}
    code, rows, errors = command({"experiments": [spread | {"engine": {"max_model_len": 420}}]})
    assert code == 0 and len(errors) == 1
    assert re.match(r"plain: \d of 20 requests refused: input \+ output longer than the 420 tokens", errors[0])


def test_flags_not_stated_are_those_of_vllm_on_that_card():
    def limits(gpu: str, **flags):
        engine = server_stated(parse_config(StagedRun, RUN | {"gpu": gpu, "engine": flags}), Play()).engine
        return engine.max_num_batched_tokens, engine.max_num_seqs

    assert limits("H100-SXM-80GB") == (8192, 1024) and limits("A100-SXM4-80GB") == limits("L40S") == (2048, 256)
    assert limits("H100-SXM-80GB", max_num_batched_tokens=512) == (512, 512)
    assert limits("L40S", max_num_seqs=4096) == (4096, 4096)
    row = scenario_of(POINT, Play()).engine
    assert (row.max_num_batched_tokens, row.max_num_seqs) == limits("H100-SXM-80GB")


def test_what_is_played_otherwise_than_it_ran_is_told_once(command):
    other = RUN | {"engine": {"name": "tgi"}}
    code, rows, errors = command({"experiments": [other, other | {"id": "again"}]})
    assert code == 0 and {row["experiment"] for row in rows} == {"plain", "again"}
    assert [line.split(":")[0] for line in errors] == ["engine 'tgi' is not known"]


def test_clients_that_ask_for_nothing_get_the_tokens_their_model_would_pick(tmp_path):
    def sampler(model: str, **flags) -> str:
        run = parse_config(StagedRun, RUN | {"model": model, "tensor_parallel": 4, "engine": flags})
        return staged_runs._scenario(run, Play(), tmp_path / "log.csv").engine.sampler

    assert sampler("meta-llama/Llama-2-7b-hf") == "top_p" and sampler("openai/gpt-oss-20b") == "random"
    assert sampler("meta-llama/Llama-2-7b-hf", sampler="greedy") == "greedy"
    assert model_named("qwen3_14b").default_sampler == "top_p"


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (RUN | {"tensor_paralel": 2}, "tensor_paralel = 2: is not a known key; did you mean tensor_parallel?"),
        (with_stage(rate=5), "stages.0.rate = 5: is not a known key"),
        (RUN | {"engine": {"enable_lora": True}}, "engine.enable_lora = True: is not a known key"),
        (with_stage(prompt_tokens={"mean": 300, "p80": 400}), "stages.0.prompt_tokens.p80 = 400: is not a known key"),
    ],
)
def test_a_run_is_not_played_without_something_that_it_states(run, line):
    with pytest.raises(ConfigError) as refused:
        parse_config(StagedRun, run)
    assert str(refused.value).startswith(line)


def test_what_a_run_tells_of_its_source_changes_nothing():
    told = RUN | {"source": "a paper", "notes": "two runs", "engine": {"version": "0.11"}}
    assert parse_config(StagedRun, told) == parse_config(StagedRun, RUN)


def test_clients_of_an_overloaded_stage_give_up(tmp_path):
    def patience_s(**stage) -> float | None:
        run = parse_config(StagedRun, RUN | {"stages": [STAGE, STAGE | stage]})
        return staged_runs._scenario(run, Play(), tmp_path / "log.csv").queue.patience_s

    assert patience_s() is None and patience_s(overloaded=True) == staged_runs.CLIENT_GIVES_UP_S


def test_a_config_file_stands_for_a_model_not_known(command, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32,
        "num_hidden_layers": 16, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    }))  # fmt: skip
    strange = RUN | {"id": "strange", "model": "acme/Llama-9"}
    code, rows, errors = command({"experiments": [strange, RUN]}, "--model-config", str(tmp_path / "config.json"))
    ttft_s = {row["experiment"]: row["predicted"] for row in rows if row["metric"] == "ttft_mean_s"}
    assert (code, errors) == (0, []) and ttft_s["strange"] < ttft_s["plain"]


def test_one_bad_row_of_operating_points_leaves_the_others(command):
    bad = [{"gpu": "TPU-v5"}, {"input_len": "long"}, {"tp": "0"}, {"concurrency": ""}, {"ttft_ms_mean": "fast"}]
    rows = [POINT | {"engine": "TGI 3"}, *(POINT | changes for changes in bad), POINT]
    code, played, errors = command(as_csv(rows), name="points.csv")
    assert code == 0 and {row["stage"] for row in played} == {0, 6}
    assert errors[0] == "engine 'TGI 3' is not known: played as vLLM"
    assert len(errors) == 6 and all(line.startswith("not predicted: vllm Llama-3.1-8B") for line in errors[1:])


def test_a_log_of_requests_is_played_once_however_many_replications(tmp_path):
    run = without("stages") | {"measured": {"e2e_mean_s": 1.0, "e2e_p50_s": "about one"}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    with (tmp_path / "run.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("arrival_s", "input_tokens", "output_tokens"), (0, 100, 10), (0.1, 100, 10)])
    rows = predict(tmp_path / "run.json", replications=3)
    assert rows == predict(tmp_path / "run.json", replications=1)
    assert {row.metric: row.measured for row in rows}["e2e_p50_s"] is None
    (tmp_path / "run.csv").write_text("arrival_s,input_tokens\n0,1\n")
    with pytest.raises(ConfigError, match="no run could be played"):
        predict(tmp_path / "run.json")


def test_results_of_a_load_generator_are_played_on_the_server_the_command_line_describes(tmp_path, capsys):
    results = tmp_path / "r.json"
    result = {
        "model_id": "meta-llama/Llama-3.1-8B-Instruct", "completed": 40, "max_concurrency": 4,
        "total_input_tokens": 20_000, "total_output_tokens": 4_000, "mean_ttft_ms": 40.0, "mean_tpot_ms": 8.0,
    }  # fmt: skip
    results.write_text(json.dumps(result))
    assert fidelity([str(results), "--gpu", "h100_sxm"]) == 0
    assert "4 clients, 500 -> 100" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="say with --gpu"):
        fidelity([str(results)])
    with pytest.raises(ConfigError, match="--tensor-parallel: describes a server and needs --gpu"):
        fidelity([str(results), "--tensor-parallel", "2"])


def test_a_slower_card_is_predicted_to_be_slower(tmp_path):
    results = tmp_path / "r.csv"
    results.write_text("concurrency,input_tokens,output_tokens,tpot_ms\n4,500,100,8\n")
    words = [str(results), "--model", "llama_3_1_8b", "--out", str(tmp_path / "out.json"), "--gpu"]
    tpot_s = []
    for gpu in ("h100_sxm", "l4"):
        assert fidelity([*words, gpu]) == 0
        rows = json.loads((tmp_path / "out.json").read_text())
        tpot_s.append(next(row["predicted"] for row in rows if row["metric"] == "tpot_mean_s"))
    assert 5 < tpot_s[1] / tpot_s[0] < 15  # by their memory bandwidths, about eleven


def test_a_header_without_a_row_is_not_called_a_missing_column():
    header = "source,engine,gpu,model,dtype,tp,input_len,output_len\n"
    with pytest.raises(TraceError, match="mine.csv: has no row below its header"):
        rows_of("mine.csv", header)
    with pytest.raises(TraceError, match="mine.csv: column 'output_len': is missing"):
        rows_of("mine.csv", header.replace(",output_len", ""))
