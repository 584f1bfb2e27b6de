"""Whole days of a log, or shorter blocks: moved, and drawn anew (the block bootstrap)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import numpy as np

from sim.moment_zero import MomentZero
from sim.units import DAY_S

NEARLY_WHOLE = 0.95
"""Part of a last day from which on it counts as a whole one: a log ends with its last request, not at midnight."""


@dataclass(frozen=True, eq=False)
class Days:
    """The n whole days of a log from its second 0. Each begins at the time of day at which the log does."""

    edges_s: np.ndarray  # float64[n + 1]
    is_weekend: np.ndarray  # bool[n], by the middle of the day; all False for a log without dates
    changes: tuple[tuple[float, float], ...]  # of each day: seconds until the clocks change, and by how much; (inf, 0)

    @classmethod
    def of(cls, period_s: float, moment_zero: MomentZero | None) -> Days:
        """The days of a log of this length. A day with a change of the clocks has 23 or 25 hours."""
        edges, day = [0.0], 1
        while True:
            edge_s = day * DAY_S if moment_zero is None else moment_zero.same_time_s(timedelta(days=day))
            if period_s < edges[-1] + NEARLY_WHOLE * (edge_s - edges[-1]):
                break
            edges.append(edge_s)
            day += 1
        edges_s = np.array(edges)
        middles_s = ((edges_s[:-1] + edges_s[1:]) / 2).tolist()
        weekend = [moment_zero is not None and moment_zero.local(second).weekday() >= 5 for second in middles_s]
        changes = [_change(moment_zero, *pair) for pair in pairwise(edges)]
        return cls(edges_s, np.array(weekend, bool), tuple(changes))

    @classmethod
    def blocks(cls, period_s: float, block_s: float) -> Days:
        """Equal blocks in place of days, as near to this length as whole blocks can be, for a log of less than days."""
        n = max(1, round(period_s / block_s))
        return cls(np.linspace(0.0, period_s, n + 1), np.zeros(n, bool), ((np.inf, 0.0),) * n)

    def __len__(self) -> int:
        return len(self.is_weekend)

    @property
    def classes(self) -> list[np.ndarray]:
        """Days that may stand for each other, int64: weekdays and weekends apart if there are two or more of each."""
        kinds = [np.flatnonzero(self.is_weekend == kind) for kind in (False, True)]
        return kinds if min(map(len, kinds)) >= 2 else [np.arange(len(self))]

    def drawn(self, rng: np.random.Generator, copies: int) -> np.ndarray:
        """The block bootstrap: for each copy and day, int64[copies, n], a random day of its class to play in its place.

        No two copies play the same day at once while there are enough. Source: Kuensch, The jackknife and the bootstrap
        for general stationary observations, 1989; blocks of a day keep whatever correlation there is within one.
        """
        chosen = np.empty((copies, len(self)), np.int64)
        for days in self.classes:
            for day in days.tolist():
                rounds = [rng.permutation(days) for _ in range(-(-copies // len(days)))]
                chosen[:, day] = np.concatenate(rounds)[:copies]
        return chosen

    def moved(self, copies: int) -> np.ndarray | None:
        """The days, int64[copies, n], that each copy plays so that no two copies play the same day at once: the k-th is
        k days of its class behind. None: there are too few days."""
        classes = self.classes if min(map(len, self.classes)) >= copies else [np.arange(len(self))]
        if min(map(len, classes)) < copies:
            return None
        chosen = np.empty((copies, len(self)), np.int64)
        for days in classes:
            for copy in range(copies):
                chosen[copy, days] = np.roll(days, copy)
        return chosen

    def played(self, moments_s: np.ndarray, sources: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows, moments, occurrences) of sorted moments, played with day sources[d] in the place of day d.

        Moments keep their time of day. `rows` are indices into `moments_s`; what lies after the last whole day stays
        where it is. `occurrences` counts how often the row's day was played before.
        """
        bounds = np.searchsorted(moments_s, self.edges_s)
        rows, moments, occurrences = [], [], []
        times_played = np.zeros(len(self), np.int64)
        for day, source in enumerate(sources.tolist()):
            found = np.arange(bounds[source], bounds[source + 1])
            rows.append(found)
            since_s = moments_s[found] - self.edges_s[source]
            if self.changes[source] != self.changes[day]:
                since_s = self._since(day, self._shown(source, since_s))
            moments.append(since_s + self.edges_s[day])
            occurrences.append(np.full(len(found), times_played[source]))
            times_played[source] += 1
        rest = np.arange(bounds[-1], len(moments_s))
        rows, moments = [*rows, rest], [*moments, moments_s[rest]]
        return (
            np.concatenate(rows),
            np.concatenate(moments),
            np.concatenate([*occurrences, np.zeros(len(rest), np.int64)]),
        )

    def _shown(self, day: int, since_s: np.ndarray) -> np.ndarray:
        """Seconds that a wall clock shows since midnight, by the seconds that have passed since then."""
        change_s, jump_s = self.changes[day]
        return since_s + np.where(since_s >= change_s, jump_s, 0.0)

    def _since(self, day: int, shown_s: np.ndarray) -> np.ndarray:
        """The reverse: of a time shown twice the first, of one never shown the moment of the change."""
        change_s, jump_s = self.changes[day]
        return np.where(shown_s >= change_s, np.maximum(shown_s - jump_s, min(change_s, 1e18)), shown_s)


def _change(moment_zero: MomentZero | None, begin_s: float, end_s: float) -> tuple[float, float]:
    stretches = [] if moment_zero is None else list(moment_zero.stretches(begin_s, end_s))
    if len(stretches) < 2:
        return np.inf, 0.0
    (_, change_s, before_s), (_, _, after_s) = stretches[:2]
    return change_s - begin_s, after_s - before_s
