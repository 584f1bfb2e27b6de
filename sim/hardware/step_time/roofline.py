"""Roofline: the step time of one tensor-parallel group from bytes, floating-point operations, links and overheads."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu
from sim.hardware.model import BYTES_PER_PARAM, Model
from sim.hardware.step_time.experts import Experts, all_to_all_bytes_per_token, joined_s
from sim.units import GB

SAMPLER_PASSES: dict[str, float] = {"greedy": 0.3, "random": 1.0, "top_p": 3.0}
"""Memory traffic of a sampler over that of the random one. Estimates, from what each does with the logits.

Greedy: an argmax. Random: softmax and noise. Top-p: softmax, noise and a sort.
"""

_US: Final = 1e-6
_TFLOP: Final = 1e12
_ACTIVATION_BYTES: Final = 2


def _one_shot_bytes(tensor_parallel: int) -> float:
    """Bytes of the largest message that vLLM's custom all-reduce sends whole to every GPU (csrc/custom_all_reduce.cuh).

    A longer message is sent in two shots: each GPU reduces a part of it, then all gather the parts.
    """
    if tensor_parallel == 2:
        return math.inf
    return 512 * 1024 if tensor_parallel <= 4 else 256 * 1024


def graph_sizes(engine: EngineFlags) -> list[int]:
    """Tokens of the steps for which vLLM captures a CUDA graph (vllm/config/vllm.py of 0.15 to 0.24); [] for none.

    >>> graph_sizes(EngineFlags(max_num_seqs=12, max_cudagraph_capture_size=512))
    [1, 2, 4, 8, 16, 24]
    """
    if engine.max_cudagraph_capture_size is None:
        return []
    of_sequences = 2 * engine.max_num_seqs * engine.tokens_per_decode
    most = min(of_sequences, engine.max_cudagraph_capture_size, engine.max_num_batched_tokens)
    return [tokens for tokens in (1, 2, 4, *range(8, 256, 8), *range(256, most + 1, 16)) if tokens <= most]


class Roofline:
    """Seconds per step of one tensor-parallel group whose GPUs all do the same: the sum of what a GPU does in turn:

        linear layers   [ (FLOP / (peak m))^p + (weight bytes / (bandwidth b))^p ]^(1/p), joined smoothly
        experts         the same norm of FLOP / (peak m_e) and bytes of distinct experts / (bandwidth b): see `Experts`
        LM head         the same norm, for sampled rows only; and the sampler's passes over the logits
        KV read         bytes / (bandwidth k), or the attention FLOP where those take longer (MLA)
        prefill         attention FLOP / (peak m_a), causal
        element-wise    norms, residual, rotary, activation: bytes / (bandwidth e)
        all-reduce      two per layer: latency + ring bytes / (link f); tensor parallel only
        all-to-all      two per layer of experts: latency + bytes / (link a); only where ranks exchange so
        overhead        per step, per layer, per sequence

    Of an engine of several attention ranks, this is one rank, without the routed experts, which all compute together.

    a, b, e, f, k, m, m_a, m_e are efficiencies and p the `overlap_norm` of the GPU. Every efficiency is at most 1, so
    no step is faster than FLOP / peak or bytes / bandwidth. The form and the constants are those of composed operator
    tables and whole-engine fits (Vidur, vLLM; see the sources in conf/gpu).

    Limits: every sequence is taken to have at least the window (sliding-window layers) or `sparse_top_k` tokens (DSA)
    in KV memory, which keeps a decode step affine in the context and overstates shorter sequences; tile and wave
    quantisation are left out; the group lies within one node.

    `decode_tokens`: tokens that a decode step computes, and samples, of every sequence; more than one to verify drafts.

    A step that runs as a CUDA graph computes the tokens of the next captured size in linear layers, element-wise work
    and all-reduces (`graph_sizes`). Nothing else is padded: KV reads and samples are of real tokens only, and experts
    are taken to be.
    """

    # In the names of attributes, a pair is one new token attending to one token in KV memory, over all layers; a capped
    # layer is one that reads at most `_cap_tokens` tokens of a sequence, by a sliding window or by `sparse_top_k`.
    __slots__ = (
        "context_s", "_decode_s_by_n", "_tokens_s_by_n", "_head_s_by_rows", "_row_s", "_sequence_s", "_fixed_s",
        "_pair_s", "_capped_pair_s", "_cap_tokens", "_past_s", "_capped_token_s", "_norm", "_gemm",
        "_experts", "_lm_head", "_token_s", "_two_shot_s", "_one_shot_tokens", "_decode_tokens", "_graph_sizes",
    )  # fmt: skip

    def __init__(self, gpu: Gpu, model: Model, engine: EngineFlags, decode_tokens: int = 1):
        self._decode_tokens = decode_tokens
        self._graph_sizes = graph_sizes(engine)
        self._norm = gpu.overlap_norm
        self._tokens_s_by_n: dict[int, float] = {}
        self._head_s_by_rows: dict[int, float] = {}
        self._linear_terms(gpu, model, engine)
        self._attention_terms(gpu, model, engine)
        self._overhead_terms(gpu, model, engine)
        self._decode_s_by_n = [self._decode_step_s(n) for n in range(engine.max_num_seqs + 1)]

    def _linear_terms(self, gpu: Gpu, model: Model, engine: EngineFlags) -> None:
        """Set (compute seconds per token, weight read seconds per step) of all linear layers.

        Of the LM head, the first is per sampled row.
        """
        tp = engine.gpus_per_rank
        attention_dtype = model.attention_dtype_under(engine.weight_dtype)
        mlp_dtype = model.mlp_dtype_under(engine.weight_dtype)
        read_bytes_per_s = gpu.memory_bandwidth_gb_per_s * GB * gpu.weight_read_efficiency
        attention_flops_per_s, mlp_flops_per_s, head_flops_per_s = [
            gpu.gemm_flops_per_s(dtype) * engine.gemm_fraction for dtype in (attention_dtype, mlp_dtype, "bf16")
        ]
        attention_params, mlp_params = model.attention_params / tp, model.mlp_params / tp
        weight_bytes = attention_params * BYTES_PER_PARAM[attention_dtype] + mlp_params * BYTES_PER_PARAM[mlp_dtype]
        self._gemm = (
            2 * attention_params / attention_flops_per_s + 2 * mlp_params / mlp_flops_per_s,
            weight_bytes / read_bytes_per_s,
        )
        has_all = engine.attention_data_parallel == 1  # Several ranks compute the routed experts together.
        self._experts = Experts(gpu, model, engine) if model.experts and has_all else None
        head_params = model.head_params / tp
        self._lm_head = (
            2 * head_params / head_flops_per_s,
            head_params * BYTES_PER_PARAM["bf16"] / read_bytes_per_s,
        )

    def _attention_terms(self, gpu: Gpu, model: Model, engine: EngineFlags) -> None:
        """Set the seconds per token in KV memory of a decode step, and per pair and per past token of a chunk.

        A decode step takes whichever is longer, reading a token's KV or computing with it; the same for an indexer.
        """
        tp = engine.gpus_per_rank
        kv_dtype = engine.kv_dtype or model.kv_dtype
        kv_read = gpu.memory_bandwidth_gb_per_s * GB * gpu.kv_read_efficiency_of(kv_dtype) * engine.kv_read_fraction
        flops_per_s = gpu.bf16_dense_tflops * _TFLOP * gpu.prefill_attention_efficiency * engine.gemm_fraction
        kv_s = max(
            model.kv_bytes_per_token_per_layer(tp, engine.kv_dtype) / kv_read,
            self._decode_tokens * model.decode_flops_per_pair / tp / flops_per_s,
        )
        index_flop_s = self._decode_tokens * model.indexer_flops_per_pair / flops_per_s
        index_s = max(model.indexer_bytes_per_token_per_layer / kv_read, index_flop_s)
        pair_s = model.prefill_flops_per_pair / tp / flops_per_s
        sparse = model.attention == "dsa"
        growing = 0 if sparse else model.layers - model.n_window_layers
        capped = model.layers if sparse else model.n_window_layers
        self.context_s = growing * kv_s + model.layers * index_s
        self._pair_s = growing * pair_s + model.layers * model.indexer_flops_per_pair / flops_per_s
        self._cap_tokens = (model.sparse_top_k if sparse else model.sliding_window) or 0
        self._capped_token_s = capped * kv_s
        self._capped_pair_s = capped * pair_s
        self._past_s = self.context_s
        if model.attention == "mla":
            # MLA does not keep the heads, so a chunk expands the latent of every past token into heads again.
            expand = 2 * model.kv_lora_rank * model.heads * (model.qk_nope_head_dim + model.head_dim)
            self._past_s += model.layers * expand / tp / (gpu.gemm_flops_per_s("bf16") * engine.gemm_fraction)

    def _overhead_terms(self, gpu: Gpu, model: Model, engine: EngineFlags) -> None:
        """Set seconds per step, per sequence, per sampled row, and of element-wise work and all-reduces per token."""
        tp = engine.gpus_per_rank
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
        routed_ffn = model.experts_per_token * model.expert_ffn if engine.attention_data_parallel == 1 else 0
        mlp += model.n_moe_layers * (routed_ffn + model.shared_expert_ffn)
        values = model.layers * (7 * model.hidden + (2 * q + kv) / tp) + 3 * mlp / tp
        self._token_s = _ACTIVATION_BYTES * values / elementwise
        if tp > 1:
            self._fixed_s += 2 * model.layers * (gpu.all_reduce_latency_us + (tp - 1) * gpu.all_reduce_hop_us) * _US
            self._two_shot_s = 2 * model.layers * gpu.all_reduce_two_shot_us * _US
            self._one_shot_tokens = _one_shot_bytes(tp) / (_ACTIVATION_BYTES * model.hidden)
            ring_bytes = 2 * (tp - 1) / tp * _ACTIVATION_BYTES * model.hidden
            self._token_s += 2 * model.layers * ring_bytes / (gpu.all_reduce_gb_per_s(tp) * GB)
        if engine.expert_exchange == "all_to_all":
            latency_us, gb_per_s = gpu.all_to_all(engine.tensor_parallel)
            self._fixed_s += 2 * model.n_moe_layers * latency_us * _US
            self._token_s += all_to_all_bytes_per_token(gpu, model, engine) / tp / (gb_per_s * GB)
        self._sequence_s = gpu.per_sequence_us * _US
        self._row_s = model.vocab * gpu.sampling_bytes_per_logit * SAMPLER_PASSES[engine.sampler] / elementwise

    def _tokens_s(self, n: int) -> float:
        """Seconds that depend only on the number of tokens in the step; kept for the next step of as many tokens."""
        flop_s, read_s = self._gemm
        sizes, padded = self._graph_sizes, n
        if sizes and 0 < n <= sizes[-1]:
            padded = sizes[bisect_left(sizes, n)]
        dense = joined_s(flop_s * padded, read_s, self._norm)
        total = self._fixed_s + dense + self._token_s * padded
        if self._experts is not None:
            total += self._experts.seconds(n)
        if padded >= self._one_shot_tokens:
            total += self._two_shot_s
        self._tokens_s_by_n[n] = total
        return total

    def _head_s(self, rows: int) -> float:
        """Seconds of LM head and sampling of `rows` tokens; kept for the next step of as many rows."""
        flop_s, read_s = self._lm_head
        total = joined_s(flop_s * rows, read_s, self._norm) + self._row_s * rows if rows else 0.0
        self._head_s_by_rows[rows] = total
        return total

    def _decode_step_s(self, n: int) -> float:
        """Seconds of one decode step of n sequences at zero context, with the capped layers at their cap."""
        capped_s = self._capped_token_s * self._cap_tokens
        tokens = n * self._decode_tokens
        return self._tokens_s(tokens) + self._head_s(tokens) + n * (self._sequence_s + capped_s)

    def decode_s(self, n_sequences: int) -> float:
        """One decode step of `n_sequences` at zero context (see `StepTime.decode_s`)."""
        try:
            return self._decode_s_by_n[n_sequences]
        except IndexError:
            self._decode_s_by_n += [self._decode_step_s(n) for n in range(len(self._decode_s_by_n), n_sequences + 1)]
            return self._decode_s_by_n[n_sequences]

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[tuple[int, int, bool]]) -> float:
        """A mixed step (see `StepTime.step_s`)."""
        if not chunks:
            return self.decode_s(n_decode) + self.context_s * context_tokens
        tokens = rows = n_decode * self._decode_tokens
        twice_pairs = past_tokens = 0
        for new, past, completes in chunks:
            tokens += new
            past_tokens += past
            # Attention is causal: new token i of the chunk attends to the past tokens and to i + 1 new ones.
            twice_pairs += new * (2 * past + new + 1)
            if completes:
                rows += 1
        tokens_s = self._tokens_s_by_n.get(tokens) or self._tokens_s(tokens)
        head_s = self._head_s_by_rows.get(rows) or self._head_s(rows)
        total = tokens_s + head_s + (n_decode + len(chunks)) * self._sequence_s
        total += context_tokens * self.context_s + past_tokens * self._past_s + 0.5 * twice_pairs * self._pair_s
        return total + self._capped_s(n_decode, chunks) if self._cap_tokens else total

    def _capped_s(self, n_decode: int, chunks: Sequence[tuple[int, int, bool]]) -> float:
        """Seconds of attention in the capped layers, whose tokens attend to at most `_cap_tokens` tokens.

        A chunk is computed at the mean context of its new tokens. min(cap, context) is concave in the context, so by
        Jensen's inequality this is never less than the sum over the tokens.
        """
        cap = self._cap_tokens
        total = n_decode * cap * self._capped_token_s
        for new, past, _ in chunks:
            total += min(past, cap) * self._capped_token_s
            total += new * min(cap, past + 0.5 * (new + 1)) * self._capped_pair_s
        return total
