"""Scheduling without preemption, as TensorRT-LLM's GUARANTEED_NO_EVICT: no admission before the whole answer has room.

Known limit: a block that several prompts share is reserved for each of them, so fewer sequences run at once than could.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from mypy_extensions import mypyc_attr

from sim.engine.scheduler import Scheduler
from sim.engine.sequence import Sequence
from sim.hardware.step_time.protocol import Chunk


@mypyc_attr(allow_interpreted_subclasses=True)
class ReservingScheduler(Scheduler):
    """A scheduler that admits a sequence only if KV memory holds it and all running ones up to their last tokens."""

    _reserved_blocks: int = 0
    """KV blocks that the running sequences have or will have taken when each has generated its last token."""

    def _whole_blocks(self, sequence: Sequence) -> int:
        """KV blocks of a sequence at the last token asked for, whose own KV is never computed."""
        left_tokens = sequence.left_tokens + sequence.request.unsent_tokens
        return -(-(sequence.prompt_tokens + left_tokens - 1) // self._block_tokens)

    def _admit(self, sequence: Sequence, budget: int, chunks: list[Chunk]) -> int:
        """Admit as `Scheduler` does, and reserve the blocks of the whole answer; 0 if they cannot be reserved."""
        if not self._can_reserve(sequence):
            return 0
        new = super()._admit(sequence, budget, chunks)
        if new:
            self._reserved_blocks += self._whole_blocks(sequence)
        return new

    def has_room(self, sequence: Sequence) -> bool:
        """Whether both the prompt fits now and the whole answer can be reserved."""
        return self._can_reserve(sequence) and super().has_room(sequence)

    def _can_reserve(self, sequence: Sequence) -> bool:
        """Whether KV memory holds this sequence and all running ones up to their last tokens."""
        return self._reserved_blocks + self._whole_blocks(sequence) <= self.memory.total_blocks

    def _free(self, sequence: Sequence, tokens: int) -> None:
        """Free as `Scheduler` does, and give up the reservation."""
        self._reserved_blocks -= self._whole_blocks(sequence)
        super()._free(sequence, tokens)
