"""How long one engine step takes: the seam that the replica is built on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Chunk = tuple[int, int, bool]
"""(new tokens, past tokens already in KV, whether this chunk completes its prompt and so samples a token)."""


class StepTime(Protocol):
    """Seconds of one step of a continuous-batching engine, as a function of what is in the batch.

    Laws: every result is > 0 and non-decreasing in each argument, and a pure decode step is affine in the resident
    context, `decode_s(n) + context_s * context_tokens`, so that k steps of the same n sequences, which hold C tokens
    before the first, take `k * decode_s(n) + context_s * (k * C + n * k * (k - 1) / 2)`.
    """

    context_s: float
    """Seconds per resident KV token read by a decode step."""

    def decode_s(self, n_sequences: int) -> float:
        """One decode step of `n_sequences` at zero context. O(1)."""

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        """A mixed step: `n_decode` sequences with `context_tokens` in KV in total, and prefill chunks beside them.

        With no chunks it equals `decode_s(n_decode) + context_s * context_tokens` exactly.
        """
