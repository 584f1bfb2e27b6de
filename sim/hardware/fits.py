"""What fits on a replica: bytes of weights, blocks of KV cache, and the refusal of a model that does not fit.

A replica is one tensor-parallel group, or several attention ranks that share the routed experts. Bytes are per GPU;
GPUs and models are given as objects or as names of files in conf/gpu and conf/model, and an unknown name raises
ConfigError.
"""

from __future__ import annotations

from sim.hardware.engine import Engine
from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu, gpu_named
from sim.hardware.model import Dtype, Model, model_named
from sim.schema import ConfigError, parse_config
from sim.units import GB


def weight_bytes_per_gpu(model: str | Model, engine: EngineFlags) -> float:
    """Bytes of weights on each GPU of a replica: all weights / tensor_parallel.

    Of several attention ranks, each has a copy of all but the routed experts, on tensor_parallel / ranks GPUs.
    """
    model = model_named(model)
    all_bytes = model.weight_bytes(engine.weight_dtype)
    if engine.attention_data_parallel == 1:
        return all_bytes / engine.tensor_parallel
    expert_bytes = model.expert_weight_bytes(engine.weight_dtype)
    return expert_bytes / engine.tensor_parallel + (all_bytes - expert_bytes) / engine.gpus_per_rank


def kv_bytes_per_token(model: str | Model, engine: EngineFlags) -> float:
    """KV bytes that one more token of context takes on each GPU of a replica.

    Of several attention ranks, on each GPU of the rank that has the sequence. GQA: 2 x layers x KV heads per GPU x
    head_dim x bytes per value; a group of more GPUs than KV heads replicates heads. MLA: layers x (kv_lora_rank +
    qk_rope_head_dim) x bytes per value, on every GPU alike. Sliding-window layers are left out, since what they keep
    does not grow with the context: see `window_bytes_per_sequence`.
    """
    model = model_named(model)
    growing_layers = model.layers - model.n_window_layers
    layer_bytes = model.kv_bytes_per_token_per_layer(engine.gpus_per_rank, engine.kv_dtype)
    return growing_layers * layer_bytes + model.layers * model.indexer_bytes_per_token_per_layer


def window_bytes_per_sequence(model: str | Model, engine: EngineFlags) -> float:
    """KV bytes that the sliding-window layers keep of one sequence on each GPU: the window and one block more.

    The block more is the one that the start of the window lies in: it is freed only once the window has left it.
    """
    model = model_named(model)
    tokens = (model.sliding_window or 0) + engine.block_tokens
    return model.n_window_layers * tokens * model.kv_bytes_per_token_per_layer(engine.gpus_per_rank, engine.kv_dtype)


def kv_memory_bytes(gpu: str | Gpu, model: str | Model, engine: EngineFlags) -> float:
    """Bytes for KV that grows with the context, on each GPU; negative if weights and reserve alone exceed the memory.

    gpu_memory_utilization x device total - weights - activation reserve - sliding windows. Windows are set aside for
    `max_num_seqs` sequences, but take at most half of what weights and reserve leave.
    """
    gpu, model = gpu_named(gpu), model_named(model)
    fixed_bytes = weight_bytes_per_gpu(model, engine) + engine.activation_reserve_gb * GB
    left_bytes = engine.gpu_memory_utilization * gpu.device_total_gb * GB - fixed_bytes
    window_bytes = engine.max_num_seqs * window_bytes_per_sequence(model, engine)
    return left_bytes - min(window_bytes, 0.5 * max(0.0, left_bytes))


def kv_blocks_of(gpu: str | Gpu, model: str | Model, engine: EngineFlags) -> int:
    """KV blocks of `engine.block_tokens` tokens that one replica holds; 0 if the weights leave no memory for any.

    Of several attention ranks, that one of them holds.

    If `engine.kv_cache_blocks` is set, it is returned as it is: the number that a real engine logged is more accurate
    than the number computed here from its memory.
    """
    if engine.kv_cache_blocks is not None:
        return engine.kv_cache_blocks
    block_bytes = engine.block_tokens * kv_bytes_per_token(model, engine)
    return max(0, int(kv_memory_bytes(gpu, model, engine) // block_bytes))


def most_request_tokens(gpu: str | Gpu, model: str | Model, engine: EngineFlags) -> int:
    """Most input + output tokens of one request that the KV memory of a replica holds; its last token is never in it.

    With `prefill_first` they must be less than the memory.
    """
    memory_tokens = kv_blocks_of(gpu, model, engine) * engine.block_tokens
    return memory_tokens + 1 if engine.prefill_first is None else memory_tokens - 1


def kv_tokens_of(gpu: str | Gpu, model: str | Model, engine: EngineFlags) -> int:
    """Tokens in the KV memory of one replica, all attention ranks together."""
    return kv_blocks_of(gpu, model, engine) * engine.block_tokens * engine.attention_data_parallel


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
    """KV blocks that a replica of `tensor_parallel` GPUs holds; 0 if the weights leave no memory for any.

    `gpu` and `model` are objects, or names of files in conf/gpu and conf/model. The result is within 1.5 % of the
    number that eight vLLM servers logged. Sliding windows are set aside for 256 sequences, the default of
    `max_num_seqs`. Raises ConfigError for an unknown name, a `tensor_parallel` that does not divide the attention
    heads, and a value out of range.

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
    """Raise ConfigError if heads or whole experts cannot be divided evenly among the GPUs of the group."""
    ranks = engine.attention_data_parallel
    if model.heads % engine.gpus_per_rank:
        raise ConfigError(
            f"engine.tensor_parallel = {engine.tensor_parallel}{f' / {ranks} attention ranks' if ranks > 1 else ''}:"
            f" must divide the {model.heads} attention heads of model {model.name}"
        )
    if not model.experts and ranks > 1:
        raise ConfigError(
            f"engine.attention_data_parallel = {ranks}: needs a model with experts, and {model.name} has none;"
            f" use {ranks} replicas"
        )
    if not model.experts and engine.expert_parallel:
        raise ConfigError(f"engine.expert_parallel = true: needs a model with experts, and {model.name} has none")
    if engine.expert_parallel and model.experts % engine.tensor_parallel:
        raise ConfigError(
            f"engine.tensor_parallel = {engine.tensor_parallel}: must divide the {model.experts} experts of model"
            f" {model.name}, as engine.expert_parallel = true keeps them whole"
        )


def refuse_if_too_big(gpu: str | Gpu, model: str | Model, engine: EngineFlags) -> None:
    """Raise ConfigError, with the arithmetic, if the heads do not divide among the GPUs or no KV block is left."""
    gpu, model = gpu_named(gpu), model_named(model)
    _refuse_uneven_split(model, engine)
    if kv_blocks_of(gpu, model, engine) >= 1:
        return
    usable_gb = engine.gpu_memory_utilization * gpu.device_total_gb
    raise ConfigError(
        f"model {model.name} needs {_weights(model, engine)} + {engine.activation_reserve_gb} GB reserve = "
        f"{weight_bytes_per_gpu(model, engine) / GB + engine.activation_reserve_gb:.1f} GB; {gpu.name} gives"
        f" {engine.gpu_memory_utilization} x {gpu.device_total_gb} = {usable_gb:.1f} GB:"
        f" {_remedies(gpu, model, engine)}"
    )


def _weights(model: Model, engine: EngineFlags) -> str:
    """The arithmetic of weights per GPU, in words."""
    total_gb = model.weight_bytes(engine.weight_dtype) / GB
    if engine.attention_data_parallel == 1:
        return f"{total_gb:.1f} GB of weights / {engine.tensor_parallel} GPU"
    expert_gb = model.expert_weight_bytes(engine.weight_dtype) / GB
    return (
        f"{expert_gb:.1f} GB of experts / {engine.tensor_parallel} GPU + {total_gb - expert_gb:.1f} GB of other weights"
        f" / {engine.gpus_per_rank} GPU"
    )


def _splits_evenly(model: Model, engine: EngineFlags) -> bool:
    """Whether each of the replica's GPUs can have the same number of ranks, heads and whole experts."""
    if engine.tensor_parallel % engine.attention_data_parallel or model.heads % engine.gpus_per_rank:
        return False
    return not engine.expert_parallel or model.experts % engine.tensor_parallel == 0


def _remedies(gpu: Gpu, model: Model, engine: EngineFlags) -> str:
    """Words to type: the fewest GPUs per replica that would hold the model, with its weights as they are and in fp8."""
    remedies = []
    for dtype, words in ((engine.weight_dtype, "engine.tensor_parallel >= {}"), ("fp8", "fp8 weights on {} GPU")):
        for n_gpus in (1, 2, 4, 8, 16, 32):
            trial = engine.model_copy(update={"tensor_parallel": n_gpus, "weight_dtype": dtype})
            if _splits_evenly(model, trial) and kv_blocks_of(gpu, model, trial) >= 1:
                remedies.append(words.format(n_gpus))
                break
    return "use " + " or ".join(dict.fromkeys(remedies)) if remedies else "use a GPU with more memory"
