"""Gpu: one GPU, by the figures of its data sheet and the fraction of each that a serving engine reaches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sim.hardware.names import conf_entry
from sim.schema import Config, parse_config

Basis = Literal["fitted", "operator_table", "scaled", "borrowed"]
"""How a card's constants were got: fitted to servers with it; a fitted card's, times ratios of measured operator times;
those of the same chip with other memory; those of a relative, or assumed."""

_TFLOP = 1e12


class Gpu(Config):
    """One GPU: the figures of its data sheet, and the fraction of each that a serving engine reaches.

    Every efficiency is in (0, 1], so that no step is faster than the data sheet allows. `*_us`: microseconds.
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

    basis: Basis = Field("borrowed", description="how the constants below were got")
    gemm_efficiency: float = Field(gt=0, le=1, description="large bf16 matrix products, fraction of peak")
    fp8_gemm_efficiency: float = Field(gt=0, le=1, description="large fp8 or fp4 products, fraction of that peak")
    expert_gemm_fraction: float = Field(gt=0, le=1, description="grouped expert products against dense ones")
    fp8_expert_gemm_fraction: float = Field(1.0, gt=0, le=1, description="of that, with fp8 experts")
    weight_read_efficiency: float = Field(gt=0, le=1, description="weight streaming, fraction of memory bandwidth")
    fp8_expert_read_fraction: float = Field(1.0, gt=0, le=1, description="reading fp8 experts against dense weights")
    mxfp4_expert_read_fraction: float = Field(
        1.0, gt=0, le=1, description="reading mxfp4 experts against other weights"
    )
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
    all_reduce_4_gpus_fraction: float = Field(1.0, gt=0, le=1, description="of that, in a group of 4 to 7 GPUs")
    all_reduce_8_gpus_fraction: float = Field(1.0, gt=0, le=1, description="of that, in a group of 8 GPUs or more")

    all_to_all_latency_us: float | None = Field(
        None, ge=0, description="sending tokens to experts, or their results back, of few bytes; None: an all-reduce's"
    )
    all_to_all_bandwidth_fraction: float | None = Field(
        None, gt=0, le=1, description="of link_gb_per_s; None: that of an all-reduce"
    )

    def _narrow_tflops(self, dtype: str) -> float | None:
        """Dense peak, in TFLOP/s, of the units for a type narrower than bf16; None for bf16, or without such units."""
        return {"fp8": self.fp8_dense_tflops, "mxfp4": self.fp4_dense_tflops, "nvfp4": self.fp4_dense_tflops}.get(dtype)

    def quantizes_activations_to(self, dtype: str) -> bool:
        """Whether products with weights of `dtype` run on units for that type, which need activations of it, too."""
        return self._narrow_tflops(dtype) is not None

    def peak_flops_per_s(self, dtype: str) -> float:
        """Dense peak, in FLOP/s, for weights of `dtype`; a type that the GPU has no units for is computed in bf16."""
        return (self._narrow_tflops(dtype) or self.bf16_dense_tflops) * _TFLOP

    def gemm_flops_per_s(self, dtype: str) -> float:
        """FLOP/s that large matrix products reach with weights of `dtype`: the peak times the GEMM efficiency."""
        narrow = self.quantizes_activations_to(dtype)
        return self.peak_flops_per_s(dtype) * (self.fp8_gemm_efficiency if narrow else self.gemm_efficiency)

    def expert_fractions(self, dtype: str) -> tuple[float, float]:
        """(products, reads) of experts with weights of `dtype`, as fractions of those of dense layers of that type."""
        if dtype == "fp8":
            return self.expert_gemm_fraction * self.fp8_expert_gemm_fraction, self.fp8_expert_read_fraction
        return self.expert_gemm_fraction, self.mxfp4_expert_read_fraction if dtype == "mxfp4" else 1.0

    def kv_read_efficiency_of(self, kv_dtype: str) -> float:
        """Fraction of memory bandwidth that decode attention reaches on a KV cache of `kv_dtype`."""
        return self.kv_read_efficiency if kv_dtype == "bf16" else self.fp8_kv_read_efficiency

    def all_reduce_gb_per_s(self, group_gpus: int) -> float:
        """GB/s, per direction, that an all-reduce over `group_gpus` GPUs gets out of the link."""
        of_group = 1.0
        if group_gpus >= 4:
            of_group = self.all_reduce_8_gpus_fraction if group_gpus >= 8 else self.all_reduce_4_gpus_fraction
        return self.link_gb_per_s * self.all_reduce_bandwidth_fraction * of_group

    def all_to_all(self, group_gpus: int) -> tuple[float, float]:
        """(us, GB/s per direction) of an exchange in which each of `group_gpus` GPUs sends to all others."""
        latency_us, fraction = self.all_to_all_latency_us, self.all_to_all_bandwidth_fraction
        if latency_us is None:
            latency_us = self.all_reduce_latency_us + (group_gpus - 1) * self.all_reduce_hop_us
        gb_per_s = self.all_reduce_gb_per_s(group_gpus) if fraction is None else self.link_gb_per_s * fraction
        return latency_us, gb_per_s

    @model_validator(mode="after")
    def _driver_total_is_plausible(self) -> Gpu:
        if not 0.9 < self.device_total_gb / self.memory_gb < 1.1:
            raise ValueError(
                f"device_total_gb = {self.device_total_gb} must be within 10 % of memory_gb = {self.memory_gb}"
            )
        return self


def is_large_for_vllm(gpu_name: str, memory_gb: float) -> bool:
    """Whether vLLM starts with its larger defaults on this card: 70 GB or more, A100 apart (vllm/engine/arg_utils.py).

    >>> [is_large_for_vllm(*card) for card in (("h100_sxm", 80), ("a100_80gb_sxm", 80), ("l40s", 48))]
    [True, False, False]
    """
    return memory_gb >= 70 and not gpu_name.startswith("a100")


def gpu_named(gpu: str | Gpu) -> Gpu:
    """The GPU of conf/gpu/<name>.yaml; a Gpu is returned as it is. Raises ConfigError for an unknown name."""
    return gpu if isinstance(gpu, Gpu) else parse_config(Gpu, conf_entry("gpu", gpu))
