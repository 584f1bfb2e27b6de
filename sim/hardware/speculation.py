"""Speculation: what is drafted and how much of it is accepted (Leviathan, Kalman and Matias 2023, eq. 1)."""

from __future__ import annotations

from pydantic import Field

from sim.schema import Config


class Speculation(Config):
    """What is drafted, how much of it is accepted and what it costs."""

    draft_tokens: int = Field(ge=1, le=64, description="tokens drafted per step")
    acceptance_rate: float = Field(ge=0, le=1, description="chance that a drafted token is what the model would say")
    draft_cost_fraction: float = Field(0.0, ge=0, description="a draft step against a plain decode step; 0: n-grams")

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens that a verification step yields.

        >>> Speculation(draft_tokens=3, acceptance_rate=0.5).tokens_per_step
        1.875
        """
        a, k = self.acceptance_rate, self.draft_tokens
        return sum(a**i for i in range(k + 1))
