"""Detokenizing: a step waits for the text of the tokens that it generates."""

from __future__ import annotations

from collections.abc import Sequence

from sim.hardware.step_time.protocol import Chunk, StepTime


class DetokenizedStepTime:
    """The seconds of another step time, and `token_s` for each sequence that the step gives a token.

    These are the decoding sequences, and the prompts that it completes. It keeps the laws of StepTime, as it adds a
    term that is linear in their number.
    """

    __slots__ = ("_engine", "_token_s", "context_s")

    def __init__(self, engine: StepTime, token_s: float):
        self._engine, self._token_s = engine, token_s
        self.context_s = engine.context_s

    def decode_s(self, n_sequences: int) -> float:
        """One decode step at zero context (see `StepTime.decode_s`)."""
        return self._engine.decode_s(n_sequences) + self._token_s * n_sequences

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        """A mixed step (see `StepTime.step_s`)."""
        if not chunks:
            return self.decode_s(n_decode) + self.context_s * context_tokens
        completed = sum(completes for _, _, completes in chunks)
        return self._engine.step_s(n_decode, context_tokens, chunks) + self._token_s * (n_decode + completed)
