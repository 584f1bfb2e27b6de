"""The scheduler of a decode replica under disaggregation: prompts arrive computed elsewhere, with their first token.

As in vLLM's disaggregated prefill, an arriving sequence gets KV blocks for its whole prompt, and its first step
computes the token that it arrived with. A sequence that is preempted here has its prompt computed again here.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from mypy_extensions import mypyc_attr

from sim.engine.scheduler import Scheduler
from sim.engine.sequence import Sequence
from sim.hardware.step_time.protocol import Chunk


@mypyc_attr(allow_interpreted_subclasses=True)
class DecodeScheduler(Scheduler):
    """The scheduler of a replica that decodes what other replicas have prefilled. It caches no prefixes."""

    def _admit(self, sequence: Sequence, budget: int, chunks: list[Chunk]) -> int:
        """Take KV blocks for the prompt, which is computed already, and schedule its first token."""
        request, size = sequence.request, self._block_tokens
        if request.decode_admitted_s is None:
            past = request.input_tokens
            if -(-(past + 1) // size) > self.memory.available_blocks:
                return 0
            self.memory.available_blocks -= -(-past // size)
            sequence.computed_tokens = past
            sequence.prompt_tokens, sequence.left_tokens = past + 1, sequence.left_tokens - 1
            sequence.last_token_s = request.first_token_s
            return self._compute(sequence, budget, chunks)
        return super()._admit(sequence, budget, chunks)

    def _stamp_return(self, sequence: Sequence, cached_tokens: int, now: float) -> None:
        """Stamp the first admission here, which follows that on the prefill replica, or a return after preemption."""
        request = sequence.request
        if request.decode_admitted_s is None:
            request.decode_admitted_s = now
            assert request.first_token_s is not None
            request.preempted_s += now - request.first_token_s
        else:
            super()._stamp_return(sequence, cached_tokens, now)
