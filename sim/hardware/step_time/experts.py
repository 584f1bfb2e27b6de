"""Experts: seconds that the routed experts of a mixture-of-experts model take in one step."""

from __future__ import annotations

from functools import cache
from math import sqrt
from statistics import NormalDist

from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu
from sim.hardware.model import BYTES_PER_PARAM, Model
from sim.units import GB

_ACTIVATION_BYTES = 2

_UNPACKING_FRACTION = 0.5
"""Speed of expert products with 4-bit weights on a GPU without 4-bit units, over that of 16-bit products.

Such weights are unpacked to 16 bits first. From vLLM sweeps of gpt-oss-120b on H100.
"""


@cache
def expected_largest_normal(n: int) -> float:
    """Mean of the largest of n independent standard normal values: the integral of x d(Phi(x)^n), in steps of 1/64.

    >>> [round(expected_largest_normal(n), 3) for n in (1, 2, 8)]  # 0, 1 / sqrt(pi), ...
    [0.0, 0.564, 1.424]
    """
    if n == 1:
        return 0.0
    grid, phi = [i / 64 for i in range(-512, 513)], NormalDist().cdf
    powers = [phi(x) ** n for x in grid]
    return sum((grid[i - 1] + grid[i]) / 2 * (powers[i] - powers[i - 1]) for i in range(1, len(grid)))


def joined_s(compute_s: float, read_s: float, norm: float) -> float:
    """Seconds of computing and reading that overlap in part: the p-norm of the two."""
    total: float = (compute_s**norm + read_s**norm) ** (1 / norm)
    return total


def all_to_all_bytes_per_token(gpu: Gpu, model: Model, engine: EngineFlags) -> float:
    """Bytes that one token sends to whole experts on other GPUs and gets back, over all layers.

    A copy goes to each of its k experts, (G - 1) / G of them elsewhere, as DeepEP's low-latency kernels send them; in
    fp8 with a 4-byte scale per 128 values where experts compute in fp8. A result is in bf16 (DeepEP, README).
    """
    in_fp8 = model.expert_dtype_under(engine.weight_dtype) == "fp8" and gpu.quantizes_activations_to("fp8")
    value_bytes = (1 + 4 / 128 if in_fp8 else _ACTIVATION_BYTES) + _ACTIVATION_BYTES
    copies = model.experts_per_token * (engine.tensor_parallel - 1) / engine.tensor_parallel
    return model.n_moe_layers * copies * model.hidden * value_bytes


class Experts:
    """Seconds of the routed experts of all layers in one step, on the GPU of a replica that takes longest.

    Without `expert_parallel`, each expert is sliced over all GPUs of the replica, which do the same: FLOP / (peak m_e)
    and bytes of the expected distinct experts / (bandwidth b), joined as those of dense layers.

    With it, each of G GPUs keeps E / G whole experts. On the mean over GPUs, FLOP and bytes are the same; but all wait
    for the GPU that has most to do. What a GPU gets is a sum of many draws, so the largest of G such sums is about its
    mean + z_G standard deviations, z_G the mean of the largest of G standard normal values. Of n tokens in the step:

        tokens x experts  n k / G, variance n k (1/G) (1 - 1/G) (E - k) / (E - 1): k of E experts without replacement
        distinct experts  d / G of the d expected ones, variance (d / G) (1 - d / E); at most E / G

    Where several attention ranks share the experts, element-wise work is counted here, too, and so is bringing every
    token to every GPU: per layer an all-gather and a reduce-scatter, which is an all-reduce in two shots. With
    `expert_exchange` all_to_all a rank sends its own tokens to their experts, and `Roofline` counts that.

    Routing is taken to be even; `expert_imbalance` multiplies the tokens of the fullest GPU where some experts are more
    popular than others and nothing balances them. Experts are as efficient whole as sliced.
    """

    __slots__ = (
        "_model", "_gpus", "_flop_s", "_read_s", "_norm", "_are_whole", "_deviations", "_imbalance", "_fixed_s",
        "_token_s",
    )  # fmt: skip

    def __init__(self, gpu: Gpu, model: Model, engine: EngineFlags):
        dtype = model.expert_dtype_under(engine.weight_dtype)
        self._model, self._norm, self._gpus = model, gpu.overlap_norm, engine.tensor_parallel
        params_of_one = model.n_moe_layers * model.params_per_expert / self._gpus
        gemm_fraction, read_fraction = gpu.expert_fractions(dtype)
        unpacked = dtype in ("mxfp4", "nvfp4") and not gpu.fp4_dense_tflops
        flops_per_s = gpu.gemm_flops_per_s(dtype) * engine.gemm_fraction
        flops_per_s *= gemm_fraction * (_UNPACKING_FRACTION if unpacked else 1.0)
        read_bytes_per_s = gpu.memory_bandwidth_gb_per_s * GB * gpu.weight_read_efficiency
        self._flop_s = 2 * params_of_one * model.experts_per_token / flops_per_s
        self._read_s = params_of_one * BYTES_PER_PARAM[dtype] / (read_bytes_per_s * read_fraction)
        self._are_whole = engine.expert_parallel
        self._deviations = expected_largest_normal(self._gpus)
        self._imbalance = engine.expert_imbalance
        self._fixed_s = self._token_s = 0.0
        if engine.attention_data_parallel > 1:
            self._terms_of_ranks(gpu, model, engine)

    def _terms_of_ranks(self, gpu: Gpu, model: Model, engine: EngineFlags) -> None:
        """Set the seconds, fixed and per token of all ranks, of element-wise work and of gathering and scattering."""
        gpus, layers = self._gpus, model.n_moe_layers
        elementwise = gpu.memory_bandwidth_gb_per_s * GB * gpu.elementwise_efficiency
        self._token_s = _ACTIVATION_BYTES * 3 * layers * model.experts_per_token * model.expert_ffn / gpus / elementwise
        if engine.expert_exchange == "all_gather":
            latency_us = gpu.all_reduce_latency_us + (gpus - 1) * gpu.all_reduce_hop_us + gpu.all_reduce_two_shot_us
            self._fixed_s = layers * latency_us * 1e-6
            ring_bytes = 2 * (gpus - 1) / gpus * _ACTIVATION_BYTES * model.hidden
            self._token_s += layers * ring_bytes / (gpu.all_reduce_gb_per_s(gpus) * GB)

    def seconds(self, tokens: int) -> float:
        """Seconds that a step of `tokens`, counted over all attention ranks, spends in the experts."""
        compute_s = self._flop_s * tokens
        if self._are_whole and tokens:
            compute_s *= self.fullest_over_mean(tokens)
            read_s = self._read_s * self._gpus * self.distinct_on_fullest(tokens)
        else:
            read_s = self._read_s * self._model.expected_distinct_experts(tokens)
        return joined_s(compute_s, read_s, self._norm) + self._fixed_s + self._token_s * tokens

    def fullest_over_mean(self, tokens: int) -> float:
        """Tokens times experts on the fullest GPU, over the mean of the GPUs."""
        model, share = self._model, 1 / self._gpus
        chosen = model.experts_per_token
        unlike = (model.experts - chosen) / max(1, model.experts - 1)  # 0 where every token goes to every expert
        deviation = sqrt(tokens * chosen * share * (1 - share) * unlike)
        return self._imbalance * (1 + self._deviations * deviation / (tokens * chosen * share))

    def distinct_on_fullest(self, tokens: int) -> float:
        """Distinct experts of one layer that the GPU with most of them reads."""
        model, distinct = self._model, self._model.expected_distinct_experts(tokens)
        mean = distinct / self._gpus
        return min(model.experts / self._gpus, mean + self._deviations * sqrt(mean * (1 - distinct / model.experts)))
