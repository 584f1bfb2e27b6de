"""Prices per million tokens, which may depend on the length of the prompt."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, field_validator

from sim.ledger.lines import API_CACHE_WRITE, API_CACHED_INPUT, API_INPUT, API_OUTPUT, Usd
from sim.ledger.usage_tables import CONTEXT_EDGES_TOKENS
from sim.schema import Config


class Rates(Config):
    """USD per million tokens by class. Input not read from the prompt cache is plain input, or a cache write if those
    have a price."""

    usd_per_mtok_input: Usd
    usd_per_mtok_output: Usd
    usd_per_mtok_cached_input: Usd | None = Field(None, description="null: cached tokens cost as much as input")
    usd_per_mtok_cache_write: Usd | None = Field(
        None,
        description="for input written to the cache, that is all input not read from it; null: as much as input",
    )

    def items(self, total: Mapping[str, int]) -> list[tuple[str, int, float]]:
        """(item, tokens, USD per million tokens) of the input, cached, written and output tokens in `total`, whose
        keys are the columns of a Usage's `api`."""
        cached, written = total["cached_input_tokens"], total["cache_write_tokens"]
        plain = self.usd_per_mtok_input
        read = plain if self.usd_per_mtok_cached_input is None else self.usd_per_mtok_cached_input
        write_items = []
        if self.usd_per_mtok_cache_write is not None:
            write_items = [(API_CACHE_WRITE, written, self.usd_per_mtok_cache_write)]
        uncached = total["input_tokens"] - cached - (written if write_items else 0)
        return [
            (API_INPUT, uncached, plain),
            (API_CACHED_INPUT, cached, read),
            *write_items,
            (API_OUTPUT, total["output_tokens"], self.usd_per_mtok_output),
        ]


class ContextTier(Rates):
    """Rates for every token of a request whose prompt is longer than `above_input_tokens`."""

    above_input_tokens: int = Field(description="length of the prompt, with its cached tokens")

    @field_validator("above_input_tokens")
    @classmethod
    def _is_kept_apart(cls, tokens: int) -> int:
        if tokens not in CONTEXT_EDGES_TOKENS:
            edges = ", ".join(map(str, CONTEXT_EDGES_TOKENS))
            raise ValueError(f"must be one of {edges}: a run records its token sums by these lengths only")
        return tokens


class TokenRates(Rates):
    """All prices of one model: per token, per request, and for long prompts."""

    usd_per_request: Usd = Field(0.0, description="charged for each request, besides its tokens")
    context_tiers: tuple[ContextTier, ...] = Field(
        (), description="rates of long prompts; the highest tier passed counts"
    )

    def at(self, context_over_tokens: int) -> Rates:
        """The rates of prompts longer than `context_over_tokens`: those of the highest tier at or below it."""
        passed = [tier for tier in self.context_tiers if tier.above_input_tokens <= context_over_tokens]
        return max(passed, key=lambda tier: tier.above_input_tokens, default=self)
