"""What fits on a GPU, checked against the block counts that real engines print."""

from __future__ import annotations

from typing import get_args

import pytest
import yaml

from sim.conf_path import conf_dir
from sim.hardware.engine import Engine
from sim.hardware.fits import (
    kv_blocks,
    kv_blocks_of,
    kv_bytes_per_token,
    kv_memory_bytes,
    refuse_if_too_big,
    weight_bytes_per_gpu,
    window_bytes_per_sequence,
)
from sim.hardware.gpu import gpu_named
from sim.hardware.model import Model, Sampler, model_named
from sim.hardware.step_time.roofline import SAMPLER_PASSES, Roofline
from sim.schema import ConfigError, parse_config

GPUS = sorted(p.stem for p in (conf_dir() / "gpu").glob("*.yaml"))
MODELS = sorted(p.stem for p in (conf_dir() / "model").glob("*.yaml") if p.stem != "hugging_face")

PRINTED_BLOCKS = [  # as vLLM prints them at start: blocks of 16 tokens, gpu_memory_utilization 0.9
    ("rtx_4090", "llama_3_1_8b", 1, 2588),
    ("h100_sxm", "mistral_nemo", 1, 19251),
    ("h100_sxm", "mistral_nemo", 2, 48009),
    ("h100_sxm", "qwen2_5_7b", 1, 65368),
    ("h100_sxm", "yi_34b", 2, 20793),
    ("h100_sxm", "llama_3_1_70b", 4, 30251),
    ("h100_sxm", "llama_2_7b", 1, 7463),
    ("h100_sxm", "llama_2_70b", 4, 31356),
    ("h100_sxm", "code_llama_34b", 2, 26602),
]


@pytest.mark.parametrize(("gpu", "model", "tp", "printed"), PRINTED_BLOCKS)
def test_kv_blocks_agree_with_what_engines_print(gpu, model, tp, printed):
    assert kv_blocks(gpu, model, tp) == pytest.approx(printed, rel=0.03)


@pytest.mark.parametrize("name", GPUS)
def test_every_gpu_file_is_read_under_its_own_name(name):
    gpu = gpu_named(name)
    assert gpu.name == name
    assert gpu_named(gpu) is gpu
    for dtype in ("bf16", "fp8", "mxfp4"):
        assert gpu.gemm_flops_per_s(dtype) < gpu.peak_flops_per_s(dtype)


@pytest.mark.parametrize("name", MODELS)
def test_the_shape_of_every_model_file_adds_up_to_its_published_size(name):
    model = model_named(name)
    assert model.name == name
    counted = model.dense_params + model.expert_params + model.embedding_params
    assert counted == pytest.approx(model.total_params, rel=0.002)


@pytest.mark.parametrize("path", sorted(conf_dir().glob("gpu/*.yaml")) + sorted(conf_dir().glob("model/*.yaml")))
def test_every_number_carries_its_source(path):
    for line in path.read_text().splitlines():
        key, _, rest = line.partition(":")
        value, _, comment = rest.partition("#")
        if isinstance(yaml.safe_load(value), (int, float)):
            assert len(comment.strip()) > 5, f"{path.name}: {key} has no source"


def test_a_model_that_cannot_fit_is_refused_with_the_arithmetic():
    """The claim that a card of 24 GB is too small for a 70B model holds: it needs 142 GB."""
    with pytest.raises(ConfigError) as refusal:
        refuse_if_too_big("rtx_4090", "llama_3_3_70b", Engine())
    words = str(refusal.value)
    assert "141.1 GB of weights / 1 GPU + 1.25 GB reserve = 142.4 GB" in words
    assert "0.9 x 25.25 = 22.7 GB" in words
    assert "tensor_parallel >= 8" in words
    assert kv_blocks("rtx_4090", "llama_3_3_70b", 1) == 0
    refuse_if_too_big("rtx_4090", "llama_3_3_70b", Engine(tensor_parallel=8))
    refuse_if_too_big("h100_sxm", "llama_3_3_70b", Engine(weight_dtype="fp8"))


def test_heads_that_cannot_be_shared_out_are_refused():
    with pytest.raises(ConfigError, match="must divide the 56 attention heads"):
        refuse_if_too_big("h100_sxm", "yi_34b", Engine(tensor_parallel=3))


def test_weights_are_divided_and_quantised_but_embeddings_stay_in_16_bits():
    whole = weight_bytes_per_gpu("llama_3_1_8b", Engine())
    assert whole == pytest.approx(16.06e9)
    assert weight_bytes_per_gpu("llama_3_1_8b", Engine(tensor_parallel=4)) == pytest.approx(whole / 4)
    fp8 = weight_bytes_per_gpu("llama_3_1_8b", Engine(weight_dtype="fp8"))
    assert fp8 == pytest.approx(whole - 6.979e9, rel=1e-3)  # linear layers lose one byte each
    assert weight_bytes_per_gpu("gpt_oss_120b", Engine()) == pytest.approx(65.2e9, rel=0.01)  # published checkpoint
    assert weight_bytes_per_gpu("gpt_oss_120b", Engine(weight_dtype="fp8")) < 65.2e9  # fp4 experts are not widened


def test_kv_heads_are_replicated_when_there_are_more_gpus_than_heads():
    per_token = [kv_bytes_per_token("qwen2_5_7b", Engine(tensor_parallel=tp)) for tp in (1, 2, 4)]
    assert per_token == [57344, 28672, 14336]
    assert kv_bytes_per_token("qwen3_30b_a3b", Engine(tensor_parallel=8)) == 98304 / 4  # four KV heads


def test_memory_shapes_of_latent_sparse_window_and_fp8_caches():
    assert kv_bytes_per_token("deepseek_v3", Engine(tensor_parallel=8)) == 70272  # the latent is not divided
    assert kv_bytes_per_token("deepseek_v3_2", Engine()) == 70272 + 61 * 132
    assert kv_bytes_per_token("gpt_oss_120b", Engine()) == 36864  # 18 of 36 layers grow
    assert kv_bytes_per_token("llama_3_1_8b", Engine(kv_dtype="fp8")) == 131072 / 2
    assert kv_blocks("h100_sxm", "llama_3_1_8b", 1, kv_dtype="fp8") == pytest.approx(
        2 * kv_blocks("h100_sxm", "llama_3_1_8b", 1), abs=1
    )


def test_sliding_windows_take_a_fixed_memory_per_sequence():
    window = window_bytes_per_sequence("gpt_oss_120b", Engine())
    assert window == 18 * (128 + 16) * 2 * 8 * 64 * 2  # layers, tokens, keys and values, KV heads, head, bytes
    assert window_bytes_per_sequence("llama_3_1_8b", Engine()) == 0
    few, many = (kv_memory_bytes("h100_sxm", "gpt_oss_120b", Engine(max_num_seqs=n)) for n in (1, 256))
    assert few - many == pytest.approx(255 * window)


def test_windows_leave_half_of_the_memory_to_contexts():
    """Windows of more sequences than memory holds would leave nothing that grows, and no request could be served."""
    window = window_bytes_per_sequence("gpt_oss_120b", Engine())
    free = kv_memory_bytes("h100_sxm", "gpt_oss_120b", Engine(max_num_seqs=1)) + window
    n_half = int(free / 2 / window)
    below, above, far_above = (
        kv_memory_bytes("h100_sxm", "gpt_oss_120b", Engine(max_num_seqs=n, max_num_batched_tokens=100_000))
        for n in (n_half, n_half + 1, 10 * n_half)
    )
    assert below == pytest.approx(free - n_half * window) and below > free / 2
    assert above == far_above == pytest.approx(free / 2)


def test_memory_that_is_not_given_to_the_engine_is_not_used():
    assert kv_blocks("h100_sxm", "llama_3_1_8b", 1, 0.45) < 0.5 * kv_blocks("h100_sxm", "llama_3_1_8b", 1, 0.9)
    roomy = Engine(activation_reserve_gb=0)
    assert kv_blocks_of("h100_sxm", "llama_3_1_8b", roomy) > kv_blocks("h100_sxm", "llama_3_1_8b", 1)


def test_every_sampler_has_its_traffic():
    assert set(SAMPLER_PASSES) == set(get_args(Sampler))


def test_a_mixture_touches_the_expected_number_of_distinct_experts():
    model = model_named("mixtral_8x7b")
    assert model.expected_distinct_experts(1) == pytest.approx(2)
    assert model.expected_distinct_experts(2) == pytest.approx(3.5)  # 8 (1 - (3/4)^2)
    assert model.expected_distinct_experts(1000) == pytest.approx(8)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="h100_pro.*is not one of.*h100_sxm"):
        gpu_named("h100_pro")
    with pytest.raises(ConfigError, match="model = 'llama'"):
        model_named("llama")


@pytest.mark.parametrize(
    ("change", "law"),
    [
        ({"kv_heads": 5}, "heads = 32 must be a multiple of kv_heads = 5"),
        ({"total_params_b": 7.0}, "less than the shape's own parameters"),
        ({"ffn": 0}, "ffn must be > 0"),
        ({"experts": 8}, "experts_per_token = 0"),
        ({"attention": "mla"}, "needs kv_lora_rank"),
        ({"sliding_window": 128}, "given together"),
        ({"_target_": "os.system"}, "is not a known key"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(change, law):
    with pytest.raises(ConfigError, match=law):
        parse_config(Model, model_named("llama_3_1_8b").model_dump() | change)


def test_an_efficiency_above_one_is_refused():
    with pytest.raises(Exception, match="less than or equal to 1"):
        parse_config(type(gpu_named("h100_sxm")), gpu_named("h100_sxm").model_dump() | {"gemm_efficiency": 1.1})


def test_a_budget_smaller_than_the_batch_is_refused():
    with pytest.raises(ConfigError, match="max_num_batched_tokens = 64 must be >= max_num_seqs = 128"):
        parse_config(Engine, {"max_num_batched_tokens": 64, "max_num_seqs": 128})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tensor_parallel": 3}, "tensor_parallel = 3: must divide the 32 attention heads of model llama_3_1_8b"),
        ({"tensor_parallel": 0}, "tensor_parallel = 0: "),
        ({"tensor_parallel": 1, "gpu_memory_utilization": 1.5}, "gpu_memory_utilization = 1.5: "),
    ],
)
def test_blocks_of_an_impossible_replica_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        kv_blocks("h100_sxm", "llama_3_1_8b", **changes)


def test_activations_are_quantised_only_where_there_are_units_for_it():
    fp8, model = Engine(weight_dtype="fp8"), model_named("llama_3_1_8b")
    for name, has_units in (("h100_sxm", True), ("a100_80gb_sxm", False)):
        gpu = gpu_named(name)
        slower = gpu.model_copy(update={"quantized_layer_overhead_us": 1000.0})
        assert (Roofline(slower, model, fp8).decode_s(1) > Roofline(gpu, model, fp8).decode_s(1)) is has_units


@pytest.mark.parametrize(("norm", "share_of_the_shorter"), [(1.0, 1.0), (2.0, 0.41), (50.0, 0.02)])
def test_experts_compute_while_their_weights_are_read(norm, share_of_the_shorter):
    """Both terms are joined by the norm of the card: a sum at 1, nearly the longer of the two at 50."""
    gpu, model, engine = gpu_named("h100_sxm"), model_named("mixtral_8x7b"), Engine(tensor_parallel=2)
    expert_params = model.expert_params / 2
    read_s = expert_params * 2 / (gpu.memory_bandwidth_gb_per_s * 1e9 * gpu.weight_read_efficiency)
    per_token_s = expert_params / 4 * 2 / (gpu.gemm_flops_per_s("bf16") * gpu.expert_gemm_fraction)  # 2 of 8 experts
    tokens = round(read_s / per_token_s)  # as many as take as long to compute as the weights take to read
    dense = model.model_copy(update={"experts_per_token": 1, "expert_ffn": 1})
    joined = gpu.model_copy(update={"overlap_norm": norm})
    with_experts, without = (Roofline(joined, m, engine).step_s(0, 0.0, [(tokens, 0, False)]) for m in (model, dense))
    elementwise_s = 0.1 * read_s
    assert with_experts - without == pytest.approx((1 + share_of_the_shorter) * read_s, abs=elementwise_s)


def test_a_larger_group_gets_less_out_of_a_pcie_link():
    """As measured on a server of eight L40S: a pair reaches 0.6 of the link, four cards 0.12, eight 0.066."""
    card = gpu_named("l40s")
    reached = [card.all_reduce_gb_per_s(gpus) / card.link_gb_per_s for gpus in (2, 3, 4, 7, 8, 16)]
    assert reached == pytest.approx([0.6, 0.6, 0.121, 0.121, 0.0665, 0.0665], rel=0.02)
    nvlink = gpu_named("h100_sxm")
    assert nvlink.all_reduce_gb_per_s(2) == nvlink.all_reduce_gb_per_s(8)


@pytest.mark.parametrize(
    ("field", "dtype"),
    [("fp8_expert_gemm_fraction", "fp8"), ("fp8_expert_read_fraction", "fp8"), ("mxfp4_expert_read_fraction", "mxfp4")],
)
def test_a_fraction_of_a_number_format_slows_experts_of_that_format_alone(field, dtype):
    gpu, model = gpu_named("h100_sxm"), model_named("mixtral_8x7b")
    slower = gpu.model_copy(update={field: 0.1})
    for expert_dtype in ("bf16", "fp8", "mxfp4"):
        one = model.model_copy(update={"expert_dtype": expert_dtype})
        before, after = (
            [Roofline(card, one, Engine(tensor_parallel=2)).step_s(0, 0.0, [(n, 0, False)]) for n in (8, 4000)]
            for card in (gpu, slower)
        )
        slowed = any(late > 1.1 * early for early, late in zip(before, after, strict=True))
        assert slowed is (expert_dtype == dtype)
