"""A step time that is affine in everything, for queues with known answers."""

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
    """A step time that is affine in everything, for queues with known answers.

    With only `base_s` it is a clock (M/G/infinity, or M/D/1 with one slot); with only `per_sequence_s` every sequence
    gets an equal share of a fixed rate (processor sharing).
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
        return self.base_s + self.per_sequence_s * n_sequences

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        if not chunks:
            return self.base_s + self.per_sequence_s * n_decode + self.context_s * context_tokens
        new = sum(chunk[0] for chunk in chunks)
        n = n_decode + len(chunks)
        return self.base_s + self.per_sequence_s * n + self.context_s * context_tokens + self.per_prefill_token_s * new


class AffineModel(StepTimeModel):
    """Given constants, whatever the GPU and model (`AffineStepTime`)."""

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
        per_sequence_s = self.per_sequence_s + (decode_tokens - 1) * self.per_prefill_token_s
        return AffineStepTime(self.base_s, per_sequence_s, self.per_context_token_s, self.per_prefill_token_s)
