"""A step time of four given constants, for queues whose answers are known from theory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model
from sim.hardware.step_time.model import StepTimeModel
from sim.hardware.step_time.protocol import Chunk, StepTime


class AffineStepTime:
    """Seconds of a step as an affine function of sequences, resident context tokens and new prompt tokens.

    With `base_s` alone every step takes the same time, which gives an M/G/infinity queue, or M/D/1 if the batch has one
    slot. With `per_sequence_s` alone all sequences share a fixed rate evenly: processor sharing. `context_s`: seconds
    per resident KV token.
    """

    __slots__ = ("base_s", "per_sequence_s", "context_s", "per_prefill_token_s")

    def __init__(
        self,
        base_s: float = 0.0,
        per_sequence_s: float = 0.0,
        per_context_token_s: float = 0.0,
        per_prefill_token_s: float = 0.0,
    ):
        self.base_s = base_s
        self.per_sequence_s = per_sequence_s
        self.context_s = per_context_token_s
        self.per_prefill_token_s = per_prefill_token_s

    def decode_s(self, n_sequences: int) -> float:
        """One decode step at zero context (see `StepTime.decode_s`)."""
        return self.base_s + self.per_sequence_s * n_sequences

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        """A mixed step (see `StepTime.step_s`); a chunk costs as much as a sequence, and its new tokens besides."""
        if not chunks:
            return self.base_s + self.per_sequence_s * n_decode + self.context_s * context_tokens
        new_tokens = sum(new for new, _past, _completes in chunks)
        sequences_s = self.per_sequence_s * (n_decode + len(chunks))
        prefill_s = self.per_prefill_token_s * new_tokens
        return self.base_s + sequences_s + self.context_s * context_tokens + prefill_s


class AffineModel(StepTimeModel):
    """The same constants, in seconds, for every GPU and model (`AffineStepTime`)."""

    kind: Literal["affine"] = "affine"
    base_s: float = Field(0.0, ge=0)
    per_sequence_s: float = Field(0.0, ge=0)
    per_context_token_s: float = Field(0.0, ge=0)
    per_prefill_token_s: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _a_step_takes_time(self) -> AffineModel:
        if self.base_s + self.per_sequence_s <= 0:
            raise ValueError("base_s + per_sequence_s must be > 0: a step takes time")
        return self

    def plain(self, gpu: Gpu, model: Model, engine: EngineFlags, decode_tokens: int = 1) -> StepTime:
        """A drafted token to verify costs as much as a token of prompt."""
        per_sequence_s = self.per_sequence_s + (decode_tokens - 1) * self.per_prefill_token_s
        return AffineStepTime(self.base_s, per_sequence_s, self.per_context_token_s, self.per_prefill_token_s)
