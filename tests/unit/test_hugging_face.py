"""Models read from a Hugging Face config.json are those of conf/model."""

from __future__ import annotations

import json

import pytest

from sim.hardware.fits import kv_blocks
from sim.hardware.model import Model, model_named
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError

_LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
_DEEPSEEK = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "num_attention_heads": 128, "num_key_value_heads": 128, "num_hidden_layers": 61, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3, "q_lora_rank": 1536,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 129280,
    "max_position_embeddings": 163840, "torch_dtype": "bfloat16", "quantization_config": {"quant_method": "fp8"},
}  # fmt: skip
PUBLISHED = {
    "llama_3_1_8b": _LLAMA,
    "llama_2_7b": {  # no KV heads stated: as many as heads
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32,
        "num_hidden_layers": 32, "vocab_size": 32000, "max_position_embeddings": 4096, "torch_dtype": "float16",
    },
    "mistral_nemo": {  # the head is not hidden / heads
        "model_type": "mistral", "hidden_size": 5120, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_hidden_layers": 40, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072,
        "max_position_embeddings": 131072, "sliding_window": None, "torch_dtype": "bfloat16",
    },
    "qwen2_5_7b": {  # states a window that is switched off
        "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
        "num_hidden_layers": 28, "num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 32768,
        "sliding_window": 131072, "use_sliding_window": False, "max_window_layers": 28, "torch_dtype": "bfloat16",
    },
    "qwen3_30b_a3b": {
        "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768,
        "num_attention_heads": 32, "num_hidden_layers": 48, "num_key_value_heads": 4, "head_dim": 128,
        "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "vocab_size": 151936, "max_position_embeddings": 40960, "torch_dtype": "bfloat16",
    },
    "mixtral_8x7b": {
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2,
        "vocab_size": 32000, "max_position_embeddings": 32768, "torch_dtype": "bfloat16",
    },
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v3_2": _DEEPSEEK | {
        "model_type": "deepseek_v32", "index_topk": 2048, "index_n_heads": 64, "index_head_dim": 128,
    },
    "gpt_oss_20b": {
        "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_attention_heads": 64,
        "num_hidden_layers": 24, "num_key_value_heads": 8, "head_dim": 64, "num_local_experts": 32,
        "experts_per_token": 4, "vocab_size": 201088, "max_position_embeddings": 131072, "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"] * 12, "quantization_config": {"quant_method": "mxfp4"},
    },
    "glm_4_5_air": {
        "model_type": "glm4_moe", "hidden_size": 4096, "intermediate_size": 10944, "moe_intermediate_size": 1408,
        "num_attention_heads": 96, "num_hidden_layers": 46, "num_key_value_heads": 8, "head_dim": 128,
        "n_routed_experts": 128, "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 1,
        "vocab_size": 151552, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
    },
    "llama_4_scout": {  # multimodal: the language part counts
        "model_type": "llama4", "quantization_config": {
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            "ignore": ["re:.*lm_head", "re:.*self_attn", "re:.*router"],
        },
        "text_config": {
            "model_type": "llama4_text", "hidden_size": 5120, "intermediate_size": 8192,
            "intermediate_size_mlp": 16384, "num_attention_heads": 40, "num_hidden_layers": 48,
            "num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 16, "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 1, "vocab_size": 202048, "max_position_embeddings": 10485760,
        },
    },
}  # fmt: skip
_NOT_SHAPE = {"name", "hugging_face_id", "config_path", "total_params_b", "max_context_tokens", "default_sampler"}


@pytest.fixture
def config_file(tmp_path):
    def write(content) -> str:
        folder = tmp_path / "My-Model"
        folder.mkdir(exist_ok=True)
        path = folder / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_gives_the_shape_and_size_of_the_file_in_conf(name, config_file):
    read, known = Model.from_hugging_face(config_file(PUBLISHED[name])), model_named(name)
    differs = {k for k, v in read.model_dump().items() if k not in _NOT_SHAPE and v != getattr(known, k)}
    assert not differs - {"ffn", "dense_mlp_layers"}
    assert (read.dense_params, read.expert_params) == (known.dense_params, known.expert_params)
    assert read.total_params == pytest.approx(known.total_params, rel=0.005)
    assert kv_blocks("b200", read, 4) == pytest.approx(kv_blocks("b200", known, 4), rel=0.005)


@pytest.mark.parametrize(
    ("content", "params_b", "window_layers"),
    [
        (  # what is as in the library is left out
            {"model_type": "gemma3", "text_config": {
                "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
                "sliding_window": 1024,
            }},
            3.88, 29,
        ),
        (
            {"model_type": "gemma3", "text_config": {
                "model_type": "gemma3_text", "hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48,
                "num_attention_heads": 16, "num_key_value_heads": 8, "sliding_window": 1024,
            }},
            11.77, 40,
        ),
        (_DEEPSEEK | {"model_type": "kimi_k2", "n_routed_experts": 384, "num_attention_heads": 64,
                      "vocab_size": 163840, "first_k_dense_replace": 1}, 1026, 0),
    ],
)  # fmt: skip
def test_a_model_that_conf_does_not_have(content, params_b, window_layers, config_file):
    """Sizes from the model cards (recalled, not re-fetched)."""
    read = Model.from_hugging_face(config_file(content))
    assert read.total_params / 1e9 == pytest.approx(params_b, rel=0.01)
    assert read.n_window_layers == window_layers


def test_a_checkpoint_says_what_it_keeps_in_which_bits(config_file):
    quantized = {
        "quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8",
        "ignore": [*(f"model.layers.{i}.self_attn.q_proj" for i in range(32)), "lm_head"],
    }  # fmt: skip
    read = Model.from_hugging_face(config_file(_LLAMA | {"quantization_config": quantized}))
    assert (read.weight_dtype, read.kv_dtype, read.attention_dtype) == ("fp8", "fp8", "bf16")
    seeing = quantized | {"ignore": ["vision_tower.layers.0.self_attn.k_proj", "model.layers.3.self_attn.q_proj"]}
    assert Model.from_hugging_face(config_file(_LLAMA | {"quantization_config": seeing})).attention_dtype is None
    in_bf16 = Model.from_hugging_face(config_file(_LLAMA)).weight_bytes()
    assert in_bf16 - read.weight_bytes() == read.mlp_params


def test_a_scenario_takes_a_config_file(config_file):
    path = config_file(_LLAMA)
    scenario = parse(compose_config("model=hugging_face", f"model.config_path='{path}'", "+model.kv_dtype=fp8"))
    assert (scenario.model.name, scenario.model.layers, scenario.model.kv_dtype) == ("My-Model", 32, "fp8")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_LLAMA | {"model_type": "mamba2"}, "config.json: model_type = 'mamba2': is not one of .*mixtral"),
        ({k: v for k, v in _LLAMA.items() if k != "vocab_size"}, "config.json: vocab_size: is required"),
        (_LLAMA | {"hidden_size": "wide"}, "hidden_size = 'wide': must be a whole number"),
        (_LLAMA | {"num_key_value_heads": 5}, "heads = 32 must be a multiple of kv_heads = 5"),
        (_LLAMA | {"num_attention_heads": 0}, "heads = 0: "),
        (_LLAMA | {"quantization_config": {"quant_method": "awq"}}, "quant_method = 'awq'"),
        (_LLAMA | {"torch_dtype": "int3"}, "torch_dtype = 'int3'"),
        ("[1, 2]", "must be an object"),
        ("{", "is not JSON"),
    ],
)
def test_a_config_that_cannot_be_read_is_refused_by_file_and_key(content, words, config_file):
    with pytest.raises(ConfigError, match=words):
        Model.from_hugging_face(config_file(content))


def test_a_window_on_every_layer_is_left_out_so_that_memory_still_grows(config_file):
    read = Model.from_hugging_face(config_file(_LLAMA | {"model_type": "mistral", "sliding_window": 4096}))
    assert read.n_window_layers == 0
    assert kv_blocks("h100_sxm", read, 1) == pytest.approx(kv_blocks("h100_sxm", "llama_3_1_8b", 1), rel=1e-3)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match="model.config_path = 'nowhere.json': No such file"):
        Model.from_hugging_face("nowhere.json")
