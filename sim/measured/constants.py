"""The few constants that a calibration may move, and how far."""

from __future__ import annotations

from typing import NamedTuple


class Constant(NamedTuple):
    """A field of Gpu or Engine that is fitted on a logarithmic scale."""

    name: str
    low: float
    high: float
    spread: float  # standard deviation of its logarithm before any data: how much engines and cards differ
    of_engine: bool = False


CONSTANTS = (
    Constant("gemm_efficiency", 0.15, 1.0, 0.3),  # large matrix products
    Constant("fp8_gemm_efficiency", 0.15, 1.0, 0.3),  # large matrix products, fp8
    Constant("expert_gemm_fraction", 0.05, 1.0, 0.5),  # products of experts, as a fraction of dense ones
    Constant("weight_read_efficiency", 0.3, 1.0, 0.15),  # weight streaming
    Constant("kv_read_efficiency", 0.2, 1.0, 0.3),  # KV reads of decode
    Constant("fp8_kv_read_efficiency", 0.2, 1.0, 0.3),  # KV reads of decode, fp8
    Constant("prefill_attention_efficiency", 0.1, 1.0, 0.3),  # attention of long prompts
    Constant("layer_overhead_us", 1.0, 400.0, 0.7),  # launch overhead per layer and step
    Constant("per_sequence_us", 0.2, 300.0, 0.7),  # host work per sequence and step
    Constant("all_reduce_latency_us", 1.0, 200.0, 0.5),  # one all-reduce
    Constant("all_reduce_bandwidth_fraction", 0.05, 1.0, 0.3),  # all-reduce, of the link
    Constant("request_overhead_s", 0.0002, 1.0, 1.0, of_engine=True),  # HTTP and tokenising per request
)
"""Bounds are what is physically plausible; no efficiency passes the data sheet. `step_overhead_us` is left alone: with
one model, work per step and work per layer and step are one number. The spreads are of the size by which published
fits of engines on one card differ (0.53 to 0.81 of peak, 3 to 69 us per layer, 7 to 35 us per sequence)."""

FIELDS = {constant.name: constant for constant in CONSTANTS}
