"""Logs in which a call names the calls that it waits for: sub-agents that work at once, and what joins them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from sim.workload.logs.sessions import Chains, waits_of
from sim.workload.logs.values import hashed

if TYPE_CHECKING:
    from sim.workload.logs.log import RequestLog

Awaited = list[tuple[int, ...]]


class Joined(NamedTuple):
    """Calls as tasks, and for each call the rows that it waits for, the one that it goes on from first."""

    chains: Chains
    awaited: np.ndarray  # object[n] of tuples of rows
    n_unknown: int  # names of calls that are not in the log, or come after the call that waits for them
    n_apart: int  # calls that wait for none, in a task that another call has begun: they are sent after that one


def joined(
    ids: np.ndarray,
    names: np.ndarray,
    session: np.ndarray,
    arrived_s: np.ndarray,
    ended_s: np.ndarray | None,
    wait_s: np.ndarray | None,
    gaps: str,
) -> Joined:
    """Tasks out of the calls that each call names (object[n] of tuples of ids) or, where it names none, of sessions:
    then it waits for the one before. Rows come in order of time; `session` 0: none."""
    from scipy.sparse import coo_array  # imported on use: few logs name calls, and it takes as long as a short run
    from scipy.sparse.csgraph import connected_components

    awaited, n_unknown = _rows_awaited(ids, names, session)
    begins = np.array([row for row, earlier in enumerate(awaited) for _ in earlier], np.int64)
    ends = np.array([before for earlier in awaited for before in earlier], np.int64)
    n = len(ids)
    edges = coo_array((np.ones(len(begins), np.int8), (begins, ends)), shape=(n, n))
    _, component = connected_components(edges, directed=False)
    _, first, task_ids = np.unique(component, return_index=True, return_inverse=True)
    task_ids = np.argsort(np.argsort(first))[task_ids]  # in order of the tasks' first calls
    first = np.sort(first)
    apart = [row for row, earlier in enumerate(awaited) if not earlier and row != first[task_ids[row]]]
    for row in apart:
        awaited[row] = (int(first[task_ids[row]]),)
    latest = np.array([_latest(earlier, ended_s) for earlier in awaited], np.int64)
    wait, least, kinds = waits_of(latest, arrived_s, ended_s, wait_s, None, gaps)
    rows = np.empty(n, object)
    rows[:] = awaited
    chains = Chains(task_ids.astype(np.int64), wait, least, len(first), n, 0, kinds)
    return Joined(chains, rows, n_unknown, len(apart))


def calls_named_by_turn(session: np.ndarray, turn: np.ndarray, awaited: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(object[n] of tuples of ids, ids of the calls, uint64[n]) where `awaited` names turns of its own session."""
    spread = np.uint64(0x9E3779B97F4A7C15)  # of Fibonacci hashing: numbers of sessions that differ are far apart
    base = session.astype(np.uint64) * spread
    ids = base + hashed(pd.Series(turn))
    named = np.empty(len(awaited), object)
    for i, turns in enumerate(awaited):
        named[i] = tuple((base[i] + np.array(turns, np.uint64)).tolist())
    return named, ids


def _rows_awaited(ids: np.ndarray, names: np.ndarray, session: np.ndarray) -> tuple[Awaited, int]:
    row_of: dict[int, int] = {}
    latest: dict[int, int] = {}  # by session: the row before
    awaited: Awaited = []
    n_unknown = 0
    for row, (own, named, part) in enumerate(zip(ids.tolist(), names, session.tolist(), strict=True)):
        found = [row_of[name] for name in named if name in row_of]
        n_unknown += len(named) - len(found)
        if not named and part in latest:
            found = [latest[part]]
        found = list(dict.fromkeys(found))
        found.sort(key=lambda before: session[before] != part)  # its own conversation first
        awaited.append(tuple(found))
        row_of.setdefault(own, row)
        if part:
            latest[part] = row
    return awaited, n_unknown


def _latest(earlier: tuple[int, ...], ended_s: np.ndarray | None) -> int:
    """The row that ends last of those awaited; -1 without."""
    if not earlier:
        return -1
    if ended_s is None:
        return earlier[0]
    return max(earlier, key=lambda row: -np.inf if np.isnan(ended_s[row]) else ended_s[row])


def contexts_of(log: RequestLog, rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """int64[calls]: a number, within its task, for the conversation that each call is in.

    `rows` are log rows, task by task (`offsets`). A call goes on from the first that it waits for if its prompt can
    hold that and its answer, and no other call has gone on from it: else it begins a conversation.
    """
    assert log.awaited is not None
    awaited, inputs, outputs = log.awaited[rows], log.input_tokens[rows].tolist(), log.output_tokens[rows].tolist()
    found = np.zeros(len(rows), np.int64)
    for low, high in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        place = {row: low + i for i, row in enumerate(rows[low:high].tolist())}
        continued: set[int] = set()
        number = 0
        for i in range(low + 1, high):
            before = place.get(awaited[i][0], -1) if awaited[i] else -1
            anew = log.begins_anew is not None and bool(log.begins_anew[rows[i]])
            if before < 0 or anew or before in continued or inputs[i] < inputs[before] + outputs[before]:
                number += 1
                found[i] = number
            else:
                found[i] = found[before]
                continued.add(before)
    return found
