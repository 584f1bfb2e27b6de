"""Union, overlap and coverage of stretches of time, per group, in whole columns: the arithmetic of the audit.

A stretch is (group, start_s, end_s), and the group is the id of a replica.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

import sim.columns
from sim.columns import Columns


class Stretches(NamedTuple):
    """Stretches of time, one per row: group int[n], start_s float64[n], end_s float64[n]."""

    group: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray

    def take(self, rows: np.ndarray) -> Stretches:
        """These rows: bool[n], or int64 row numbers."""
        return Stretches(self.group[rows], self.start_s[rows], self.end_s[rows])

    @staticmethod
    def joined(parts: Sequence[Stretches]) -> Stretches:
        """The stretches of all parts, one part after another."""
        if len(parts) == 1:
            return parts[0]
        return Stretches(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def lives(spans: Columns) -> Stretches:
    """The paid life of every replica, from order to release, sorted by replica; `spans` has SPAN_COLUMNS."""
    replica, where = np.unique(spans["replica_id"], return_inverse=True)
    start_s, end_s = np.full(len(replica), np.inf), np.full(len(replica), -np.inf)
    np.minimum.at(start_s, where, spans["start_s"])
    np.maximum.at(end_s, where, spans["end_s"])
    return Stretches(replica.astype(np.int64), start_s, end_s)


def by_group_and_time(group: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """int64[n]: the rows sorted by group, then by time; rows with equal group and time keep their order."""
    by_time = np.argsort(time_s, kind="stable")
    return by_time[np.argsort(group[by_time], kind="stable")]


def union(stretches: Stretches, tolerance_s: float) -> Stretches:
    """The disjoint stretches covering the same time, sorted by group and time; gaps up to `tolerance_s` are closed.

    The union of unions is the union of all, so what does not fit into memory is united block by block.
    """
    if not len(stretches.group):
        return stretches
    group, start_s, end_s = stretches.take(by_group_and_time(stretches.group, stretches.start_s))
    reach_s = _running_max_per_group(group, end_s)
    fresh = np.ones(len(group), bool)
    fresh[1:] = (group[1:] != group[:-1]) | (start_s[1:] > reach_s[:-1] + tolerance_s)
    first = np.flatnonzero(fresh)
    last = np.append(first[1:], len(group)) - 1
    return Stretches(group[first], start_s[first], reach_s[last])


def uncovered(inner: Stretches, outer: Stretches, tolerance_s: float) -> np.ndarray:
    """int64[k]: the rows of `inner` that lie, within `tolerance_s`, in no stretch of the union of `outer`."""
    cover, outside = union(outer, tolerance_s), [np.empty(0, np.int64)]
    for group, rows, part in _each_group(inner):
        first, last = np.searchsorted(cover.group, [group, group + 1])
        if first == last:
            lacking = np.arange(len(part.group))
        else:
            host = np.searchsorted(cover.start_s[first:last] - tolerance_s, part.start_s, side="right") - 1
            reach_s = cover.end_s[first:last][host] + tolerance_s
            lacking = np.flatnonzero((host < 0) | (part.end_s > reach_s))
        outside.append(lacking if rows is None else rows[lacking])
    return np.sort(np.concatenate(outside))


def peak_overlap(stretches: Stretches, tolerance_s: float) -> tuple[int, int]:
    """(the most stretches of one group open at the same time, that group); (0, -1) without stretches.

    Stretches that touch do not overlap; overlaps shorter than `tolerance_s` are not counted.
    """
    peaks = [(_peak(part, tolerance_s), group) for group, _, part in _each_group(stretches)]
    return max(peaks, key=lambda peak: peak[0], default=(0, -1))


def _each_group(stretches: Stretches) -> Iterator[tuple[int, np.ndarray | None, Stretches]]:
    """(group, its rows int64[k], its stretches) for every group; None for the rows where they are all of one group."""
    group, n = stretches.group, len(stretches.group)
    if n and (group == group[0]).all():
        yield int(group[0]), None, stretches
    elif n:
        order = np.argsort(group, kind="stable")
        ordered = group[order]
        begins = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        for rows in np.split(order, begins):
            yield int(group[rows[0]]), rows, stretches.take(rows)


def _peak(stretches: Stretches, tolerance_s: float) -> int:
    """The most stretches open at the same time; a stretch that ends when another starts is closed first."""
    begun = np.sort(stretches.start_s)
    ended = np.maximum(stretches.end_s - tolerance_s, stretches.start_s)
    ended.sort()
    n, most, step = len(begun), 0, sim.columns.ROWS_AT_ONCE
    for first in range(0, n, step):
        after = min(first + step, n)
        over = np.searchsorted(ended, begun[first:after], side="right")
        most = max(most, int((np.arange(first + 1, after + 1) - over).max()))
    return most


def _running_max_per_group(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """float64[n]: the running maximum within each group; rows are sorted by group.

    It accumulates ranks, raised by n per group, instead of values, so that no rounding enters.
    """
    by_value = np.argsort(value, kind="stable")
    rank = np.empty(len(value), np.int64)
    rank[by_value] = np.arange(len(value))
    block = np.cumsum(np.append(False, group[1:] != group[:-1])) * len(value)
    return value[by_value[np.maximum.accumulate(rank + block) - block]]
