"""Which prompts go on from earlier ones, by the blocks of a log whose calls are no sessions."""

from __future__ import annotations

import numpy as np

from sim.workload.description.calls import Calls
from sim.workload.fitting.sessions import spread_of
from sim.workload.tasks.continued_calls import ContinuedCalls, Continuing
from sim.workload.tasks.single_call import SingleCall

_ROWS, _LEAST_IN_ROW = 10, 50
_STEPS = 20
_LITTLE = 0.01
"""Fraction of all prompt tokens in common with earlier prompts that is not worth a kind of its own."""


def fitted_continuations(calls: Calls, common_tokens: int) -> SingleCall | ContinuedCalls:
    """Single calls that begin with `common_tokens` of common text, and go on from earlier ones as those of the log.

    How often a prompt goes on, and how much of it is old, are taken by ten equal parts of the prompts in order of
    length; the calls since the old text was last in a prompt, over all.
    """
    log = calls.log
    if log.block_tokens is None:
        return SingleCall(shared_prefix_tokens=common_tokens)
    old_tokens, lags = _old(calls, common_tokens // log.block_tokens)
    goes_on, inputs = lags > 0, calls.input_tokens
    if old_tokens.sum() < _LITTLE * inputs.sum():
        return SingleCall(shared_prefix_tokens=common_tokens)
    shares = np.minimum(old_tokens / np.maximum(inputs - common_tokens, 1), 1.0)
    parts = np.array_split(np.sort(inputs), int(np.clip(len(calls) // _LEAST_IN_ROW, 1, _ROWS)))
    edges = np.unique([part[0] for part in parts])
    row_of, rows = np.searchsorted(edges, inputs, side="right") - 1, []
    for number, edge in enumerate(edges.tolist()):
        of_row = row_of == number
        old = shares[of_row & goes_on]
        common = spread_of(old if len(old) else np.ones(1), 0.0, _STEPS)
        fraction = round(float(goes_on[of_row].mean()), 4)
        rows.append(Continuing(from_input_tokens=edge if number else 0, fraction=fraction, common_fraction=common))
    return ContinuedCalls(
        shared_prefix_tokens=common_tokens, piece_tokens=log.block_tokens, lag_calls=spread_of(lags[goes_on], 1.0),
        continuing=tuple(rows),
    )  # fmt: skip


def _old(calls: Calls, common_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """(tokens after the common ones that were in earlier prompts, calls since the last of these), int64[n]; 0: none."""
    log, n = calls.log, len(calls)
    assert log.hash_ids is not None and log.hash_offsets is not None and log.block_tokens is not None
    last_in: dict[int, int] = {}
    blocks, lags = np.zeros(n, np.int64), np.zeros(n, np.int64)
    begins, ends = log.hash_offsets[calls.rows].tolist(), log.hash_offsets[calls.rows + 1].tolist()
    for call, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        ids = log.hash_ids[begin:end].tolist()
        known = next((place for place, block in enumerate(ids) if block not in last_in), len(ids))
        if known > common_blocks:
            blocks[call], lags[call] = known - common_blocks, call - last_in[ids[known - 1]]
        last_in.update(dict.fromkeys(ids, call))
    tokens = np.minimum(blocks * log.block_tokens, calls.input_tokens - common_blocks * log.block_tokens)
    return np.maximum(tokens, 0), lags
