"""Which stretches of time are covered by which others, per replica: the arithmetic of the audit, in whole columns.

A stretch is (group, start_s, end_s); three arrays of one length hold many. Groups are replicas.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Stretches(NamedTuple):
    """Stretches of time, one per row: group int64[n], start_s float64[n], end_s float64[n]."""

    group: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray

    def take(self, rows: np.ndarray) -> Stretches:
        return Stretches(self.group[rows], self.start_s[rows], self.end_s[rows])


def lives(spans: dict[str, np.ndarray]) -> Stretches:
    """The paid life of every replica, from request to release, sorted by replica; `spans` has SPAN_COLUMNS."""
    replica, where = np.unique(spans["replica_id"], return_inverse=True)
    start_s, end_s = np.full(len(replica), np.inf), np.full(len(replica), -np.inf)
    np.minimum.at(start_s, where, spans["start_s"])
    np.maximum.at(end_s, where, spans["end_s"])
    return Stretches(replica.astype(np.int64), start_s, end_s)


def by_group_and_time(group: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Row order by group, then by time; equal times keep their order."""
    by_time = np.argsort(time_s, kind="stable")
    return by_time[np.argsort(group[by_time], kind="stable")]


def union(stretches: Stretches, tolerance_s: float) -> Stretches:
    """The disjoint stretches that cover the same time, sorted; holes up to `tolerance_s` are closed."""
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
    """Rows of `inner` that do not lie within one stretch of the union of `outer`, give or take `tolerance_s`."""
    cover, outside = union(outer, tolerance_s), []
    for group, rows, part in _each_group(inner):
        first, last = np.searchsorted(cover.group, [group, group + 1])
        if first == last:
            outside.append(rows)
            continue
        host = np.searchsorted(cover.start_s[first:last] - tolerance_s, part.start_s, side="right") - 1
        reach_s = cover.end_s[first:last][host] + tolerance_s
        outside.append(rows[(host < 0) | (part.end_s > reach_s)])
    return np.sort(np.concatenate(outside)) if outside else np.empty(0, np.int64)


def peak_overlap(stretches: Stretches, tolerance_s: float) -> tuple[int, int]:
    """(most stretches of one group open at the same time, that group); (0, -1) without any.

    Stretches that touch do not overlap; overlaps shorter than `tolerance_s` are not counted.
    """
    peaks = [(_peak(part, tolerance_s), int(group)) for group, _, part in _each_group(stretches)]
    return max(peaks, key=lambda peak: peak[0], default=(0, -1))


def _each_group(stretches: Stretches) -> Iterator[tuple[int, np.ndarray, Stretches]]:
    """Every group, its rows and its stretches."""
    group, n = stretches.group, len(stretches.group)
    if n and (group == group[0]).all():
        yield group[0], np.arange(n), stretches
    elif n:
        order = np.argsort(group, kind="stable")
        groups, first = np.unique(group[order], return_index=True)
        for one, rows in zip(groups, np.split(order, first[1:]), strict=True):
            yield one, rows, stretches.take(rows)


def _peak(stretches: Stretches, tolerance_s: float) -> int:
    """Most stretches open at the same time; at one instant, ends come first."""
    begun = np.sort(stretches.start_s)
    ended = np.sort(np.maximum(stretches.end_s - tolerance_s, stretches.start_s))
    return int((np.arange(1, len(begun) + 1) - np.searchsorted(ended, begun, side="right")).max())


def _running_max_per_group(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Running maximum that starts anew with each group; rows are sorted by group. Exact: it compares ranks."""
    by_value = np.argsort(value, kind="stable")
    rank = np.empty(len(value), np.int64)
    rank[by_value] = np.arange(len(value))
    block = np.cumsum(np.append(False, group[1:] != group[:-1])) * len(value)
    return value[by_value[np.maximum.accumulate(rank + block) - block]]
