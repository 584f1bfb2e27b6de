"""Scheduling without preemption, as TensorRT-LLM's GUARANTEED_NO_EVICT: room for the whole answer, or no admission.

Known limit: blocks that prompts share count for each of them, so fewer run at once than might.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from mypy_extensions import mypyc_attr

from sim.engine.scheduler import Scheduler
from sim.engine.sequence import Sequence
from sim.hardware.step_time.protocol import Chunk


@mypyc_attr(allow_interpreted_subclasses=True)
class ReservingScheduler(Scheduler):
    """The scheduler, but that a request joins only if it fits to its last token besides all who run, to theirs."""

    _reserved_blocks: int = 0

    def _whole_blocks(self, s: Sequence) -> int:
        return -(-(s.prompt_tokens + s.left_tokens - 1) // self._block_tokens)

    def _admit(self, s: Sequence, budget: int, chunks: list[Chunk]) -> int:
        if not self._has_room_in_the_end(s):
            return 0
        new = super()._admit(s, budget, chunks)
        if new:
            self._reserved_blocks += self._whole_blocks(s)
        return new

    def has_room(self, s: Sequence) -> bool:
        return self._has_room_in_the_end(s) and super().has_room(s)

    def _has_room_in_the_end(self, s: Sequence) -> bool:
        return self._reserved_blocks + self._whole_blocks(s) <= self.memory.total_blocks

    def _free(self, s: Sequence, tokens: int) -> None:
        self._reserved_blocks -= self._whole_blocks(s)
        super()._free(s, tokens)
