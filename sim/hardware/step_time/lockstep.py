"""The step time of several attention ranks: what each computes by itself, and what all compute together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sim.hardware.step_time.protocol import Chunk, SharedTime, StepTime


class Lockstep(NamedTuple):
    """Seconds of a step of several attention ranks; implements `LockstepTime`."""

    own: StepTime
    shared_s: SharedTime


class EvenRanks:
    """The step time of a whole replica of `n_ranks` attention ranks over which its work is spread evenly: a `StepTime`.

    For what is worked out on paper. Sequences, their context and the work of each chunk of a prompt are shared out
    equally, as in a replica that always has plenty of all; one that has little waits for its fullest rank.
    """

    def __init__(self, step_time: Lockstep, n_ranks: int):
        self._own, self._shared_s, self._n = step_time.own, step_time.shared_s, n_ranks
        self.context_s = step_time.own.context_s / n_ranks

    def decode_s(self, n_sequences: int) -> float:
        """One decode step of `n_sequences` at zero context (see `StepTime.decode_s`)."""
        return self._own.decode_s(-(-n_sequences // self._n)) + self._shared_s(max(n_sequences, self._n), 0)

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        """A mixed step (see `StepTime.step_s`)."""
        decode_s = self.decode_s(n_decode) + self.context_s * context_tokens
        if not chunks:
            return decode_s
        on_fullest, with_dummies = -(-n_decode // self._n), max(n_decode, self._n)
        own_s = self._own.step_s(on_fullest, 0, chunks) - self._own.decode_s(on_fullest)
        new_tokens = sum(new for new, _past, _completes in chunks)
        return decode_s + own_s / self._n + self._shared_s(with_dummies, new_tokens) - self._shared_s(with_dummies, 0)
