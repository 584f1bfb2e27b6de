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
    cover = union(outer, tolerance_s)
    if not len(cover.group):
        return np.arange(len(inner.group))
    host = _last_begun(cover, inner.group, inner.start_s, tolerance_s)
    # Where no stretch of the group has begun, `host` is one of another group, or -1, the last.
    has_none = (host < 0) | (cover.group[host] != inner.group)
    return np.flatnonzero(has_none | (inner.end_s > cover.end_s[host] + tolerance_s))


def _last_begun(cover: Stretches, group: np.ndarray, at_s: np.ndarray, tolerance_s: float) -> np.ndarray:
    """int64[n]: the last row of `cover` that begins at most `tolerance_s` after `at_s`, of this group or of one before;
    -1 for none. `cover` is sorted by group and time.

    Moments are counted in ranks, raised per group, so that one search finds the place in all groups without rounding.
    """
    begins_s = cover.start_s - tolerance_s
    if cover.group[0] == cover.group[-1]:
        return np.searchsorted(begins_s, at_s, side="right") - 1
    ordered_s = np.sort(begins_s)
    in_order = cover.group.astype(np.int64) * (len(ordered_s) + 1) + np.searchsorted(ordered_s, begins_s)
    wanted = group.astype(np.int64) * (len(ordered_s) + 1) + np.searchsorted(ordered_s, at_s, side="right")
    return np.searchsorted(in_order, wanted) - 1


def peak_overlap(stretches: Stretches, tolerance_s: float) -> tuple[int, int]:
    """(the most stretches of one group open at the same time, that group); (0, -1) without stretches.

    Stretches that touch do not overlap; overlaps shorter than `tolerance_s` are not counted.
    """
    peaks = [_peak_of_groups(part, tolerance_s) for part in _runs_of_groups(stretches)]
    return max(peaks, key=lambda peak: peak[0], default=(0, -1))


def _runs_of_groups(stretches: Stretches) -> Iterator[Stretches]:
    """The stretches sorted by group, in runs of whole groups: of many groups at most sim.columns.ROWS_AT_ONCE rows."""
    group, n = stretches.group, len(stretches.group)
    if n and (group == group[0]).all():
        yield stretches
    elif n:
        order = np.argsort(group, kind="stable")
        ordered = group[order]
        ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, n)
        first = 0
        while first < n:
            of_first, too_far = np.searchsorted(ends, (first, first + sim.columns.ROWS_AT_ONCE), side="right")
            after = int(ends[max(of_first, too_far - 1)])
            yield stretches.take(order[first:after])
            first = after


def _peak_of_groups(stretches: Stretches, tolerance_s: float) -> tuple[int, int]:
    """`peak_overlap` of stretches sorted by group."""
    group, start_s, end_s = stretches
    if group[0] == group[-1]:
        return _peak(stretches, tolerance_s), int(group[0])
    # Every stretch is a step up at its start and one down at its end, downs first where both are at one moment.
    n = len(group)
    ended_s = np.maximum(end_s - tolerance_s, start_s)
    order = by_group_and_time(np.concatenate((group, group)), np.concatenate((ended_s, start_s)))
    n_open = np.cumsum(np.where(order < n, -1, 1))  # 0 at the end of each group
    most = int(n_open.argmax())
    return int(n_open[most]), int(group[order[most] % n])


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
