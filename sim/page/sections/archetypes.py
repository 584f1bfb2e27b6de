"""Public logs that traffic can be like, and the one that a card is nearest to.

The figures of each log are those that `describe` prints of it. Sources: Azure, github Azure/AzurePublicDataset (Patel
et al., Splitwise, ISCA 2024), CC-BY 4.0; Mooncake, github kvcache-ai/Mooncake, FAST25-release (Qin et al., FAST 2025),
Apache-2.0; Claude Code, github callanjfox/kv-cache-tester, 80 of its sessions, Apache-2.0. The last has no times of
arrival, so its dispersion is not known.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sim.workload.description.card import Card

SCALES_S = (1.0, 10.0, 60.0, 600.0)


class Archetype(NamedTuple):
    """A public log: median tokens, calls per session (1: it has no sessions), dispersion at SCALES_S."""

    name: str
    input_p50_tokens: float
    output_p50_tokens: float
    calls_per_session: float
    dispersion: tuple[float | None, ...]


ARCHETYPES = (
    Archetype("a chat service (Azure, conversation, an hour of 2023)", 1020, 129, 1, (1.39, 3.87, 16.4, 100)),
    Archetype("code completion (Azure, code, an hour of 2023)", 1469, 13, 1, (13.2, 71.9, 167, 243)),
    Archetype("chat with long contexts (Mooncake, Kimi, an hour of 2024)", 6909, 350, 1, (1.05, 1.51, 2.91, 15.9)),
    Archetype("questions on documents (Mooncake, synthetic)", 11587, 69, 1, (1.09, 1.19, 1.27, None)),
    Archetype("a coding agent (Claude Code, 80 sessions)", 58134, 216, 32.9, (None, None, None, None)),
)


def of_card(card: Card) -> Archetype:
    """The same figures of a card."""
    index = {found.window_s: found.index for found in card.dispersion}
    calls = 1.0 if card.sessions is None else card.sessions.calls_per_session.mean
    return Archetype(
        "this log", card.lengths.input.percentiles[50.0], card.lengths.output.percentiles[50.0], calls,
        tuple(index.get(scale) for scale in SCALES_S),
    )  # fmt: skip


def nearest(card: Card) -> Archetype:
    """The archetype whose figures differ by the smallest factors: the mean of |log(ratio)| over those known of both."""
    own = of_card(card)
    return min(ARCHETYPES, key=lambda other: _distance(own, other))


def _distance(a: Archetype, b: Archetype) -> float:
    pairs = [
        (a.input_p50_tokens, b.input_p50_tokens), (a.output_p50_tokens, b.output_p50_tokens),
        (a.calls_per_session, b.calls_per_session), *zip(a.dispersion, b.dispersion, strict=True),
    ]  # fmt: skip
    factors = [abs(math.log(x / y)) for x, y in pairs if x and y]
    return sum(factors) / len(factors)
