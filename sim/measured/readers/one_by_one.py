"""Files that state each request of a run: their figures, and the load, from when requests began and ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sim.measured.points import AT_ONCE, NO_STEADY_STATE, Figures, Load, Point, ServerFacts, keeps_up, mean

_FULL = 0.95
"""Of the most requests ever inside, on average: then these are clients, each of which sends when it is answered."""
_CONSTANT_CV, _LEAST_GAPS = 0.2, 20
_DEVIATIONS = 3.0
"""Of the coefficient of variation of n exponential gaps, each 1 / sqrt(n): nearer to 1 are Poisson arrivals."""


class OneRequest(NamedTuple):
    """A request that was answered. Times are in seconds from any moment."""

    began_s: float
    ttft_s: float
    ended_s: float
    input_tokens: int
    output_tokens: int

    @property
    def tpot_s(self) -> float | None:
        """None where the answer came in one piece."""
        further_s = self.ended_s - self.began_s - self.ttft_s
        return further_s / (self.output_tokens - 1) if self.output_tokens > 1 and further_s > 0 else None


def point_of(place: str, path: str, requests: Sequence[OneRequest], facts: ServerFacts) -> Point | str:
    """The operating point of one run's requests, in any order; or why it is none."""
    if not requests:
        return "left out, no request succeeded"
    load = _load(requests)
    if load is None:
        return AT_ONCE
    span_s = max(r.ended_s for r in requests) - min(r.began_s for r in requests)
    point = figures_of(place, path, requests, load, facts, sum(r.output_tokens for r in requests) / span_s)
    if load.rate_per_s:
        decode_s = (point.output_tokens - 1) * (point.measured.tpot_s or 0.0)
        if not keeps_up(len(requests), load.rate_per_s, span_s, decode_s):
            return NO_STEADY_STATE
    return point


def figures_of(
    place: str, path: str, requests: Sequence[OneRequest], load: Load, facts: ServerFacts, tokens_per_s: float | None
) -> Point:
    """The operating point of requests under a known load."""
    tpots = [tpot_s for r in requests if (tpot_s := r.tpot_s) is not None]
    measured = Figures(mean([r.ttft_s for r in requests]), mean(tpots) if tpots else None, tokens_per_s)
    lengths = tuple((r.input_tokens, r.output_tokens) for r in requests)
    input_tokens, output_tokens = (mean([pair[side] for pair in lengths]) for side in (0, 1))
    return Point(
        place, path, input_tokens, output_tokens, measured, *load, requests=len(requests), lengths=lengths, facts=facts
    )  # fmt: skip


def _load(requests: Sequence[OneRequest]) -> Load | None:
    """Clients where there were always as many requests inside, else a rate with its gaps; None: all came at once."""
    began = np.sort([r.began_s for r in requests])
    ended = np.sort([r.ended_s for r in requests])
    moments = np.unique(np.concatenate((began, ended)))
    inside = np.searchsorted(began, moments, side="right") - np.searchsorted(ended, moments, side="right")
    last_began = began[-1]
    while_sending = moments[:-1] < last_began
    lengths_s = np.diff(moments)[while_sending]
    if not len(lengths_s) or inside.max() == len(requests):
        return Load(1) if len(requests) == 1 else None
    most = int(inside.max())
    if lengths_s @ inside[:-1][while_sending] / lengths_s.sum() >= _FULL * most:
        return Load(most)
    gaps_s = np.diff(began)
    cv = float(gaps_s.std() / gaps_s.mean()) if len(gaps_s) >= _LEAST_GAPS else 1.0
    is_poisson = abs(cv - 1) <= _DEVIATIONS / len(gaps_s) ** 0.5
    shape = 1.0 if is_poisson else None if cv < _CONSTANT_CV else round(1 / cv**2, 3)
    return Load(rate_per_s=float(1 / gaps_s.mean()), burstiness=shape)
