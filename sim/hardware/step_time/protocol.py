"""StepTime: the seconds of one engine step, which are all that a replica knows of its GPU and model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Chunk = tuple[int, int, bool]
"""A part of one prompt that one step computes: (new tokens, past tokens in KV memory, whether it completes the prompt).

A chunk that completes its prompt also samples the first token of the answer.
"""


SharedTime = Callable[[int, int], float]
"""Seconds that attention ranks take for what they compute together: see `LockstepTime.shared_s`."""


class StepTime(Protocol):
    """Seconds of one step of a continuous-batching engine, as a function of what is in the batch.

    Laws: every result is > 0 and non-decreasing in each argument; a step without prefill is affine in the resident
    context, `decode_s(n) + context_s * context_tokens`. Hence k decode steps of the same n sequences, which have C
    tokens in KV memory before the first, take `k * decode_s(n) + context_s * (k * C + n * k * (k - 1) / 2)`.
    """

    context_s: float
    """Seconds that a decode step takes per token in KV memory."""

    def decode_s(self, n_sequences: int) -> float:
        """One decode step of `n_sequences` at zero context. O(1)."""

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        """One step that decodes `n_decode` sequences, with `context_tokens` in KV memory in total, and prefills
        `chunks`.

        Without chunks it equals `decode_s(n_decode) + context_s * context_tokens` exactly.
        """


class LockstepTime(Protocol):
    """Seconds of one step of a replica of several attention ranks, which wait for one another in every layer.

    A step takes the longest `own` time of a rank with work, and `shared_s` besides. A rank without work computes one
    dummy token, which is the shortest that a rank can do.
    """

    @property
    def own(self) -> StepTime:
        """What a rank computes by itself, as a function of its own batch."""

    def shared_s(self, n_decode: int, prompt_tokens: int) -> float:
        """What all ranks compute together: the routed experts of all their tokens.

        `n_decode` sequences decode, those of dummy tokens among them; `prompt_tokens` are new tokens of prompts. >= 0,
        and non-decreasing in both. Seconds.
        """
