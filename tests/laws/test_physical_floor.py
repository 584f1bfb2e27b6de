"""No engine step is faster than the card's operations per second or bytes per second allow.

The floor is counted here from the shape of the model and the data sheet alone, without the code under test.
"""

from __future__ import annotations

import pytest

from sim.conf_path import conf_dir
from sim.hardware.engine import Engine
from sim.hardware.fits import kv_blocks_of
from sim.hardware.gpu import gpu_named
from sim.hardware.model import model_named
from sim.hardware.step_time.affine import AffineStepTime

GPUS = sorted(p.stem for p in (conf_dir() / "gpu").glob("*.yaml"))
MODELS = sorted(p.stem for p in (conf_dir() / "model").glob("*.yaml") if p.stem != "hugging_face")
BATCHES = (1, 2, 8, 33, 128, 500, 1024)
PROMPTS = (1, 17, 128, 2048, 8192, 32_768, 131_072)
SIZE = {"bf16": 2.0, "fp8": 1.0, "mxfp4": 0.5, "nvfp4": 0.5}


def seen(model, layer_share_capped: float, cap: int | None, context: float) -> float:
    """Tokens of `context` that an average layer attends to."""
    return context * (1 - layer_share_capped) + layer_share_capped * min(context, cap or context)


class Floor:
    """Operations and bytes of a step on one GPU of the group that cannot be avoided."""

    def __init__(self, gpu, model, engine):
        self.gpu, self.model, self.tp = gpu, model, engine.tensor_parallel
        weight, expert = engine.weight_dtype or model.weight_dtype, model.expert_dtype or model.weight_dtype
        expert = min(expert, engine.weight_dtype or expert, key=SIZE.get)
        kv_size = SIZE[engine.kv_dtype or model.kv_dtype]
        if model.attention == "gqa":
            attention = 2 * model.hidden * model.head_dim * (model.heads + model.kv_heads)
            kv = 2 * max(model.kv_heads / self.tp, 1) * model.head_dim * kv_size
            width = 2 * model.head_dim
        else:
            query = model.heads * (model.qk_nope_head_dim + model.qk_rope_head_dim)
            attention = model.q_lora_rank * (model.hidden + query) + model.heads * model.head_dim * model.hidden
            attention += model.hidden * (model.kv_lora_rank + model.qk_rope_head_dim)
            attention += model.kv_lora_rank * model.heads * (model.qk_nope_head_dim + model.head_dim)
            kv = (model.kv_lora_rank + model.qk_rope_head_dim) * kv_size
            width = model.qk_nope_head_dim + model.qk_rope_head_dim + model.head_dim
        moe_layers = model.layers - (model.dense_mlp_layers or 0) if model.experts else 0
        mlp = 3 * model.hidden * (model.ffn * (model.layers - moe_layers) + model.shared_expert_ffn * moe_layers)
        self.dense = model.layers * attention + mlp
        self.active_experts = moe_layers * model.experts_per_token * 3 * model.hidden * model.expert_ffn
        self.head = model.hidden * model.vocab
        self.weight_bytes = self.dense * SIZE[weight] + self.active_experts * SIZE[expert]
        self.kv_bytes = model.layers * kv
        self.pair_flops = 2 * model.layers * model.heads * width
        peaks = [gpu.bf16_dense_tflops]
        if "fp8" in (weight, expert):
            peaks.append(gpu.fp8_dense_tflops or 0)
        if "fp4" in weight + expert:
            peaks.append(gpu.fp4_dense_tflops or 0)
        self.peak = max(peaks) * 1e12
        self.capped = 1.0 if model.attention == "dsa" else model.sliding_window_fraction
        self.cap = model.sparse_top_k if model.attention == "dsa" else model.sliding_window

    def step_s(self, n_decode, context_each, new, past):
        tokens, rows = n_decode + new, n_decode + (1 if new else 0)
        seen_decode = n_decode * seen(self.model, self.capped, self.cap, context_each)
        seen_past = seen(self.model, self.capped, self.cap, past)
        pairs = seen_decode + new * seen_past
        if not self.capped:
            pairs += new * (new + 1) / 2
        flops = 2 * tokens * (self.dense + self.active_experts) + 2 * rows * self.head + pairs * self.pair_flops
        weights = self.weight_bytes + self.head * 2
        kv_bytes = (seen_decode + seen_past) * self.kv_bytes  # kv_bytes is already what one GPU holds
        bandwidth = self.gpu.memory_bandwidth_gb_per_s * 1e9
        return max(flops / self.tp / self.peak, (weights / self.tp + kv_bytes) / bandwidth)


def violations(step_time, floor: Floor):
    for n in BATCHES:
        for context in PROMPTS:
            step, least = step_time.step_s(n, float(n * context), ()), floor.step_s(n, context, 0, 0)
            if step < least:
                yield f"decode n={n} context={context}: {step} < {least}"
    for prompt in PROMPTS:
        for n, context, past in ((0, 0, 0), (33, 500, 0), (0, 0, 4096), (1024, 2000, 65_536)):
            chunk = [(prompt, past, True)]
            step, least = step_time.step_s(n, float(n * context), chunk), floor.step_s(n, context, prompt, past)
            if step < least:
                yield f"prefill prompt={prompt} past={past} n={n}: {step} < {least}"


def fitting(gpu_name, model_name):
    gpu, model = gpu_named(gpu_name), model_named(model_name)
    for tp in (1, 2, 4, 8):
        for quantised in ({}, {"weight_dtype": "fp8", "kv_dtype": "fp8"}):
            engine = Engine(tensor_parallel=tp, max_num_seqs=32, **quantised)
            if model.heads % tp == 0 and kv_blocks_of(gpu, model, engine):
                yield gpu, model, engine


@pytest.mark.parametrize("model", MODELS)
def test_no_step_is_faster_than_the_card(model):
    checked = 0
    for gpu_name in GPUS:
        for gpu, shape, engine in fitting(gpu_name, model):
            bad = list(violations(engine.step_time.build(gpu, shape, engine), Floor(gpu, shape, engine)))
            assert not bad, f"{gpu_name} {model} TP {engine.tensor_parallel} {engine.weight_dtype}: {bad[:3]}"
            checked += 1
    assert checked


def test_the_floor_catches_a_step_time_that_is_too_fast():
    engine = Engine()
    floor = Floor(gpu_named("h100_sxm"), model_named("llama_3_1_8b"), engine)
    assert list(violations(AffineStepTime(base_s=4e-3), floor))  # 15 GB cannot be read in 4 ms at 3.35 TB/s
    assert floor.step_s(1, 0, 0, 0) == pytest.approx(15.01e9 / 3350e9, rel=1e-3)


def test_prefill_of_an_8b_model_stays_below_the_peak_of_one_h100():
    engine = Engine()
    step = engine.step_time.build(gpu_named("h100_sxm"), model_named("llama_3_1_8b"), engine)
    flops_per_s = 2 * 6.98e9 * 8192 / step.step_s(0, 0, [(8192, 0, True)])
    assert 0.4 < flops_per_s / 989e12 < 0.8
