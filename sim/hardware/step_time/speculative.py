"""Speculative decoding, on average: a draft model proposes tokens, and one step of the model verifies them all.

With k drafted tokens, each accepted with probability a, a verification step yields E = (1 - a^(k+1)) / (1 - a) tokens
of every sequence on average. It computes k + 1 tokens of every sequence, after k draft steps, each of which takes
`draft_cost_fraction` of a plain decode step (Leviathan, Kalman and Matias 2023, eq. 1 and theorem 3.8).

The replica still counts steps of one token per sequence; each takes 1/E of a verification step. A step with prefill
takes in addition what the prefill adds to a verification step. Over many steps, mean tokens and seconds are exact.

Limits: within one verification step, times are approximate. A prompt joins at the next token instead of the next
verification, so its first token may come early by up to two verification steps (three with asynchronous scheduling),
and every sequence progresses at the mean. Acceptance does not depend on the text. Weights and KV cache of the draft
model take no memory; add their size to `activation_reserve_gb`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.hardware.speculation import Speculation
from sim.hardware.step_time.protocol import Chunk, SharedTime, StepTime


class SpeculativeStepTime:
    """Seconds per token of every sequence under speculative decoding.

    `verifying` is the step time of a step that computes k + 1 tokens of every sequence, `plain` that of one token. The
    result breaks one law of `StepTime`: a step with prefill may take less time with one decoding sequence than with
    none, because prefill then shares the fixed costs of a decode step instead of paying for its own.
    """

    def __init__(self, plain: StepTime, verifying: StepTime, speculation: Speculation):
        self._plain, self._verifying = plain, verifying
        self._verifications_per_token = 1 / speculation.tokens_per_step
        self._draft_cost_fraction = speculation.draft_cost_fraction
        self._drafts_cost_fraction = speculation.draft_tokens * speculation.draft_cost_fraction
        drafts_context_s = self._drafts_cost_fraction * plain.context_s
        self.context_s = self._verifications_per_token * (verifying.context_s + drafts_context_s)

    def decode_s(self, n_sequences: int) -> float:
        """One token of each of `n_sequences`, at zero context."""
        drafts_s = self._drafts_cost_fraction * self._plain.decode_s(n_sequences)
        return self._verifications_per_token * (self._verifying.decode_s(n_sequences) + drafts_s)

    def step_s(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        """A mixed step (see `StepTime.step_s`). The draft model prefills the same chunks as the model."""
        decode_s = self.decode_s(n_decode) + self.context_s * context_tokens
        if not chunks:
            return decode_s
        return (decode_s if n_decode else 0.0) + sum(
            weight * (step.step_s(n_decode, context_tokens, chunks) - _decode_alone_s(step, n_decode, context_tokens))
            for step, weight in ((self._verifying, 1.0), (self._plain, self._draft_cost_fraction))
        )


def speculative_shared(plain: SharedTime, verifying: SharedTime, speculation: Speculation) -> SharedTime:
    """What attention ranks compute together under speculative decoding, by the arithmetic of `SpeculativeStepTime`."""
    per_token, draft_cost_fraction = 1 / speculation.tokens_per_step, speculation.draft_cost_fraction

    def shared_s(n_decode: int, prompt_tokens: int) -> float:
        verifying_s, plain_s = verifying(n_decode, 0), plain(n_decode, 0)
        decode_s = per_token * (verifying_s + speculation.draft_tokens * draft_cost_fraction * plain_s)
        if not prompt_tokens:
            return decode_s
        prompt_s = verifying(n_decode, prompt_tokens) - verifying_s
        return decode_s + prompt_s + draft_cost_fraction * (plain(n_decode, prompt_tokens) - plain_s)

    return shared_s


def _decode_alone_s(step: StepTime, n_decode: int, context_tokens: float) -> float:
    """The same step without prefill; 0 without a decoding sequence, since then there would be no step."""
    return step.decode_s(n_decode) + step.context_s * context_tokens if n_decode else 0.0
