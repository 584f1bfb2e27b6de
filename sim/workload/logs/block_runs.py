"""Runs of prefix blocks: neighbours that no prompt of a log has apart are one stream of tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class BlockRuns(NamedTuple):
    """The blocks of all prompts, end to end, in runs: a prompt that has one block of a run has all of them, in order.

    A run is named by its first block, so that the names of a log's runs are as distinct as those of its blocks.
    """

    ids: np.ndarray  # int64[k], the first block of each run
    ends: np.ndarray  # int64[k], blocks of the prompt up to the end of the run
    offsets: np.ndarray  # int64[n + 1], row i owns the runs [offsets[i]:offsets[i + 1]]


def runs_of(ids: np.ndarray, offsets: np.ndarray) -> BlockRuns:
    """The runs of the blocks `ids`, int64[m], numbered from 0, of which row i has [offsets[i]:offsets[i + 1]].

    A block goes on from the one before if neither of them ever occurs without the other.
    """
    counts, n_rows = np.diff(offsets), len(offsets) - 1
    before = np.concatenate(([-1], ids))[: len(ids)]
    before[offsets[:-1][counts > 0]] = -1  # The first block of a prompt follows none.
    times = np.bincount(ids, minlength=1)
    any_before = np.full(len(times), -1)
    any_before[ids] = before
    steady = np.ones(len(times), bool)
    steady[ids[before != any_before[ids]]] = False
    goes_on = steady & (any_before >= 0)
    goes_on &= times[any_before] == times
    begins = np.flatnonzero(~goes_on[ids])
    row_of = np.repeat(np.arange(n_rows), counts)
    run_offsets = np.concatenate(([0], np.cumsum(np.bincount(row_of[begins], minlength=n_rows))))
    run_ends = np.concatenate((begins[1:], [len(ids)])) - offsets[row_of[begins]]
    return BlockRuns(ids[begins], run_ends, run_offsets)
