"""Prices of tokens, also by length of the prompt."""

from __future__ import annotations

import numpy as np
from pydantic import Field, field_validator

from sim.ledger.lines import API_CACHE_WRITE, API_CACHED_INPUT, API_INPUT, API_OUTPUT, Usd
from sim.ledger.usage import CONTEXT_EDGES_TOKENS
from sim.schema import Config


class Rates(Config):
    """Prices of tokens. What the prompt cache did not give is input, or a cache write where writes have a price."""

    usd_per_mtok_input: Usd
    usd_per_mtok_output: Usd
    usd_per_mtok_cached_input: Usd | None = Field(None, description="None: cached tokens cost what input costs")
    usd_per_mtok_cache_write: Usd | None = Field(
        None,
        description="for what is written to the cache: all input not read from it; None: it costs what input costs",
    )

    def items(self, api: dict[str, np.ndarray]) -> list[tuple[str, int, float]]:
        """(item, tokens, USD per Mtok) of these rows of a Usage's `api`."""
        total = {name: int(api[name].sum()) for name in api}
        cached, written = total["cached_input_tokens"], total["cache_write_tokens"]
        plain = self.usd_per_mtok_input
        read = plain if self.usd_per_mtok_cached_input is None else self.usd_per_mtok_cached_input
        wrote = []
        if self.usd_per_mtok_cache_write is not None:
            wrote = [(API_CACHE_WRITE, written, self.usd_per_mtok_cache_write)]
        uncached = total["input_tokens"] - cached - (written if wrote else 0)
        return [
            (API_INPUT, uncached, plain),
            (API_CACHED_INPUT, cached, read),
            *wrote,
            (API_OUTPUT, total["output_tokens"], self.usd_per_mtok_output),
        ]


class ContextTier(Rates):
    """Other rates for every token of a request whose prompt is longer than this."""

    above_input_tokens: int = Field(description="cached tokens included")

    @field_validator("above_input_tokens")
    @classmethod
    def _is_kept_apart(cls, tokens: int) -> int:
        if tokens not in CONTEXT_EDGES_TOKENS:
            raise ValueError(f"must be one of {', '.join(map(str, CONTEXT_EDGES_TOKENS))}: runs keep sums apart there")
        return tokens


class TokenRates(Rates):
    """Prices of one model's tokens."""

    usd_per_request: Usd = 0.0
    context_tiers: tuple[ContextTier, ...] = ()

    def at(self, context_over_tokens: int) -> Rates:
        """The rates of prompts longer than `context_over_tokens`, by the highest tier that this passes."""
        passed = [tier for tier in self.context_tiers if tier.above_input_tokens <= context_over_tokens]
        return max(passed, key=lambda tier: tier.above_input_tokens, default=self)
