"""Gpu and Engine, and what fits: weights, KV cache and the refusal of what does not fit."""

from __future__ import annotations

from functools import cache
from typing import Literal

import yaml
from pydantic import Field, model_validator

from sim.conf_path import conf_dir
from sim.engine.architecture import Dtype, Model, Sampler
from sim.engine.speculation import Speculation
from sim.engine.step_time import RooflineModel, StepTimeModel
from sim.schema import ConfigError, Node, one_of, parse_node
from sim.units import GB

_TFLOP = 1e12


class Gpu(Node):
    """One GPU: the figures of its data sheet, and how much of each an engine really gets.

    Every efficiency is a fraction of the data sheet's figure, in (0, 1]: nothing is faster than the card.
    """

    name: str
    bf16_dense_tflops: float = Field(gt=0, description="dense, without sparsity")
    fp8_dense_tflops: float | None = Field(None, gt=0, description="None: fp8 weights are computed in bf16")
    fp4_dense_tflops: float | None = Field(None, gt=0, description="None: fp4 weights are computed in bf16")
    memory_gb: float = Field(gt=0, description="nominal")
    device_total_gb: float = Field(gt=0, description="as the driver reports it, 1e9 bytes")
    memory_bandwidth_gb_per_s: float = Field(gt=0)
    link_gb_per_s: float = Field(gt=0, description="to the other GPUs of a node, per direction")
    link_kind: Literal["nvlink", "pcie", "pcie_no_p2p"]

    gemm_efficiency: float = Field(gt=0, le=1, description="large bf16 matrix products, fraction of peak")
    fp8_gemm_efficiency: float = Field(gt=0, le=1, description="large fp8 or fp4 products, fraction of that peak")
    expert_gemm_fraction: float = Field(gt=0, le=1, description="grouped expert products against dense ones")
    weight_read_efficiency: float = Field(gt=0, le=1, description="weight streaming, fraction of memory bandwidth")
    overlap_norm: float = Field(ge=1, description="p of the norm that joins compute and weight read; 1 = sum")
    kv_read_efficiency: float = Field(gt=0, le=1, description="decode attention, fraction of memory bandwidth")
    fp8_kv_read_efficiency: float = Field(gt=0, le=1, description="the same with an fp8 KV cache")
    prefill_attention_efficiency: float = Field(gt=0, le=1, description="fraction of bf16 peak")
    elementwise_efficiency: float = Field(gt=0, le=1, description="norms, activations, sampler: fraction of bandwidth")
    layer_overhead_us: float = Field(ge=0, description="launch and ramp of the kernels of one layer")
    quantized_layer_overhead_us: float = Field(ge=0, description="more per layer to quantise activations")
    moe_layer_overhead_us: float = Field(ge=0, description="more per layer to route, sort and combine tokens")
    per_sequence_us: float = Field(ge=0, description="host work per resident sequence and step")
    sampling_bytes_per_logit: float = Field(ge=0, description="memory traffic of random sampling per vocabulary entry")
    all_reduce_latency_us: float = Field(ge=0, description="one all-reduce of few bytes")
    all_reduce_hop_us: float = Field(ge=0, description="more for every GPU of the group beyond the first")
    all_reduce_two_shot_us: float = Field(ge=0, description="more for messages too large to send whole to all")
    all_reduce_bandwidth_fraction: float = Field(gt=0, le=1, description="of link_gb_per_s")

    def _narrow_tflops(self, dtype: str) -> float | None:
        """Dense peak of the units for a type narrower than bf16; None if the card has none."""
        return {"fp8": self.fp8_dense_tflops, "mxfp4": self.fp4_dense_tflops, "nvfp4": self.fp4_dense_tflops}.get(dtype)

    def quantizes_activations_to(self, dtype: str) -> bool:
        """Whether products with weights of `dtype` run on units for that type, which want narrow activations, too."""
        return self._narrow_tflops(dtype) is not None

    def peak_flops_per_s(self, dtype: str) -> float:
        """Dense peak for weights of `dtype`; types the card has no units for are computed in bf16."""
        return (self._narrow_tflops(dtype) or self.bf16_dense_tflops) * _TFLOP

    def gemm_flops_per_s(self, dtype: str) -> float:
        """What large matrix products reach with weights of `dtype`."""
        narrow = self.quantizes_activations_to(dtype)
        return self.peak_flops_per_s(dtype) * (self.fp8_gemm_efficiency if narrow else self.gemm_efficiency)

    def kv_read_efficiency_of(self, kv_dtype: str) -> float:
        return self.kv_read_efficiency if kv_dtype == "bf16" else self.fp8_kv_read_efficiency

    @model_validator(mode="after")
    def _driver_total_is_plausible(self) -> Gpu:
        if not 0.9 < self.device_total_gb / self.memory_gb < 1.1:
            raise ValueError(
                f"device_total_gb = {self.device_total_gb} must be within 10 % of memory_gb = {self.memory_gb}"
            )
        return self


class Engine(Node):
    """A serving engine and its flags, for one replica. Names are those of vLLM."""

    max_num_seqs: int = Field(256, gt=0, description="cap on running sequences")
    max_num_batched_tokens: int = Field(2048, gt=0, description="token budget of one step")
    tensor_parallel: int = Field(1, gt=0, description="GPUs of one replica")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of device memory the engine may take")
    activation_reserve_gb: float = Field(1.25, ge=0, description="per GPU: activations, graphs, context")
    block_tokens: int = Field(16, gt=0, description="tokens of one KV block")
    kv_cache_blocks: int | None = Field(None, gt=0, description="as the engine's own log says; None: from memory")
    prefix_caching: bool = True
    weight_dtype: Dtype | None = Field(None, description="quantise the linear layers; None: as published")
    kv_dtype: Dtype | None = Field(None, description="KV cache type; None: as published")
    step_overhead_us: float = Field(270.0, ge=0, description="host work per step that the GPU waits for")
    gemm_fraction: float = Field(1.0, gt=0, le=1, description="of the GPU's GEMM and prefill attention efficiency")
    kv_read_fraction: float = Field(1.0, gt=0, le=1, description="of the GPU's KV read efficiency")
    sampler: Sampler = Field(
        "random",
        description="how tokens are picked: sorting for top_p reads the logits often; not the model's default_sampler, "
        "since clients usually set their own",
    )
    async_scheduling: bool = Field(True, description="a step's batch is fixed one step ahead")
    scheduling_policy: Literal["fcfs", "priority"] = Field("fcfs", description="order of the queue and of preemption")
    capacity_policy: Literal["max_utilization", "guaranteed_no_evict"] = Field(
        "max_utilization",
        description="who has room: a prompt that fits now, perhaps to be preempted; or one whose whole output will fit",
    )
    chunked_prefill: bool = Field(
        True, description="long prompts in several steps; if not, input + output must be <= max_num_batched_tokens"
    )
    max_model_len: int | None = Field(
        None, gt=0, description="input + output of a request, longer ones are refused; None: the model's context"
    )
    max_queue: int | None = Field(
        None, ge=0, description="requests a replica takes beyond max_num_seqs, the rest are refused; None: any number"
    )
    request_overhead_s: float = Field(0.0, ge=0, description="HTTP and tokenising, once per request")
    speculative: Speculation | None = Field(None, description="None: every step yields one token of a sequence")
    step_time: one_of(StepTimeModel) = RooflineModel()

    @property
    def tokens_per_decode(self) -> int:
        """Tokens that a step computes of every decoding sequence: its next, and those drafted."""
        return 1 if self.speculative is None else self.speculative.draft_tokens + 1

    @model_validator(mode="after")
    def _budget_holds_a_decode_of_all(self) -> Engine:
        each = self.tokens_per_decode
        if self.max_num_batched_tokens < self.max_num_seqs * each:
            raise ValueError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} must be >= max_num_seqs = {self.max_num_seqs}"
                f"{f' x {each} tokens' if each > 1 else ''}: every running sequence needs its part of a step's budget"
            )
        return self

    @model_validator(mode="after")
    def _reserving_is_first_come_first_served(self) -> Engine:
        if self.capacity_policy == "guaranteed_no_evict" and self.scheduling_policy != "fcfs":
            raise ValueError(
                f"capacity_policy = guaranteed_no_evict: needs scheduling_policy = fcfs, not {self.scheduling_policy}"
            )
        return self


@cache
def _load(group: str, name: str) -> dict:
    path = conf_dir() / group / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(f"{group} = {name!r}: is not one of {known}")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def gpu_named(gpu: str | Gpu) -> Gpu:
    """The GPU of conf/gpu/<name>.yaml; a Gpu is returned as it is. Raises ConfigError for an unknown name."""
    return gpu if isinstance(gpu, Gpu) else parse_node(Gpu, _load("gpu", gpu))


def model_named(model: str | Model) -> Model:
    """The model of conf/model/<name>.yaml; a Model is returned as it is. Raises ConfigError for an unknown name."""
    return model if isinstance(model, Model) else parse_node(Model, _load("model", model))


def max_context_tokens(model: Model, engine: Engine) -> int:
    """Input and output that one request may have; longer ones are refused."""
    return min(model.max_context_tokens, engine.max_model_len or model.max_context_tokens)


def weight_bytes_per_gpu(model: str | Model, engine: Engine) -> float:
    """Bytes of weights on each GPU of a replica: all weights / tensor_parallel."""
    return model_named(model).weight_bytes(engine.weight_dtype) / engine.tensor_parallel


def kv_bytes_per_token(model: str | Model, engine: Engine) -> float:
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


def window_bytes_per_sequence(model: str | Model, engine: Engine) -> float:
    """What the sliding-window layers keep of one sequence on each GPU: the window, and the block it slides through."""
    model = model_named(model)
    tokens = (model.sliding_window or 0) + engine.block_tokens
    return model.n_window_layers * tokens * model.kv_bytes_per_token_per_layer(engine.tensor_parallel, engine.kv_dtype)


def kv_memory_bytes(gpu: str | Gpu, model: str | Model, engine: Engine) -> float:
    """Bytes left for KV that grows, on each GPU: utilization x device total - weights - reserve - windows. May be < 0.

    Windows are set aside for as many sequences as may run, but never more than half of what the weights leave.
    """
    gpu, model = gpu_named(gpu), model_named(model)
    taken = weight_bytes_per_gpu(model, engine) + engine.activation_reserve_gb * GB
    left = engine.gpu_memory_utilization * gpu.device_total_gb * GB - taken
    windows = engine.max_num_seqs * window_bytes_per_sequence(model, engine)
    return left - min(windows, 0.5 * max(0.0, left))


def kv_blocks_of(gpu: str | Gpu, model: str | Model, engine: Engine) -> int:
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
    engine, model = parse_node(Engine, options), model_named(model)
    _refuse_uneven_split(model, engine)
    return kv_blocks_of(gpu, model, engine)


def _refuse_uneven_split(model: Model, engine: Engine) -> None:
    if model.heads % engine.tensor_parallel:
        raise ConfigError(
            f"engine.tensor_parallel = {engine.tensor_parallel}: must divide the {model.heads} attention heads of"
            f" model {model.name}"
        )


def refuse_if_too_big(gpu: str | Gpu, model: str | Model, engine: Engine) -> None:
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


def _ways_out(gpu: Gpu, model: Model, engine: Engine) -> str:
    """The smallest groups that would hold the model, as published and in fp8."""
    ways = []
    for dtype, words in ((engine.weight_dtype, "engine.tensor_parallel >= {}"), ("fp8", "fp8 weights on {} GPU")):
        for tp in (1, 2, 4, 8, 16, 32):
            trial = engine.model_copy(update={"tensor_parallel": tp, "weight_dtype": dtype})
            if model.heads % tp == 0 and kv_blocks_of(gpu, model, trial) >= 1:
                ways.append(words.format(tp))
                break
    return "use " + " or ".join(dict.fromkeys(ways)) if ways else "use a GPU with more memory"
