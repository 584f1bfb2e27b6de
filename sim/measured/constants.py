"""The few constants a calibration may move, how far, and the server they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sim.hardware.engine import Engine
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model


class Constant(NamedTuple):
    """A field of Gpu or Engine that is fitted on a logarithmic scale."""

    name: str
    low: float
    high: float
    spread: float  # standard deviation of its logarithm before any data: how much engines and cards differ
    of_engine: bool = False
    said: str = ""  # what it is, in the words of a report


_GEMM = "large matrix products"
_ALL = (
    Constant("gemm_efficiency", 0.15, 1.0, 0.3, said=_GEMM),
    Constant("fp8_gemm_efficiency", 0.15, 1.0, 0.3, said=f"{_GEMM}, fp8"),
    Constant("expert_gemm_fraction", 0.05, 1.0, 0.5, said="expert products against dense ones"),
    Constant("weight_read_efficiency", 0.3, 1.0, 0.15, said="weight streaming"),
    Constant("kv_read_efficiency", 0.2, 1.0, 0.3, said="KV reads of decode"),
    Constant("fp8_kv_read_efficiency", 0.2, 1.0, 0.3, said="KV reads of decode, fp8"),
    Constant("prefill_attention_efficiency", 0.1, 1.0, 0.3, said="attention of long prompts"),
    Constant("layer_overhead_us", 1.0, 400.0, 0.7, said="launch overhead per layer and step"),
    Constant("per_sequence_us", 0.2, 300.0, 0.7, said="host work per sequence and step"),
    Constant("all_reduce_latency_us", 1.0, 200.0, 0.5, said="one all-reduce"),
    Constant("all_reduce_bandwidth_fraction", 0.05, 1.0, 0.3, said="all-reduce, of the link"),
    Constant("request_overhead_s", 0.0002, 1.0, 1.0, of_engine=True, said="HTTP and tokenising per request"),
)
"""Bounds are what is physically plausible; no efficiency passes the data sheet. `step_overhead_us` is left alone: with
one model, work per step and work per layer and step are one number. The spreads are of the size by which published
fits of engines on one card differ (0.53 to 0.81 of peak, 3 to 69 us per layer, 7 to 35 us per sequence)."""

_FREE = 1e12  # times a figure of the data sheet: what is so fast takes no time

FIELDS = {constant.name: constant for constant in _ALL}


@dataclass(frozen=True)
class Server:
    """The server that was measured: card, model, engine and its flags."""

    gpu: Gpu
    model: Model
    engine: Engine

    def value(self, constant: Constant) -> float:
        """The present value, moved inside the bounds a fit needs."""
        now = getattr(self.engine if constant.of_engine else self.gpu, constant.name)
        return min(max(now, 1.001 * constant.low), 0.999 * constant.high)

    def with_values(self, values: Mapping[str, float]) -> Server:
        """The same server with other constants."""
        of_engine = {name: value for name, value in values.items() if FIELDS[name].of_engine}
        of_gpu = {name: value for name, value in values.items() if name not in of_engine}
        return replace(self, gpu=self.gpu.model_copy(update=of_gpu), engine=self.engine.model_copy(update=of_engine))

    def on(self, tensor_parallel: int | None) -> Server:
        """The same server on another number of GPUs; None: unchanged."""
        if tensor_parallel is None or tensor_parallel == self.engine.tensor_parallel:
            return self
        return replace(self, engine=self.engine.model_copy(update={"tensor_parallel": tensor_parallel}))

    def bounds(self) -> tuple[Server, Server]:
        """This card without loss, if it only computed and if it only read memory: no server is faster than either.

        Apart, because a step in which both overlap at best takes as long as the longer of the two.
        """
        gpu = self.gpu
        lossless = {name: 1.0 for name in Gpu.model_fields if name.endswith(("_efficiency", "_fraction"))}
        lossless |= {name: 0.0 for name in Gpu.model_fields if name.endswith("_us")}
        lossless |= {"sampling_bytes_per_logit": 0.0, "elementwise_efficiency": _FREE}  # fused away at best
        lossless |= {"link_gb_per_s": _FREE, "fp4_dense_tflops": gpu.fp4_dense_tflops or gpu.bf16_dense_tflops}
        engine: dict[str, Any] = {name: 1.0 for name in Engine.model_fields if name.endswith("_fraction")}
        engine |= {"step_overhead_us": 0.0, "request_overhead_s": 0.0}
        if draft := self.engine.speculative:
            engine["speculative"] = draft.model_copy(update={"acceptance_rate": 1.0, "draft_cost_fraction": 0.0})
        best = replace(self, gpu=gpu.model_copy(update=lossless), engine=self.engine.model_copy(update=engine))
        return best._faster("_gb_per_s"), best._faster("_tflops")

    def _faster(self, ending: str) -> Server:
        """With some figures of the data sheet beyond all limits."""
        figures = {name: getattr(self.gpu, name) for name in Gpu.model_fields if name.endswith(ending)}
        free = {name: figure and _FREE * figure for name, figure in figures.items()}
        return replace(self, gpu=self.gpu.model_copy(update=free))

    @property
    def constants(self) -> tuple[Constant, ...]:
        """Those that this card, model and engine use."""
        gpu, model, engine = self.gpu, self.model, self.engine
        peak = gpu.peak_flops_per_s(model.mlp_dtype_under(engine.weight_dtype))
        bf16 = peak == gpu.peak_flops_per_s("bf16")
        kv_bf16 = (engine.kv_dtype or model.kv_dtype) == "bf16"
        unused = {"fp8_gemm_efficiency" if bf16 else "gemm_efficiency"}
        unused.add("fp8_kv_read_efficiency" if kv_bf16 else "kv_read_efficiency")
        if not model.experts:
            unused.add("expert_gemm_fraction")
        if engine.tensor_parallel == 1:
            unused |= {"all_reduce_latency_us", "all_reduce_bandwidth_fraction"}
        return tuple(constant for constant in _ALL if constant.name not in unused)
