"""Token lengths of calls: quantiles, spikes, and how input and output go together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PERCENTILES = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
_MOST_RANKED = 1_000_000
_LEAST_SPIKE = 0.02


@dataclass(frozen=True)
class Quantity:
    """A number that varies: its mean, spread and percentiles (by percent, such as 99)."""

    n: int
    mean: float
    cv: float
    least: float
    most: float
    percentiles: dict[float, float]


@dataclass(frozen=True)
class Spike:
    """A single value that at least 2 % of the calls have, e.g. a context limit or a constant prompt."""

    tokens: int
    fraction: float


@dataclass(frozen=True)
class Lengths:
    """Input and output tokens of calls, alone and together. `cells[i][j]`: fraction of the calls whose input lies in
    quarter i and whose output lies in quarter j; 1/16 everywhere if they were independent."""

    input: Quantity
    output: Quantity
    input_spikes: tuple[Spike, ...]
    output_spikes: tuple[Spike, ...]
    rank_correlation: float | None  # Spearman's; None where one of them is constant
    cells: tuple[tuple[float, ...], ...]
    output_by_input: tuple[tuple[float, float, float], ...]  # by tenth of the input: its upper end, output p50, p90


def quantity(values: np.ndarray) -> Quantity:
    """The quantity that some values show, at least one."""
    mean = float(values.mean())
    found = np.percentile(values, PERCENTILES)
    return Quantity(
        len(values), mean, float(values.std() / mean) if mean else 0.0, float(values.min()), float(values.max()),
        {p: float(v) for p, v in zip(PERCENTILES, found, strict=True)},
    )  # fmt: skip


def lengths_of(input_tokens: np.ndarray, output_tokens: np.ndarray) -> Lengths:
    """Of calls; ranks and cells of every k-th call where there are more than a million."""
    step = -(-len(input_tokens) // _MOST_RANKED)
    first, second = input_tokens[::step], output_tokens[::step]
    ranks = [_ranks(values) for values in (first, second)]
    constant = any(rank.std() == 0 for rank in ranks)
    correlation = None if constant else float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    quarters = [np.minimum((4 * rank).astype(np.int64), 3) for rank in ranks]
    cells = np.bincount(4 * quarters[0] + quarters[1], minlength=16).reshape(4, 4) / len(first)
    return Lengths(
        quantity(input_tokens), quantity(output_tokens), _spikes(input_tokens), _spikes(output_tokens), correlation,
        tuple(map(tuple, cells.tolist())), _by_tenths(first, second, ranks[0]),
    )  # fmt: skip


def _ranks(values: np.ndarray) -> np.ndarray:
    """float64[n] in (0, 1): equal values have the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2 - 0.5)[place] / len(values)


def _spikes(tokens: np.ndarray) -> tuple[Spike, ...]:
    values, counts = np.unique(tokens, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:3]
    return tuple(
        Spike(int(values[i]), float(counts[i] / len(tokens)))
        for i in largest.tolist()
        if counts[i] >= max(_LEAST_SPIKE * len(tokens), 2)
    )


def _by_tenths(first: np.ndarray, second: np.ndarray, ranks: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    tenth = np.minimum((10 * ranks).astype(np.int64), 9)
    found = []
    for part in range(10):
        rows = tenth == part
        if rows.any():
            median, high = np.percentile(second[rows], (50, 90)).tolist()
            found.append((float(first[rows].max()), median, high))
    return tuple(found)
