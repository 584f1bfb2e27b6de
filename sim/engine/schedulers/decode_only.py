"""A scheduler that goes on where another replica has left off: prompts arrive computed, with their first token.

As in vLLM's disaggregated prefill, an arriving sequence gets blocks for its whole prompt, and its first step computes
the token it came with. If it is preempted, its prompt is computed here.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from mypy_extensions import mypyc_attr

from sim.engine.scheduler import Scheduler
from sim.engine.sequence import Sequence
from sim.hardware.step_time.protocol import Chunk


@mypyc_attr(allow_interpreted_subclasses=True)
class DecodeScheduler(Scheduler):
    """The scheduler of a replica that decodes what others have prefilled. It caches no prefixes."""

    def _admit(self, s: Sequence, budget: int, chunks: list[Chunk]) -> int:
        request, size = s.request, self._block_tokens
        if request.decode_admitted_s is None:
            past = request.input_tokens
            if -(-(past + 1) // size) > self.memory.available_blocks:
                return 0
            self.memory.available_blocks -= -(-past // size)
            s.computed_tokens = past
            s.prompt_tokens, s.left_tokens = past + 1, request.output_tokens - 1
        return self._compute(s, budget, chunks)

    def _stamp_return(self, s: Sequence, cached_tokens: int, now: float) -> None:
        request = s.request
        if request.decode_admitted_s is None:
            request.decode_admitted_s = now
            assert request.first_token_s is not None
            request.preempted_s += now - request.first_token_s
        else:
            super()._stamp_return(s, cached_tokens, now)
