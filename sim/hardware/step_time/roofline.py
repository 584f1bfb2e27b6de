"""Step time from bytes, operations, links and overheads."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

import math
from collections.abc import Sequence

from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu
from sim.hardware.model import BYTES_PER_PARAM, Model
from sim.units import GB

SAMPLER_PASSES: dict[str, float] = {"greedy": 0.3, "random": 1.0, "top_p": 3.0}
"""Memory traffic of a sampler against the random one. Estimates: an argmax; softmax and noise; a sort besides."""

_UNPACKING = 0.5
"""Speed of expert products whose 4-bit weights are unpacked to 16 bits first; gpt-oss-120b on H100 (vLLM sweeps)."""

_US = 1e-6
_TFLOP = 1e12
_ACTIVATION_BYTES = 2


def _one_shot_bytes(tensor_parallel: int) -> float:
    """Largest message that vLLM's custom all-reduce sends whole to every GPU (csrc/custom_all_reduce.cuh)."""
    if tensor_parallel == 2:
        return math.inf
    return 512 * 1024 if tensor_parallel <= 4 else 256 * 1024


class Roofline:
    """Step time of one tensor-parallel group, per GPU of it, as a sum over what a step does one after another:

        linear layers   [ (FLOP / (peak m))^p + (weight bytes / (bandwidth b))^p ]^(1/p), joined smoothly
        experts         FLOP / (peak m_e) + bytes of the expected distinct experts / (bandwidth b)
        LM head         the same norm, for sampled rows only; and the sampler's passes over the logits
        KV read         bytes / (bandwidth k), or the attention FLOP where those take longer (MLA)
        prefill         attention FLOP / (peak m_a), causal
        element-wise    norms, residual, rotary, activation: bytes / (bandwidth e)
        all-reduce      two per layer: latency + ring bytes / (link f); tensor parallel only
        overhead        per step, per layer, per sequence

    Every efficiency is at most 1, so no step is faster than FLOP / peak or bytes / bandwidth. The form and its
    constants are those of composed operator tables and whole-engine fits (Vidur, vLLM; see the sources in conf/gpu).

    Limits: sequences are taken to hold at least the window (sliding-window layers) or `sparse_top_k` tokens (DSA),
    which keeps decode affine in the context and overstates shorter ones; no tile or wave quantisation; one node.

    `decode_tokens`: tokens that a decode step computes, and samples, of every sequence; more than one to verify drafts.
    """

    __slots__ = (
        "context_s", "_decode", "_tokens", "_head", "_row_s", "_sequence_s", "_fixed_s", "_pair_s", "_capped_pair_s",
        "_cap", "_past_s", "_capped_token_s", "_model", "_norm", "_gemm", "_experts", "_lm_head", "_token_s",
        "_two_shot_s", "_one_shot_tokens", "_each",
    )  # fmt: skip

    def __init__(self, gpu: Gpu, model: Model, engine: EngineFlags, decode_tokens: int = 1):
        self._model = model
        self._each = decode_tokens
        self._norm = gpu.overlap_norm
        self._tokens: dict[int, float] = {}
        self._head: dict[int, float] = {}
        self._linear_terms(gpu, model, engine)
        self._attention_terms(gpu, model, engine)
        self._overhead_terms(gpu, model, engine)
        self._decode = [self._decode_step_s(n) for n in range(engine.max_num_seqs + 1)]

    def _linear_terms(self, gpu: Gpu, model: Model, engine: EngineFlags) -> None:
        tp = engine.tensor_parallel
        attention_dtype = model.attention_dtype_under(engine.weight_dtype)
        mlp_dtype = model.mlp_dtype_under(engine.weight_dtype)
        expert_dtype = model.expert_dtype_under(engine.weight_dtype)
        read = gpu.memory_bandwidth_gb_per_s * GB * gpu.weight_read_efficiency
        attention, mlp, experts, head16 = [
            gpu.gemm_flops_per_s(kind) * engine.gemm_fraction
            for kind in (attention_dtype, mlp_dtype, expert_dtype, "bf16")
        ]
        of_attention, of_mlp = model.attention_params / tp, model.mlp_params / tp
        self._gemm = (
            2 * of_attention / attention + 2 * of_mlp / mlp,
            (of_attention * BYTES_PER_PARAM[attention_dtype] + of_mlp * BYTES_PER_PARAM[mlp_dtype]) / read,
        )
        expert = model.n_moe_layers * model.params_per_expert / tp
        unpacked = expert_dtype in ("mxfp4", "nvfp4") and not gpu.fp4_dense_tflops
        experts *= gpu.expert_gemm_fraction * (_UNPACKING if unpacked else 1.0)
        self._experts = (
            2 * expert * model.experts_per_token / experts,
            expert * BYTES_PER_PARAM[expert_dtype] / read,
        )
        head = model.head_params / tp
        self._lm_head = (2 * head / head16, head * BYTES_PER_PARAM["bf16"] / read)

    def _attention_terms(self, gpu: Gpu, model: Model, engine: EngineFlags) -> None:
        tp = engine.tensor_parallel
        kv_dtype = engine.kv_dtype or model.kv_dtype
        kv_read = gpu.memory_bandwidth_gb_per_s * GB * gpu.kv_read_efficiency_of(kv_dtype) * engine.kv_read_fraction
        flops_per_s = gpu.bf16_dense_tflops * _TFLOP * gpu.prefill_attention_efficiency * engine.gemm_fraction
        kv_s = max(
            model.kv_bytes_per_token_per_layer(tp, engine.kv_dtype) / kv_read,
            self._each * model.decode_flops_per_pair / tp / flops_per_s,
        )
        index_flop_s = self._each * model.indexer_flops_per_pair / flops_per_s
        index_s = max(model.indexer_bytes_per_token_per_layer / kv_read, index_flop_s)
        pair_s = model.prefill_flops_per_pair / tp / flops_per_s
        sparse = model.attention == "dsa"
        growing = 0 if sparse else model.layers - model.n_window_layers
        capped = model.layers if sparse else model.n_window_layers
        self.context_s = growing * kv_s + model.layers * index_s
        self._pair_s = growing * pair_s + model.layers * model.indexer_flops_per_pair / flops_per_s
        self._cap = (model.sparse_top_k if sparse else model.sliding_window) or 0
        self._capped_token_s = capped * kv_s
        self._capped_pair_s = capped * pair_s
        self._past_s = self.context_s
        if model.attention == "mla":  # prefill expands the latents of the past into heads again
            expand = 2 * model.kv_lora_rank * model.heads * (model.qk_nope_head_dim + model.head_dim)
            self._past_s += model.layers * expand / tp / (gpu.gemm_flops_per_s("bf16") * engine.gemm_fraction)

    def _overhead_terms(self, gpu: Gpu, model: Model, engine: EngineFlags) -> None:
        tp = engine.tensor_parallel
        self._two_shot_s, self._one_shot_tokens = 0.0, 0.0
        elementwise = gpu.memory_bandwidth_gb_per_s * GB * gpu.elementwise_efficiency
        layer_us = gpu.layer_overhead_us
        if gpu.quantizes_activations_to(model.mlp_dtype_under(engine.weight_dtype)):
            layer_us += gpu.quantized_layer_overhead_us
        self._fixed_s = (
            engine.step_overhead_us + model.layers * layer_us + model.n_moe_layers * gpu.moe_layer_overhead_us
        ) * _US
        q, kv = model.heads * model.head_dim, 2 * model.kv_heads * model.head_dim
        mlp = model.n_dense_mlp_layers * model.ffn
        mlp += model.n_moe_layers * (model.experts_per_token * model.expert_ffn + model.shared_expert_ffn)
        values = model.layers * (7 * model.hidden + (2 * q + kv) / tp) + 3 * mlp / tp
        self._token_s = _ACTIVATION_BYTES * values / elementwise
        if tp > 1:
            self._fixed_s += 2 * model.layers * (gpu.all_reduce_latency_us + (tp - 1) * gpu.all_reduce_hop_us) * _US
            self._two_shot_s = 2 * model.layers * gpu.all_reduce_two_shot_us * _US
            self._one_shot_tokens = _one_shot_bytes(tp) / (_ACTIVATION_BYTES * model.hidden)
            ring_bytes = 2 * (tp - 1) / tp * _ACTIVATION_BYTES * model.hidden
            bus = gpu.link_gb_per_s * GB * gpu.all_reduce_bandwidth_fraction
            self._token_s += 2 * model.layers * ring_bytes / bus
        self._sequence_s = gpu.per_sequence_us * _US
        self._row_s = model.vocab * gpu.sampling_bytes_per_logit * SAMPLER_PASSES[engine.sampler] / elementwise

    def _join(self, compute_s: float, read_s: float) -> float:
        joined_s: float = (compute_s**self._norm + read_s**self._norm) ** (1 / self._norm)
        return joined_s

    def _tokens_s(self, n: int) -> float:
        """All that depends on the number of tokens in the step and on nothing else."""
        flop_s, read_s = self._gemm
        expert_flop_s, expert_read_s = self._experts
        dense = self._join(flop_s * n, read_s)
        experts = expert_flop_s * n + expert_read_s * self._model.expected_distinct_experts(n)
        total = self._fixed_s + dense + experts + self._token_s * n
        if n >= self._one_shot_tokens:
            total += self._two_shot_s
        self._tokens[n] = total
        return total

    def _head_s(self, rows: int) -> float:
        """LM head and sampling of `rows` sequences."""
        flop_s, read_s = self._lm_head
        self._head[rows] = total = self._join(flop_s * rows, read_s) + self._row_s * rows if rows else 0.0
        return total

    def _decode_step_s(self, n: int) -> float:
        capped_s = self._capped_token_s * self._cap
        return self._tokens_s(n * self._each) + self._head_s(n * self._each) + n * (self._sequence_s + capped_s)

    def decode_s(self, n_sequences: int) -> float:
        """One decode step of `n_sequences` at zero context."""
        try:
            return self._decode[n_sequences]
        except IndexError:
            self._decode += [self._decode_step_s(n) for n in range(len(self._decode), n_sequences + 1)]
            return self._decode[n_sequences]

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[tuple[int, int, bool]]) -> float:
        """A mixed step (see `StepTime.step_s`)."""
        if not chunks:
            return self.decode_s(n_decode) + self.context_s * context_tokens
        tokens = rows = n_decode * self._each
        pairs = past_tokens = 0
        for new, past, completes in chunks:
            tokens += new
            past_tokens += past
            pairs += new * (2 * past + new + 1)
            if completes:
                rows += 1
        tokens_s = self._tokens.get(tokens) or self._tokens_s(tokens)
        head_s = self._head.get(rows) or self._head_s(rows)
        total = tokens_s + head_s + (n_decode + len(chunks)) * self._sequence_s
        total += context_tokens * self.context_s + past_tokens * self._past_s + 0.5 * pairs * self._pair_s
        return total + self._capped_s(n_decode, chunks) if self._cap else total

    def _capped_s(self, n_decode: int, chunks: Sequence[tuple[int, int, bool]]) -> float:
        """Attention of layers that see at most `cap` tokens. By Jensen's bound, never less than the exact sum."""
        cap = self._cap
        total = n_decode * cap * self._capped_token_s
        for new, past, _ in chunks:
            total += min(past, cap) * self._capped_token_s
            total += new * min(cap, past + 0.5 * (new + 1)) * self._capped_pair_s
        return total
