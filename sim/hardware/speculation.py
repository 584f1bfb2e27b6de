"""Speculation: the options of speculative decoding (Leviathan, Kalman and Matias 2023)."""

from __future__ import annotations

from pydantic import Field

from sim.schema import Config


class Speculation(Config):
    """How many tokens are drafted per step, how many of them are accepted, and how long drafting takes."""

    draft_tokens: int = Field(ge=1, le=64, description="tokens drafted per step")
    acceptance_rate: float = Field(ge=0, le=1, description="probability that the model accepts a drafted token")
    draft_cost_fraction: float = Field(
        0.0, ge=0, description="duration of one draft step over that of a plain decode step; 0: n-gram drafts"
    )

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens of one sequence that a verification step yields: 1 + a + ... + a^k (eq. 1 there).

        a: acceptance_rate, k: draft_tokens.

        >>> Speculation(draft_tokens=3, acceptance_rate=0.5).tokens_per_step
        1.875
        """
        return sum(self.acceptance_rate**accepted for accepted in range(self.draft_tokens + 1))
