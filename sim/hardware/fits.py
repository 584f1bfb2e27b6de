"""What fits on a replica: weights, KV cache, and the refusal of what does not fit."""

from __future__ import annotations

from sim.hardware.engine import Engine
from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu, gpu_named
from sim.hardware.model import Dtype, Model, model_named
from sim.schema import ConfigError, parse_config
from sim.units import GB


def weight_bytes_per_gpu(model: str | Model, engine: EngineFlags) -> float:
    """Bytes of weights on each GPU of a replica: all weights / tensor_parallel."""
    return model_named(model).weight_bytes(engine.weight_dtype) / engine.tensor_parallel


def kv_bytes_per_token(model: str | Model, engine: EngineFlags) -> float:
    """KV bytes that one more token of context takes on each GPU of a replica.

    GQA: 2 x layers x KV heads on this GPU x head_dim x bytes, where KV heads are replicated once there are more GPUs
    than heads. MLA: (kv_lora_rank + qk_rope_head_dim) x bytes per layer, not divided. Sliding-window layers do not
    grow: see `window_bytes_per_sequence`.
    """
    model = model_named(model)
    growing = (model.layers - model.n_window_layers) * model.kv_bytes_per_token_per_layer(
        engine.tensor_parallel, engine.kv_dtype
    )
    return growing + model.layers * model.indexer_bytes_per_token_per_layer


def window_bytes_per_sequence(model: str | Model, engine: EngineFlags) -> float:
    """What the sliding-window layers keep of one sequence on each GPU: the window, and the block it slides through."""
    model = model_named(model)
    tokens = (model.sliding_window or 0) + engine.block_tokens
    return model.n_window_layers * tokens * model.kv_bytes_per_token_per_layer(engine.tensor_parallel, engine.kv_dtype)


def kv_memory_bytes(gpu: str | Gpu, model: str | Model, engine: EngineFlags) -> float:
    """Bytes left for KV that grows, on each GPU: utilization x device total - weights - reserve - windows. May be < 0.

    Windows are set aside for as many sequences as may run, but never more than half of what the weights leave.
    """
    gpu, model = gpu_named(gpu), model_named(model)
    taken = weight_bytes_per_gpu(model, engine) + engine.activation_reserve_gb * GB
    left = engine.gpu_memory_utilization * gpu.device_total_gb * GB - taken
    windows = engine.max_num_seqs * window_bytes_per_sequence(model, engine)
    return left - min(windows, 0.5 * max(0.0, left))


def kv_blocks_of(gpu: str | Gpu, model: str | Model, engine: EngineFlags) -> int:
    """KV blocks of `engine.block_tokens` tokens that one replica holds; 0 if the weights leave no room.

    What a real engine logged (`engine.kv_cache_blocks`) goes before what its memory would suggest.
    """
    if engine.kv_cache_blocks is not None:
        return engine.kv_cache_blocks
    block_bytes = engine.block_tokens * kv_bytes_per_token(model, engine)
    return max(0, int(kv_memory_bytes(gpu, model, engine) // block_bytes))


def kv_blocks(
    gpu: str | Gpu,
    model: str | Model,
    tensor_parallel: int,
    gpu_memory_utilization: float = 0.9,
    *,
    block_tokens: int = 16,
    weight_dtype: Dtype | None = None,
    kv_dtype: Dtype | None = None,
    activation_reserve_gb: float = 1.25,
) -> int:
    """KV blocks of a replica of `tensor_parallel` GPUs; gpu and model as objects or as names in conf/. 0 if too big.

    Within 1.5 % of what eight vLLM servers logged. Sliding windows are set aside for 256 sequences. Raises ConfigError
    for a name that is not known, a group that does not divide the attention heads, and values out of range.

    >>> kv_blocks("h100_sxm", "mistral_nemo", 1) > 10_000
    True
    """
    options = {
        "tensor_parallel": tensor_parallel,
        "gpu_memory_utilization": gpu_memory_utilization,
        "block_tokens": block_tokens,
        "weight_dtype": weight_dtype,
        "kv_dtype": kv_dtype,
        "activation_reserve_gb": activation_reserve_gb,
    }
    engine, model = parse_config(Engine, options), model_named(model)
    _refuse_uneven_split(model, engine)
    return kv_blocks_of(gpu, model, engine)


def _refuse_uneven_split(model: Model, engine: EngineFlags) -> None:
    if model.heads % engine.tensor_parallel:
        raise ConfigError(
            f"engine.tensor_parallel = {engine.tensor_parallel}: must divide the {model.heads} attention heads of"
            f" model {model.name}"
        )


def refuse_if_too_big(gpu: str | Gpu, model: str | Model, engine: EngineFlags) -> None:
    """Raise ConfigError, with the arithmetic, if the model cannot be split so or leaves no KV block."""
    gpu, model = gpu_named(gpu), model_named(model)
    _refuse_uneven_split(model, engine)
    if kv_blocks_of(gpu, model, engine) >= 1:
        return
    gives = engine.gpu_memory_utilization * gpu.device_total_gb
    raise ConfigError(
        f"model {model.name} needs {model.weight_bytes(engine.weight_dtype) / GB:.1f} GB of weights /"
        f" {engine.tensor_parallel} GPU + {engine.activation_reserve_gb} GB reserve = "
        f"{weight_bytes_per_gpu(model, engine) / GB + engine.activation_reserve_gb:.1f} GB; {gpu.name} gives"
        f" {engine.gpu_memory_utilization} x {gpu.device_total_gb} = {gives:.1f} GB: {_ways_out(gpu, model, engine)}"
    )


def _ways_out(gpu: Gpu, model: Model, engine: EngineFlags) -> str:
    """The smallest groups that would hold the model, as published and in fp8."""
    ways = []
    for dtype, words in ((engine.weight_dtype, "engine.tensor_parallel >= {}"), ("fp8", "fp8 weights on {} GPU")):
        for tp in (1, 2, 4, 8, 16, 32):
            trial = engine.model_copy(update={"tensor_parallel": tp, "weight_dtype": dtype})
            if model.heads % tp == 0 and kv_blocks_of(gpu, model, trial) >= 1:
                ways.append(words.format(tp))
                break
    return "use " + " or ".join(dict.fromkeys(ways)) if ways else "use a GPU with more memory"
