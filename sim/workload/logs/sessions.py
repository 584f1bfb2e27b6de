"""Sessions: which calls wait for one another, how long, and which were under way at the same time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

_SLACK_S = 1e-3
"""Clocks of logs are rounded: a call that begins this much before the end of another is taken to follow it."""


class Chains(NamedTuple):
    """Calls as tasks. `task_ids` are numbered in order of each task's first call; of a task's first call, `wait_s` and
    `least_gap_s` are 0. `wait_s` lies between the end of the call before and this one; `least_gap_s` between their
    starts, at least."""

    task_ids: np.ndarray
    wait_s: np.ndarray
    least_gap_s: np.ndarray | None
    n_sessions: int
    n_calls: int  # in sessions
    n_siblings: int
    gap_kinds: tuple[str, ...]


def parents(ids: np.ndarray, above: np.ndarray) -> np.ndarray:
    """The row of each call's parent, int64[n]; -1 where it has none or the log does not hold it.

    `ids` and `above`, the parents' ids, are uint64[n]; 0 stands for no id.
    """
    row_of = pd.Series(np.arange(len(ids)), index=ids)
    row_of = row_of[~row_of.index.duplicated()]
    found = row_of.reindex(above).to_numpy(dtype=float, copy=True)
    found[above == 0] = np.nan
    return np.where(np.isnan(found), -1, found).astype(np.int64)


def roots(ids: np.ndarray, above: np.ndarray) -> np.ndarray:
    """The row of the first call of each call's conversation, int64[n]; arguments as of `parents`.

    >>> roots(np.array([7, 8, 9]), np.array([0, 0, 7])).tolist()
    [0, 1, 0]
    """
    return _heads(parents(ids, above))


def _heads(previous: np.ndarray) -> np.ndarray:
    """The first row of the chain that each row is in, by the row before each; -1 for none."""
    head = np.where(previous >= 0, previous, np.arange(len(previous)))
    for _ in range(64):  # each round doubles the distance
        further = head[head]
        if (further == head).all():
            break
        head = further
    return head


def chains(
    session: np.ndarray,
    arrived_s: np.ndarray,
    ended_s: np.ndarray | None,
    context_tokens: tuple[np.ndarray, np.ndarray],
    wait_s: np.ndarray | None,
    wait_after_s: np.ndarray | None,
    gaps: str,
    parent_of: np.ndarray | None = None,
) -> Chains:
    """Chain the calls of each session (0: a call on its own), which come in order of time.

    A call that begins while another of its session is under way does not wait for it: they are siblings, and each
    begins a task. Where only starts are known, every call waits for the one before; with `parent_of` (rows), for that
    one, and of several calls that go on from one, the first is its next and the others begin tasks.
    """
    n = len(session)
    alone = session == 0
    codes = np.where(alone, 0, session)
    numbers, _ = pd.factorize(codes)
    numbers = np.where(alone, n + np.arange(n), numbers)
    order = np.argsort(numbers, kind="stable")
    ranked = numbers[order]
    follows = np.concatenate(([False], ranked[1:] == ranked[:-1]))
    previous = np.full(n, -1)
    previous[order[1:]] = np.where(follows[1:], order[:-1], -1)
    n_siblings = 0
    if parent_of is not None:
        previous = parent_of.copy()
        later = np.flatnonzero(previous >= 0)
        branches = np.setdiff1d(later, later[np.unique(previous[later], return_index=True)[1]])
        previous[branches] = -1
        n_siblings = len(branches)
    elif ended_s is not None:
        n_siblings = _part_siblings(order, follows, previous, arrived_s, ended_s, context_tokens)
    wait, least, kinds = waits_of(previous, arrived_s, ended_s, wait_s, wait_after_s, gaps)
    n_sessions = len(np.unique(session[~alone]))
    return Chains(_tasks(previous), wait, least, n_sessions, int((~alone).sum()), n_siblings, kinds)


def _part_siblings(order, follows, previous, arrived_s, ended_s, context_tokens) -> int:
    """Rewrite `previous`, in place, for sessions in which a call begins before an earlier one has ended."""
    ends = np.where(np.isnan(ended_s), -np.inf, ended_s)[order]
    session_of = np.cumsum(~follows)
    latest = pd.Series(ends).groupby(session_of).cummax().to_numpy()
    overlap = follows.copy()
    overlap[1:] &= arrived_s[order[1:]] < latest[:-1] - _SLACK_S
    if not overlap.any():
        return 0
    n_siblings = 0
    begins = np.flatnonzero(~follows)
    bounds = np.append(begins, len(order))
    for s in np.unique(session_of[overlap]) - 1:
        tails: list[int] = []
        for row in order[bounds[s] : bounds[s + 1]].tolist():
            i = _tail_for(row, tails, arrived_s, ended_s, context_tokens)
            if i is None:
                n_siblings += bool(tails)
                previous[row] = -1
                tails.append(row)
            else:
                previous[row], tails[i] = tails[i], row
    return n_siblings


def _tail_for(row: int, tails: list[int], arrived_s, ended_s, context_tokens) -> int | None:
    """The index in `tails` of the call that `row` continues; None if all of them are still under way.

    Of the calls that have ended by then it is the one with the longest context that the prompt can hold, else the one
    that ended last.
    """
    inputs, outputs = context_tokens
    best, best_key = None, None
    for i, tail in enumerate(tails):
        if not np.isnan(ended_s[tail]) and ended_s[tail] > arrived_s[row] + _SLACK_S:
            continue
        size = int(inputs[tail] + outputs[tail])
        holds = size <= inputs[row]
        key = (holds, size if holds else 0, -1.0 if np.isnan(ended_s[tail]) else ended_s[tail])
        if best_key is None or key > best_key:
            best, best_key = i, key
    return best


def waits_of(previous, arrived_s, ended_s, wait_s, wait_after_s, gaps):
    """(wait_s, least_gap_s or None, kinds of gaps found) of calls, by the row of the call before each; -1: none."""
    n, follows = len(previous), previous >= 0
    before = np.maximum(previous, 0)
    wait, least, kinds = np.zeros(n), np.zeros(n), []
    open_rows = follows.copy()
    recorded = wait_s
    if wait_after_s is not None:
        after = np.where(follows, wait_after_s[before], np.nan)
        recorded = after if recorded is None else np.where(np.isnan(recorded), after, recorded)
    if recorded is not None:
        known = open_rows & ~np.isnan(recorded)
        wait[known] = recorded[known]
        open_rows &= ~known
        kinds += ["recorded waits"] if known.any() else []
    if ended_s is not None:
        known = open_rows & ~np.isnan(ended_s[before])
        wait[known] = np.maximum(arrived_s - ended_s[before], 0.0)[known]
        open_rows &= ~known
        kinds += ["from end to start"] if known.any() else []
    gap = arrived_s - arrived_s[before]
    if open_rows.any():
        (wait if gaps == "end_to_start" else least)[open_rows] = gap[open_rows]
        kinds.append("taken as waits" if gaps == "end_to_start" else "from start to start")
    return wait, (least if least.any() else None), tuple(kinds)


def _tasks(previous: np.ndarray) -> np.ndarray:
    """The task of each call, numbered in order of their first calls: rows are in order of time, so heads are too."""
    return np.unique(_heads(previous), return_inverse=True)[1].astype(np.int64)


def whole_prompts(task_ids: np.ndarray, input_tokens: np.ndarray, output_tokens: np.ndarray) -> np.ndarray:
    """Whole prompts from inputs that count only the tokens added to a conversation, int64[n] tokens.

    A prompt holds all inputs and outputs of its task up to its own input. `task_ids`, `input_tokens` and
    `output_tokens` are int64[n], one entry per call; the calls of a task stand in order of time.
    """
    order = np.argsort(task_ids, kind="stable")
    both = (input_tokens + output_tokens)[order]
    total = np.cumsum(both)
    first = np.concatenate(([True], np.diff(task_ids[order]) != 0))
    base = np.maximum.accumulate(np.where(first, total - both, 0))
    whole = np.empty_like(input_tokens)
    whole[order] = total - base - output_tokens[order]
    return whole
