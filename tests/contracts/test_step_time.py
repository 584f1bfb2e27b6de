"""Every kind of step time, and every one that the conf files can build, keeps the contract of `StepTimeModel`."""

from __future__ import annotations

import pytest

from sim.hardware.engine import Engine
from sim.hardware.fits import kv_blocks_of
from sim.hardware.gpu import gpu_named
from sim.hardware.model import model_named
from sim.hardware.step_time.affine import AffineModel, AffineStepTime
from sim.hardware.step_time.model import StepTimeModel
from sim.schema import ConfigError, kinds_of, parse_config
from tests.contracts.found import CONFIG_DIRS, engine_options, example, files

GPUS = sorted(path.stem for path in (CONFIG_DIRS[0] / "gpu").glob("*.yaml"))
MODELS = sorted(
    path.stem for path in (CONFIG_DIRS[0] / "model").glob("*.yaml") if path.stem != "hugging_face"
)  # that one reads a file of the user's
ENGINES = {name: parse_config(Engine, engine_options(name)) for name in files("engine")}
"""The engine files, and an engine for each kind of step time that none of them shows."""
SHOWN = {engine.step_time.kind for engine in ENGINES.values()}
for kind, cls in kinds_of(StepTimeModel).items():
    if kind not in SHOWN and not cls.__module__.startswith("tests."):
        ENGINES[f"kind={kind}"] = parse_config(Engine, {"step_time": example(cls)})


def smallest_fit(gpu_name: str, model_name: str, **engine) -> Engine | None:
    """The engine with the smallest tensor-parallel group of this GPU that holds the model."""
    gpu, model = gpu_named(gpu_name), model_named(model_name)
    for tp in (1, 2, 4, 8):
        trial = Engine(tensor_parallel=tp, max_num_seqs=64, **engine)
        if model.heads % tp == 0 and kv_blocks_of(gpu, model, trial):
            return trial
    return None


FITTING = [(g, m) for g in GPUS for m in MODELS if smallest_fit(g, m)]


def few_for_each(pairs: list[tuple[str, str]], n: int) -> list[tuple[str, str]]:
    """Some of the pairs, in which every GPU and every model occurs at least `n` times (or as often as it does)."""
    chosen: list[tuple[str, str]] = []
    for side in (0, 1):
        for name in sorted({pair[side] for pair in pairs}):
            lacking = n - sum(pair[side] == name for pair in chosen)
            others = [pair for pair in pairs if pair[side] == name and pair not in chosen]
            others.sort(key=lambda pair: sum(pair[1 - side] == c[1 - side] for c in chosen))
            chosen += others[: max(0, lacking)]
    return chosen


def built(pair):
    gpu, model = pair
    engine = smallest_fit(gpu, model)
    return engine.step_time.build(gpu_named(gpu), model_named(model), engine)


RANKS = {
    f"ranks_with_{experts}_experts_{exchange}": Engine(
        tensor_parallel=8,
        attention_data_parallel=4,
        expert_parallel=experts == "whole",
        expert_exchange=exchange,
        max_num_seqs=64,
    )
    for experts, exchange in (("sliced", "all_gather"), ("whole", "all_gather"), ("whole", "all_to_all"))
}
"""Engines of several attention ranks, which need a model with experts."""


@pytest.fixture(
    params=[*few_for_each(FITTING, 2), *ENGINES, *RANKS], ids=lambda p: p if isinstance(p, str) else "-".join(p)
)
def step_time(request):
    """Of every GPU and every model, in two pairs each, with the default engine; of every engine with one pair."""
    if request.param in RANKS:
        engine = RANKS[request.param]
        return engine.step_time.build(gpu_named("h200_sxm"), model_named("deepseek_v3"), engine)
    return built(request.param) if isinstance(request.param, tuple) else built_by(ENGINES[request.param])


def built_by(engine):
    return engine.step_time.build(gpu_named("h100_sxm"), model_named("llama_3_1_8b"), engine)


def test_most_pairs_of_files_fit_somewhere():
    assert len(FITTING) > len(GPUS) * len(MODELS) / 2
    assert {g for g, _ in FITTING} == set(GPUS)


def test_a_step_takes_time_and_more_work_takes_no_less(step_time):
    decode = [step_time.decode_s(n) for n in range(0, 200)]
    assert decode[0] > 0 and decode == sorted(decode)
    assert step_time.context_s >= 0
    for n in (0, 1, 60):
        context = 700.0 * n
        bare = step_time.step_s(n, context, ())
        for new, past in ((1, 0), (15, 640), (512, 0), (2048, 3000), (8192, 100_000)):
            step = step_time.step_s(n, context, [(new, past, False)])
            assert step >= bare
            assert step_time.step_s(n, context, [(new, past, True)]) >= step
            assert step_time.step_s(n, context, [(new + 1, past, False)]) >= step
            assert step_time.step_s(n, context, [(new, past + 1, False)]) >= step
            assert step_time.step_s(n + 1, context, [(new, past, False)]) >= step
            assert step_time.step_s(n, context + 1, [(new, past, False)]) >= step
            assert step_time.step_s(n, context, [(new, past, False), (1, 0, False)]) >= step


def test_a_step_without_chunks_is_the_affine_decode_step_to_the_last_bit(step_time):
    for n, context in ((0, 0), (1, 1), (7, 4321), (64, 123_456), (150, 1e6)):
        assert step_time.step_s(n, context, ()) == step_time.decode_s(n) + step_time.context_s * context


def test_k_decode_steps_add_up_to_the_closed_form(step_time):
    n, context, k = 23, 23 * 517, 400
    stepped = sum(step_time.step_s(n, context + n * i, ()) for i in range(k))
    closed = k * step_time.decode_s(n) + step_time.context_s * (k * context + n * k * (k - 1) / 2)
    assert stepped == pytest.approx(closed, rel=1e-12)


def test_splitting_a_prompt_into_chunks_does_the_same_attention_and_never_saves_time(step_time):
    whole = step_time.step_s(0, 0, [(2048, 0, True)])
    halves = step_time.step_s(0, 0, [(1024, 0, False)]) + step_time.step_s(0, 0, [(1024, 1024, True)])
    assert halves > whole


@pytest.mark.parametrize("name", files("engine"))
def test_every_engine_file_builds_a_plausible_step_time(name):
    assert 1e-3 < built_by(ENGINES[name]).decode_s(1) < 20e-3


def test_a_group_shares_the_heads_but_not_the_latent():
    """DeepSeek-V2 (arXiv 2405.04434, 2.1): every GPU keeps the whole latent, and expands it into its own heads. So what
    a cached token adds to a chunk, beyond reading its latent, takes one GPU of eight an eighth of what one alone needs.
    """

    def expansion_s(tp):
        engine = Engine(tensor_parallel=tp, max_num_seqs=8)
        step = engine.step_time.build(gpu_named("h200_sxm"), model_named("deepseek_v3"), engine)
        per_token_s = (step.step_s(0, 0.0, [(1, 5000, False)]) - step.step_s(0, 0.0, [(1, 0, False)])) / 5000
        return per_token_s - step.context_s

    assert expansion_s(1) / expansion_s(8) == pytest.approx(8, rel=1e-6)


def test_affine_step_time_is_what_it_says():
    step = AffineStepTime(base_s=2.0, per_sequence_s=0.5, per_context_token_s=0.25, per_prefill_token_s=0.125)
    assert step.decode_s(4) == 4.0
    assert step.step_s(4, 8, ()) == 6.0
    assert step.step_s(4, 8, [(16, 99, True)]) == 2.0 + 0.5 * 5 + 0.25 * 8 + 0.125 * 16
    engine = Engine(step_time=AffineModel(base_s=2.0))
    chosen = engine.step_time.build(None, None, engine)
    assert chosen.step_s(9, 9, [(9, 9, True)]) == 2.0


def test_an_affine_step_that_takes_no_time_is_refused():
    with pytest.raises(ConfigError, match="a step takes time"):
        parse_config(AffineModel, {"kind": "affine", "per_prefill_token_s": 1.0})
