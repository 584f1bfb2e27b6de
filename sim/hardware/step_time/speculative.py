"""Speculative decoding, on average: a draft proposes tokens, and one step of the model verifies them all.

With k drafted tokens, each accepted with probability a, a verification step yields E = (1 - a^(k+1)) / (1 - a) tokens
of every sequence on average, computes k + 1, and follows k steps of the draft, each `draft_cost_fraction` as long as a
plain decode step (Leviathan, Kalman and Matias 2023, eq. 1 and theorem 3.8).

The engine goes on counting steps of one token, and each takes 1/E of a verification step. A step that prefills beside
takes besides what the prefill adds to a verification. Over many steps this is exact in the mean: tokens, seconds and
the work of prefill. Within one it is not: a prompt joins at the next token instead of the next verification, so its
first token may come early by up to two verification steps (three with asynchronous scheduling); and all sequences
progress at the mean. Acceptance does not depend on the text. The draft's weights and KV take no memory: raise
`activation_reserve_gb` by them.
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.hardware.speculation import Speculation
from sim.hardware.step_time.protocol import Chunk, StepTime


class SpeculativeStepTime:
    """The step time per token of each sequence. `verifying` computes k + 1 tokens of each in a step, `plain` one.

    Not monotone where the first sequence begins to decode beside a prefill: from then on the prefill shares a step.
    """

    def __init__(self, plain: StepTime, verifying: StepTime, speculation: Speculation):
        self._plain, self._verifying = plain, verifying
        self._share = 1 / speculation.tokens_per_step
        self._prefill = speculation.draft_cost_fraction
        self._drafts = speculation.draft_tokens * speculation.draft_cost_fraction
        self.context_s = self._share * (verifying.context_s + self._drafts * plain.context_s)

    def decode_s(self, n_sequences: int) -> float:
        """One token of each of `n_sequences`, at zero context."""
        return self._share * (self._verifying.decode_s(n_sequences) + self._drafts * self._plain.decode_s(n_sequences))

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        """A mixed step (see `StepTime.step_s`); the draft reads the prompts, too."""
        decode_s = self.decode_s(n_decode) + self.context_s * context_tokens
        if not chunks:
            return decode_s
        return (decode_s if n_decode else 0.0) + sum(
            weight * (step.step_s(n_decode, context_tokens, chunks) - _decode_alone_s(step, n_decode, context_tokens))
            for step, weight in ((self._verifying, 1.0), (self._plain, self._prefill))
        )


def _decode_alone_s(step: StepTime, n_decode: int, context_tokens: float) -> float:
    return step.decode_s(n_decode) + step.context_s * context_tokens if n_decode else 0.0
