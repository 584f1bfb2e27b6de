"""`python -m tests.fidelity.another_simulator TRACE`: NVIDIA Dynamo's mocker and this program on one request log.

Both play a Mooncake trace on eight workers of equal KV memory, block size and limits, routed round robin. The step
times are the mocker's own, read off a few of its runs, so that scheduling, batching and prefix caching are compared,
not physics. The mocker comes with the package ai-dynamo-runtime (the extra `another-simulator`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

import sim
from sim.hardware.step_time.model import StepTimeModel
from sim.hardware.step_time.protocol import Chunk, StepTime

WORKERS, KV_BLOCKS, BLOCK_TOKENS, STEP_TOKENS, SEQUENCES = 8, 16_384, 64, 8_192, 256
"""Workers, and the mocker's defaults of each."""
TRACE_BLOCK_TOKENS = 512


@dataclass(frozen=True)
class Polynomials:
    """The mocker's step times, in s: a * n^2 + b * n + c for n prompt tokens, base + slope * context to decode."""

    prefill: tuple[float, float, float]
    decode_base_s: float
    decode_s_per_token: float


@dataclass(frozen=True)
class Played:
    """What both simulators say of one run, and the CPU time they took."""

    requests: int
    prefix_hit_fraction: float
    ttft_p50_s: float
    cpu_s: float


class MockerStepTime:
    """Step times by these polynomials. A decode step and the prompts of a step take their times one after the other."""

    def __init__(self, fitted: Polynomials):
        self._fitted = fitted
        self.context_s = fitted.decode_s_per_token

    def decode_s(self, n_sequences: int) -> float:
        """See `StepTime.decode_s`. The mocker's decode steps do not depend on the number of sequences."""
        return self._fitted.decode_base_s if n_sequences else 1e-9

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        """See `StepTime.step_s`."""
        decode_s = self.decode_s(n_decode) + self.context_s * context_tokens
        if not chunks:
            return decode_s
        a, b, c = self._fitted.prefill
        new = sum(tokens for tokens, _past, _completes in chunks)
        return a * new**2 + b * new + c + (decode_s if n_decode else 0.0)


class MockerModel(StepTimeModel):
    """The mocker's step times, for any GPU and model."""

    kind: Literal["mocker_polynomials"] = "mocker_polynomials"
    prefill: tuple[float, float, float]
    decode_base_s: float
    decode_s_per_token: float

    def plain(self, gpu, model, engine, decode_tokens: int = 1) -> StepTime:
        return MockerStepTime(Polynomials(self.prefill, self.decode_base_s, self.decode_s_per_token))


def polynomials() -> Polynomials:
    """The mocker's step times, solved from runs of one request each."""
    from dynamo._core import run_mocker_synthetic_trace_replay as replay

    def alone(prompt: int) -> dict:
        return replay(prompt, 12, 1, num_workers=1, replay_concurrency=1).summary

    lengths = np.array([1_000, 4_000, 8_000])
    runs = [alone(int(n)) for n in lengths]
    ttft_s = [run["median_ttft_ms"] / 1000 for run in runs]
    prefill = np.polyfit(lengths, ttft_s, 2)
    itl_s = [run["mean_tpot_ms"] / 1000 for run in runs]
    slope, base_s = np.polyfit(lengths, itl_s, 1)
    return Polynomials(tuple(map(float, prefill)), float(base_s), float(slope))


def by_the_mocker(trace: str) -> Played:
    """The trace, played by NVIDIA's simulator."""
    from dynamo._core import run_mocker_trace_replay

    begun_s = time.process_time()
    result = run_mocker_trace_replay(
        [trace], num_workers=WORKERS, router_mode="round_robin", trace_block_size=TRACE_BLOCK_TOKENS
    ).summary
    cpu_s = time.process_time() - begun_s
    hits = result["prefix_cache_reused_ratio"]
    return Played(result["completed_requests"], hits, result["median_ttft_ms"] / 1000, cpu_s)


def by_this_program(trace: str, fitted: Polynomials | None = None) -> Played:
    """The trace, played here; with the step times of an H100 and Llama-3.1-8B if none are given."""
    limits = {
        "scaling.n_replicas": WORKERS, "engine.kv_cache_blocks": KV_BLOCKS, "engine.block_tokens": BLOCK_TOKENS,
        "engine.max_num_batched_tokens": STEP_TOKENS, "engine.max_num_seqs": SEQUENCES,
        "engine.request_overhead_s": 0, "queue.max_requests_per_replica": 100_000, "arrivals.path": trace,
    }  # fmt: skip
    one = sim.scenario("arrivals=replay", "placement=round_robin", **limits)
    if fitted is not None:
        model = MockerModel(
            prefill=fitted.prefill, decode_base_s=fitted.decode_base_s, decode_s_per_token=fitted.decode_s_per_token
        )
        one = one.replace(**{"engine.step_time": model})
    begun_s = time.process_time()
    calls = sim.simulate(one).requests
    cpu_s = time.process_time() - begun_s
    ttft_s = (calls["first_token_s"] - calls["arrived_s"]).median()
    hits = calls["cached_input_tokens"].sum() / calls["input_tokens"].sum()
    return Played(int(calls["finished_s"].notna().sum()), float(hits), float(ttft_s), cpu_s)


def main() -> None:
    """Print both, with requests per CPU second."""
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity.another_simulator", description=__doc__)
    parser.add_argument("trace", help="a trace in Mooncake's format")
    trace = parser.parse_args().trace
    fitted = polynomials()
    print(f"step times: {fitted}")
    for name, played in (
        ("ai-dynamo-runtime", by_the_mocker(trace)),
        ("this program", by_this_program(trace, fitted)),
        ("this program, H100 and Llama-3.1-8B", by_this_program(trace)),
    ):
        rate = played.requests / played.cpu_s
        print(
            f"{name}: {played.requests} requests, prefix hits {played.prefix_hit_fraction:.2%}, "
            f"median TTFT {1000 * played.ttft_p50_s:.0f} ms, {played.cpu_s:.2f} CPU s, {rate:,.0f} requests per CPU s"
        )


if __name__ == "__main__":
    main()
