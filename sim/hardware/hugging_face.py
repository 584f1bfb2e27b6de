"""The shape of a published model, read from its Hugging Face `config.json`, for the architectures in `_READERS`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sim.schema import ConfigError

_DENSE = ("llama", "mistral", "qwen2", "qwen3", "qwen3_vl_text", "gemma3_text", "phi3", "granite", "olmo2", "seed_oss")
_LEFT_OUT = {
    "gemma3_text": {
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262_208,
        "max_position_embeddings": 131_072, "sliding_window_pattern": 6, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""Values of keys that published files leave out, by model_type.

They are the defaults of the transformers library, recalled and not fetched again.
"""

# A model published in float32 is served in 16 bits, as vLLM's `--dtype auto` does.
_SERVED_DTYPE = {"bfloat16": "bf16", "float16": "bf16", "float32": "bf16"}


class _Config:
    """The keys and values of one config.json. Its errors name the file and the key that is missing or wrong."""

    def __init__(self, path: Path, raw: dict[str, Any]):
        self.path = path
        self.raw = raw

    def number(self, *keys: str, default: int | None = None) -> int:
        """The value of the first of `keys` that the file has; else `default`.

        Raises ConfigError for a value that is not a whole number, and where there is neither a key nor a default.
        """
        for key in keys:
            value = self.raw.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{self.path}: {key} = {value!r}: must be a whole number")
            return value
        if default is None:
            raise ConfigError(f"{self.path}: {' or '.join(keys)}: is required")
        return default

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`; `default` if the file lacks the key or has null."""
        value = self.raw.get(key)
        return default if value is None else value


def read_shape(path: str | Path) -> dict[str, Any]:
    """Fields of `sim.hardware.model.Model`, by name, that a config.json states: a multimodal model's language part.

    Raises ConfigError, naming file and key, for a file that cannot be read or is not JSON, an unknown architecture, and
    a key that is missing or wrong.
    """
    path = Path(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"model.config_path = {str(path)!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: is not JSON ({error})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be an object with the keys of a Hugging Face config.json")
    language = raw.get("text_config") or raw
    model_type = str(language.get("model_type", ""))
    left_out = _LEFT_OUT.get(model_type, {})
    config = _Config(path, {"quantization_config": raw.get("quantization_config"), **left_out, **language})
    if model_type not in _READERS:
        raise ConfigError(f"{path}: model_type = {model_type!r}: is not one of {', '.join(sorted(_READERS))}")
    published = raw.get("_name_or_path")
    name = published or (path.parent.name if path.stem == "config" else path.stem) or model_type
    return (
        {"name": Path(name).name, "hugging_face_id": published or name}
        | _common(config) | _READERS[model_type](config) | _windows(config, model_type) | _dtypes(config)
    )  # fmt: skip


def _common(config: _Config) -> dict[str, Any]:
    """Fields that every architecture states under the same keys."""
    hidden, heads = config.number("hidden_size"), config.number("num_attention_heads")
    return {
        "layers": config.number("num_hidden_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": config.number("num_key_value_heads", default=heads),
        "head_dim": config.number("head_dim", default=hidden // heads if heads > 0 else 0),
        "vocab": config.number("vocab_size"),
        "max_context_tokens": config.number("max_position_embeddings"),
        "tied_embeddings": bool(config.get("tie_word_embeddings", False)),
    }


# --- feed-forward layers, by model_type ------------------------------------------------------------------------------


def _dense(config: _Config) -> dict[str, Any]:
    """Every layer has a dense feed-forward."""
    return {"ffn": config.number("intermediate_size")}


def _mixtral(config: _Config) -> dict[str, Any]:
    """Every layer has routed experts, of the width `intermediate_size`."""
    return {
        "experts": config.number("num_local_experts"),
        "experts_per_token": config.number("num_experts_per_tok", "experts_per_token"),
        "expert_ffn": config.number("intermediate_size"),
    }


def _qwen_moe(config: _Config) -> dict[str, Any]:
    """Qwen: every `decoder_sparse_step`-th layer has experts, except those that `mlp_only_layers` lists."""
    layers, moe_interval = config.number("num_hidden_layers"), config.number("decoder_sparse_step", default=1)
    dense_only = set(config.get("mlp_only_layers", []))
    dense = sum(layer in dense_only or (layer + 1) % moe_interval != 0 for layer in range(layers))
    return {
        "experts": config.number("num_experts"),
        "experts_per_token": config.number("num_experts_per_tok"),
        "expert_ffn": config.number("moe_intermediate_size"),
        "shared_expert_ffn": config.number("shared_expert_intermediate_size", default=0),
        "dense_mlp_layers": dense,
        "ffn": config.number("intermediate_size") if dense else 0,
    }


def _routed_and_shared(config: _Config) -> dict[str, Any]:
    """DeepSeek and GLM: the first layers are dense, the others have routed and shared experts."""
    expert_ffn = config.number("moe_intermediate_size")
    return {
        "experts": config.number("n_routed_experts"),
        "experts_per_token": config.number("num_experts_per_tok"),
        "expert_ffn": expert_ffn,
        "shared_expert_ffn": expert_ffn * config.number("n_shared_experts", default=0),
        "dense_mlp_layers": config.number("first_k_dense_replace", default=0),
        "ffn": config.number("intermediate_size"),
    }


def _deepseek(config: _Config) -> dict[str, Any]:
    """Multi-head latent attention, sparse (`dsa`) where the file has the keys of an indexer."""
    shape = _routed_and_shared(config) | {
        "attention": "mla",
        "kv_heads": 1,
        "head_dim": config.number("v_head_dim"),
        "q_lora_rank": config.number("q_lora_rank", default=0),
        "kv_lora_rank": config.number("kv_lora_rank"),
        "qk_nope_head_dim": config.number("qk_nope_head_dim"),
        "qk_rope_head_dim": config.number("qk_rope_head_dim"),
    }
    if config.get("index_topk"):
        shape |= {
            "attention": "dsa",
            "sparse_top_k": config.number("index_topk"),
            "indexer_heads": config.number("index_n_heads"),
            "indexer_head_dim": config.number("index_head_dim"),
        }
    return shape


def _llama4(config: _Config) -> dict[str, Any]:
    """Every `interleave_moe_layer_step`-th layer has routed experts and a shared one, the others are dense."""
    layers, moe_interval = config.number("num_hidden_layers"), config.number("interleave_moe_layer_step", default=1)
    dense = layers - layers // moe_interval
    return _mixtral(config) | {
        "shared_expert_ffn": config.number("intermediate_size"),
        "dense_mlp_layers": dense,
        "ffn": config.number("intermediate_size_mlp") if dense else 0,
    }


_READERS: dict[str, Callable[[_Config], dict[str, Any]]] = {
    **dict.fromkeys(_DENSE, _dense),
    **dict.fromkeys(("mixtral", "gpt_oss", "minimax_m2"), _mixtral),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "qwen3_vl_moe_text"), _qwen_moe),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2"), _deepseek),
    **dict.fromkeys(("glm4_moe", "glm4v_moe_text"), _routed_and_shared),
    "llama4_text": _llama4,
}
"""The reader of the feed-forward and attention fields, by model_type."""


# --- windows and number formats --------------------------------------------------------------------------------------


def _windows(config: _Config, model_type: str) -> dict[str, Any]:
    """The sliding window in tokens, and the fraction of the layers that have it; no fields if no layer has one.

    The layers are those that `layer_types` or `sliding_window_pattern` states; else every second one (gpt-oss), or
    those from `max_window_layers` on (Qwen). A window in all layers is left out, because `Model` cannot have one: up to
    the window this is exact, beyond it memory and time are overstated.
    """
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return {}
    layers = config.number("num_hidden_layers")
    if layer_types := config.get("layer_types"):
        fraction = sum(layer_type == "sliding_attention" for layer_type in layer_types) / layers
    elif full_attention_interval := config.get("sliding_window_pattern"):
        fraction = (layers - layers // full_attention_interval) / layers
    elif model_type.startswith("qwen"):
        if not config.get("use_sliding_window", False):
            return {}
        fraction = 1 - config.number("max_window_layers", default=0) / layers
    else:
        fraction = 0.5 if model_type == "gpt_oss" else 1.0
    if not 0 < fraction < 1:
        return {}
    return {"sliding_window": config.number("sliding_window"), "sliding_window_fraction": fraction}


def _dtypes(config: _Config) -> dict[str, Any]:
    """Number formats of weights, experts, attention and KV cache, where they are not the defaults of `Model`."""
    quantization = config.get("quantization_config", {})
    # Published files have one of these keys only if their KV cache is of 8-bit floats.
    quantized_kv = quantization.get("kv_cache_quant_algo") or quantization.get("kv_cache_scheme")
    return (
        _weight_dtypes(config, quantization)
        | ({"kv_dtype": "fp8"} if quantized_kv else {})
        | ({"attention_dtype": "bf16"} if _keeps_attention_in_16_bits(config, quantization) else {})
    )


def _keeps_attention_in_16_bits(config: _Config, quantization: dict[str, Any]) -> bool:
    """Whether the file excludes attention from quantisation: by a pattern, or module by module in most layers.

    Modules of a vision part do not count.
    """
    excluded = [*(quantization.get("ignore") or ()), *(quantization.get("modules_to_not_convert") or ())]
    attention = [str(module) for module in excluded if "self_attn" in str(module) and "vision" not in str(module)]
    layers = {found[1] for module in attention if (found := re.search(r"layers\.(\d+)\.", module))}
    return any(module.startswith("re:") for module in attention) or 2 * len(layers) > config.number("num_hidden_layers")


def _weight_dtypes(config: _Config, quantization: dict[str, Any]) -> dict[str, Any]:
    """`weight_dtype` or `expert_dtype`. Raises ConfigError, naming the file, for a number format that is not known."""
    if not quantization:
        dtype = str(config.get("dtype", config.get("torch_dtype", "bfloat16")))
        if dtype not in _SERVED_DTYPE:
            raise ConfigError(f"{config.path}: torch_dtype = {dtype!r}: is not one of {', '.join(_SERVED_DTYPE)}")
        return {"weight_dtype": _SERVED_DTYPE[dtype]}
    method = quantization.get("quant_method")
    if method == "fp8":
        return {"weight_dtype": "fp8"}
    if method == "mxfp4":
        return {"expert_dtype": "mxfp4"}
    if method == "modelopt":
        return {"weight_dtype": "nvfp4" if "FP4" in str(quantization.get("quant_algo")) else "fp8"}
    if method == "compressed-tensors":
        groups = quantization.get("config_groups", {}).values()
        weights = [group.get("weights") or {} for group in groups]
        if weights and all(w.get("num_bits") == 8 and w.get("type") == "float" for w in weights):
            return {"weight_dtype": "fp8"}
    raise ConfigError(
        f"{config.path}: quantization_config.quant_method = {method!r}: only fp8, mxfp4, modelopt and 8-bit float "
        "compressed-tensors are known"
    )
