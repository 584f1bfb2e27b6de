"""What article 001 says of one A100 with a 70B model, against the roofline of that card."""

import pytest

from sim.hardware.engine import Engine
from sim.hardware.fits import kv_blocks_of
from sim.hardware.gpu import gpu_named
from sim.hardware.model import model_named

A100, LLAMA_70B = gpu_named("a100_80gb_sxm"), model_named("llama_3_3_70b")


def decoding_tokens_per_s(weight_dtype: str, n_requests: int, context_tokens: int, gpus: int = 1) -> float:
    """Output tokens per second with this many requests of this context decoding, and no prompt to compute."""
    engine = Engine(weight_dtype=weight_dtype, tensor_parallel=gpus)
    step_time = engine.step_time.build(A100, LLAMA_70B, engine)
    return n_requests / step_time.step_s(n_requests, n_requests * context_tokens, [])


def test_claim_001_one_request_alone_at_40_to_60_fails_on_one_card():
    """20 tokens/s in FP8, 33 in 4 bits: below 2,039 GB/s over 35 GB = 58, which no card reaches. A pair does 51."""
    found = [decoding_tokens_per_s(dtype, 1, 1024) for dtype in ("fp8", "mxfp4")]
    assert found == pytest.approx([20.1, 33.3], abs=0.5)
    assert decoding_tokens_per_s("mxfp4", 1, 1024, gpus=2) == pytest.approx(50.8, abs=0.5)


def test_claim_001_batched_1000_to_3000_only_if_in_4_bits_and_prompts_are_free():
    """In FP8 the weights leave room for eight thousand tokens of context; in 4 bits for a hundred thousand."""
    room = [kv_blocks_of(A100, LLAMA_70B, Engine(weight_dtype=dtype)) * 16 for dtype in ("bf16", "fp8", "mxfp4")]
    assert room[0] == 0 and room[1:] == pytest.approx([7900, 105_800], rel=0.01)
    found = [decoding_tokens_per_s("mxfp4", n, context) for n, context in ((64, 1024), (128, 512))]
    assert found == pytest.approx([955, 1271], rel=0.01)
