"""Fits of the step time's terms to measured operator times, one card at a time, from the package aiconfigurator-core.

The tables are `systems/data/<card>/<operator>/vllm/<version>/*.parquet`. `latency` is the milliseconds of one kernel
call in a loop that does not flush the L2 cache, so weights or KV that fit there read faster than memory: fits take
sizes beyond `_L2_FACTOR` times the cache only. `message_size` of an all-reduce counts bf16 elements, not bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from sim.hardware.gpu import Gpu, gpu_named
from sim.hardware.model import BYTES_PER_PARAM

_L2_MB = {"h100_sxm": 50, "h200_sxm": 50, "a100_sxm": 40, "l40s": 96, "rtx_pro_6000_server": 128}
_BLACKWELL_L2_MB = 126
_L2_FACTOR = 1.5
_PARAMS = (8e6, 300e6)  # of one layer's product on one GPU of a group, from 8B models on one to 70B models on eight
_LARGE_BATCHES = (1024, 2048, 4096, 8192)
_MIDDLE_BYTES = (30e6, 600e6)
_US, _MS = 1e-6, 1e-3


class NoRows(Exception):
    """The table has no rows of that operator and number format."""


class Fit(NamedTuple):
    """The values of the parameters that were fitted, and the median relative residual of the rows."""

    values: tuple[float, ...]
    residual: float


class Experts(NamedTuple):
    """One model's layer of experts, in the words of the table."""

    dtype: str
    hidden: int
    width: int
    per_token: int
    experts: int


GPT_OSS_120B = Experts("w4a16_mxfp4", 2880, 2880, 4, 128)
MINIMAX_M2 = Experts("fp8_block", 3072, 1536, 8, 256)


class Gemm(NamedTuple):
    """Dense products: fraction of peak of large batches, us of launch, and the two fits of the whole range.

    The fits are (launch in us, fraction of peak, of bandwidth) at the norm of H100, and the same with a norm of the
    card's own, given as its excess over 1.
    """

    efficiency: float
    launch_us: float
    at_norm_of_h100: Fit
    at_own_norm: Fit

    @property
    def norm(self) -> float:
        return 1 + self.at_own_norm.values[3]


class Tables:
    """The operator tables of one card; `folder` is the package's `systems/data/<card>`."""

    def __init__(self, folder: Path, gpu: Gpu, version: str, all_reduce_version: str):
        self._folder, self._gpu, self._version, self._all_reduce_version = folder, gpu, version, all_reduce_version
        self._l2_bytes = _L2_FACTOR * 1e6 * _L2_MB.get(folder.name, _BLACKWELL_L2_MB)
        self._bytes_per_s = gpu.memory_bandwidth_gb_per_s * 1e9

    def _table(self, operator: str, name: str, version: str | None = None) -> pd.DataFrame:
        table = pd.read_parquet(self._folder / operator / "vllm" / (version or self._version) / f"{name}_perf.parquet")
        if "window_size" not in table:
            table = table.assign(window_size=0)
        return table[table.latency > 0].assign(s=table.latency * _MS)

    def gemm(self, dtype: str) -> Gemm:
        """Dense products of `dtype`, bfloat16 or fp8, of at least 1,024 rows and columns.

        The fraction of peak is a median over shapes of `_PARAMS` parameters at token counts that every table has.
        """
        rows = self._table("gemm", "gemm")
        rows = rows[(rows.gemm_dtype == dtype) & (rows.n >= 1024) & (rows.k >= 1024) & (rows.m <= 8192)]
        width = 2 if dtype == "bfloat16" else 1
        peak = self._gpu.peak_flops_per_s("bf16" if dtype == "bfloat16" else "fp8")
        params = 1.0 * rows.n * rows.k
        rows = rows.assign(flop_s=2.0 * rows.m * params / peak, read_s=width * params / self._bytes_per_s)
        shards = rows[params.between(*_PARAMS) & rows.m.isin(_LARGE_BATCHES)]
        beyond = rows[rows.read_s * self._bytes_per_s > self._l2_bytes]
        middle = rows[(rows.read_s * self._bytes_per_s).between(*_MIDDLE_BYTES)]
        return Gemm(
            float((shards.flop_s / shards.s).median()),
            _fit(middle, _at_norm_of_h100, (4, 0.7, 0.85)).values[0],
            _fit(beyond, _at_norm_of_h100, (4, 0.7, 0.85)),
            _fit(beyond, _at_any_norm, (4, 0.7, 0.85, 2.0)),
        )

    def decode_attention(self, kv_dtype: str) -> tuple[Fit, Fit]:
        """(launch in us, us per sequence, fraction of bandwidth) of decode, beyond the L2 cache and over all sizes.

        Head size 128; 2 to 16 query heads share a KV head, as in the models of conf/model.
        """
        rows = self._table("attention", "generation_attention")
        rows = rows[(rows.kv_cache_dtype == kv_dtype) & (rows.head_dim == 128) & (rows.window_size == 0)]
        rows = rows[(rows.num_heads / rows.num_key_value_heads).between(2, 16)]
        width = 2 if kv_dtype == "bfloat16" else 1
        tokens = rows.batch_size * (rows.isl + rows.step)
        rows = rows.assign(read_s=2.0 * width * tokens * rows.num_key_value_heads * 128 / self._bytes_per_s)
        beyond = rows[rows.read_s * self._bytes_per_s > self._l2_bytes]
        return _fit(beyond, _decode_s, (12, 0.01, 0.8)), _fit(rows, _decode_s, (12, 0.01, 0.8))

    def prefill_attention(self) -> Fit:
        """(launch in us, fraction of bf16 peak, weight of the bytes of Q, K, V and O), causal.

        Head size 128, grouped heads, prompts of 128 tokens and more, 32,768 tokens in a batch at most.
        """
        rows = self._table("attention", "context_attention")
        rows = rows[(rows.kv_cache_dtype == "bfloat16") & (rows.head_dim == 128) & (rows.window_size == 0)]
        rows = rows[(rows.num_heads >= 2 * rows.num_key_value_heads) & (rows.isl >= 128)]
        rows = rows[rows.batch_size * rows.isl <= 32768]
        flop = 4.0 * rows.num_heads * 128 * rows.batch_size * rows.isl * (rows.isl + 1) / 2
        touched = rows.batch_size * rows.isl * 2.0 * 128 * 2 * (rows.num_heads + rows.num_key_value_heads)
        rows = rows.assign(flop_s=flop / self._gpu.peak_flops_per_s("bf16"), io_s=touched / self._bytes_per_s)
        return _fit(rows, lambda r, v: v[0] * _US + r.flop_s / v[1] + v[2] * r.io_s, (10, 0.6, 1.0))

    def experts(self, shape: Experts) -> Fit:
        """(launch in us, fraction of peak, of bandwidth, excess of the norm over 1) of a layer of experts.

        Balanced routing, no expert parallelism. The peak is that of bf16 for mxfp4, which is unpacked to it.
        """
        rows = self._table("moe", "moe")
        rows = rows[(rows.moe_dtype == shape.dtype) & (rows.hidden_size == shape.hidden)]
        rows = rows[(rows.inter_size == shape.width) & (rows.topk == shape.per_token)]
        rows = rows[(rows.num_experts == shape.experts) & (rows.moe_ep_size == 1) & (rows.moe_tp_size <= 8)]
        rows = rows[rows.distribution == "balanced"]
        params = 3.0 * shape.hidden * shape.width / rows.moe_tp_size
        touched = shape.experts * (1 - (1 - shape.per_token / shape.experts) ** rows.num_tokens)
        is_fp8 = shape.dtype.startswith("fp8")
        peak = self._gpu.peak_flops_per_s("fp8" if is_fp8 else "bf16")
        rows = rows.assign(flop_s=2 * params * shape.per_token * rows.num_tokens / peak)
        width = BYTES_PER_PARAM["fp8" if is_fp8 else "mxfp4"]
        rows = rows.assign(read_s=params * width * touched / self._bytes_per_s)
        return _fit(rows, _at_any_norm, (20, 0.4, 0.8, 0.5))

    def all_reduce(self, gpus: int) -> Fit:
        """(latency in us, fraction of the link) of an all-reduce in a CUDA graph, up to 64 Mi elements."""
        rows = self._table("comm", "custom_allreduce", self._all_reduce_version)
        rows = rows[(rows.num_gpus == gpus) & (rows.kernel_source == "vLLM_custom_graph")]
        rows = rows[rows.message_size <= 64 * 2**20]
        ring_bytes = 2 * (gpus - 1) / gpus * 2.0 * rows.message_size
        rows = rows.assign(ring_s=ring_bytes / (self._gpu.link_gb_per_s * 1e9))
        return _fit(rows, lambda r, v: v[0] * _US + r.ring_s / v[1], (5, 0.5))


def _joined(rows: pd.DataFrame, v: np.ndarray, norm: float) -> pd.Series:
    compute_s, read_s = rows.flop_s / v[1], rows.read_s / v[2]
    return v[0] * _US + (compute_s**norm + read_s**norm) ** (1 / norm)


def _at_norm_of_h100(rows: pd.DataFrame, v: np.ndarray) -> pd.Series:
    return _joined(rows, v, gpu_named("h100_sxm").overlap_norm)


def _at_any_norm(rows: pd.DataFrame, v: np.ndarray) -> pd.Series:
    """The last parameter is the excess of the norm over 1, the sum."""
    return _joined(rows, v, 1 + v[3])


def _decode_s(rows: pd.DataFrame, v: np.ndarray) -> pd.Series:
    return v[0] * _US + v[1] * _US * rows.batch_size + rows.read_s / v[2]


def _fit(rows: pd.DataFrame, seconds: Callable[[pd.DataFrame, np.ndarray], pd.Series], start: tuple[float, ...]) -> Fit:
    """Least squares on the logarithm of the time; every parameter is positive, so its logarithm is what is moved."""
    if rows.empty:
        raise NoRows
    data = rows.select_dtypes("number").astype(float)
    log_s = np.log(data.s.to_numpy())

    def residuals(log_values: np.ndarray) -> np.ndarray:
        return np.log(seconds(data, np.exp(log_values)).to_numpy()) - log_s

    found = least_squares(residuals, np.log(start), bounds=(np.log(1e-3), np.log(300.0)))
    return Fit(tuple(np.exp(found.x).tolist()), float(np.median(np.abs(np.expm1(found.fun)))))
