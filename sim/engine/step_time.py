"""How long one engine step takes: the seam the replica is built on, and the models a config can choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field, model_validator

from sim.engine.roofline import Roofline
from sim.engine.speculation import SpeculativeStepTime
from sim.schema import Kinded

if TYPE_CHECKING:
    from sim.engine.architecture import Model
    from sim.engine.hardware import Engine, Gpu

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


class StepTimeModel(Kinded):
    """A way to get step times for a GPU, a model and an engine."""

    def plain(self, gpu: Gpu, model: Model, engine: Engine, decode_tokens: int = 1) -> StepTime:
        """The step time where a decode step computes `decode_tokens` tokens of every sequence."""
        raise NotImplementedError

    def build(self, gpu: Gpu, model: Model, engine: Engine) -> StepTime:
        """The step time of this engine, speculative if it is."""
        plain = self.plain(gpu, model, engine)
        if engine.speculative is None:
            return plain
        verifying = self.plain(gpu, model, engine, engine.tokens_per_decode)
        return SpeculativeStepTime(plain, verifying, engine.speculative)


class RooflineModel(StepTimeModel):
    """From first principles: bytes, operations, links and overheads of this GPU, model and engine (`Roofline`)."""

    kind: Literal["roofline"] = "roofline"

    def plain(self, gpu: Gpu, model: Model, engine: Engine, decode_tokens: int = 1) -> StepTime:
        return Roofline(gpu, model, engine, decode_tokens)


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

    def plain(self, gpu: Gpu, model: Model, engine: Engine, decode_tokens: int = 1) -> StepTime:
        per_sequence_s = self.per_sequence_s + (decode_tokens - 1) * self.per_prefill_token_s
        return AffineStepTime(self.base_s, per_sequence_s, self.per_context_token_s, self.per_prefill_token_s)
