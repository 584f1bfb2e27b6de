"""The cheapest replicas in hindsight: a lower bound on what any policy pays for GPUs to serve given work in time.

Work is a table of jobs. A job may be done between its release and its deadline, takes at least `fastest_s` seconds of
one replica that does nothing else, and at least `work_s` replica-seconds at its share of the fullest batch. From these
follow needs that every policy fulfils, however well it knows the future:

- In a slot of time, the work that cannot be done outside takes E replica-seconds. So at some moment of the slot at
  least ceil(E / length) replicas are ready.
- Within the time of a single job, some replica is ready for `fastest_s` seconds.

The cheapest path of replicas that fulfils the needs is found level by level: level k is held while k or more replicas
are ready. A level begins and ends as often as replicas start and stop, at most, and lasts as long in sum, so the costs
of the levels add up to no more than those of any policy. For one level an exact dynamic programme decides where to wait
and where to start anew, the offline ski rental of its gaps (Karlin, Manasse, Rudolph, Sleator, Competitive snoopy
caching, 1988). Where each life is billed in whole hours, or for a minimum that is longer than a start, levels are not
bought one by one: a linear programme over whole lives takes their place. Its columns are intervals of time, so that its
optimum is in whole lives (Fulkerson and Gross, Incidence matrices and interval graphs, 1965).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

import sim.columns
from sim.records import Window

_SLOTS_PER_JOB = (3.0, 24.0)
"""Lengths of slots tried, in lengths of the time that nine jobs of ten have. Short slots show short peaks, but a job
over the edge of a slot counts in neither; every length is a bound, and the highest is taken."""
_MOST_SLOTS = 5_000
_MOST_APART = 200_000
_APART_PER_START = 4
_MOST_ROWS_OF_LIVES = 64
_ROUNDING = 1e-9


class Jobs(NamedTuple):
    """Work with deadlines: float64[n] each, in seconds. Those without a deadline, infinite, are done at any time.

    The part of a job that is done in t seconds is at most t / `fastest_s`, and its part of `work_s` is the same.
    """

    released_s: np.ndarray
    deadline_s: np.ndarray
    fastest_s: np.ndarray
    work_s: np.ndarray

    def within(self, window: Window) -> Jobs:
        """The jobs that lie wholly in the window."""
        rows = (self.released_s >= window.start_s) & (self.deadline_s <= window.end_s)
        if rows.all():
            return self
        return Jobs(*(column[rows] for column in self))


class Needs(NamedTuple):
    """At some moment of [start_s, end_s] at least `replicas` are ready, and one of them for `present_s` within it.

    Columns float64[n] and, for `replicas`, int64[n], in order of time; the stretches do not overlap.
    """

    start_s: np.ndarray
    end_s: np.ndarray
    replicas: np.ndarray
    present_s: np.ndarray


class Terms(NamedTuple):
    """How the life of one replica is billed, in seconds: its ready seconds and `start_s`, and at least `minimum_s`.

    The sum is rounded up to a multiple of `granularity_s`, unless the window cuts the life.
    """

    start_s: float
    minimum_s: float = 0.0
    granularity_s: float = 0.0

    @property
    def least_life_s(self) -> float:
        """What the shortest life is billed for."""
        return max(self.minimum_s, self.granularity_s)

    @property
    def adds_up(self) -> bool:
        """Whether a life costs its start and its ready seconds, up to a rounding shorter than a start."""
        return self.least_life_s <= max(self.start_s, 1.0)

    def billed_s(self, ready_s: np.ndarray) -> np.ndarray:
        """Seconds billed for lives with these ready seconds, float64[n]."""
        lived_s = self.start_s + ready_s
        if self.granularity_s > 0:
            lived_s = np.ceil(lived_s / self.granularity_s - _ROUNDING) * self.granularity_s
        return np.maximum(lived_s, self.minimum_s)


class Path(NamedTuple):
    """What the cheapest path is billed for, in replica-seconds; `start_s` of them before a replica is ready."""

    replica_s: float
    start_s: float


def cheapest_path(works: Iterable[Jobs], terms: Terms, window: Window) -> Path:
    """A lower bound on the replica-seconds billed for every one of `works`, in a window.

    Each of `works` is a bound by itself, as the work of different kinds in one step need not add up. Not counted: work
    outside the window, and jobs that overlap its edges.

    >>> two = Jobs(np.array([0.0, 900.0]), np.array([10.0, 910.0]), np.array([5.0, 5.0]), np.array([1.0, 1.0]))
    >>> cheapest_path([two], Terms(start_s=60.0), Window(-600.0, 1800.0))  # it starts twice, as 890 s are over 60 s
    Path(replica_s=130.0, start_s=120.0)
    """
    found = _all_needs(works, terms.start_s, window)
    path = _by_levels(found, terms.start_s, window)
    if terms.adds_up or not found:
        return path
    hardest = max(found, key=lambda needs: _by_levels([needs], terms.start_s, window).replica_s)
    return max(path, _by_lives(hardest, terms, window))


def most_replicas(works: Iterable[Jobs], window: Window) -> int:
    """The most replicas that `works` need at once in a window, at the least."""
    found = _all_needs(works, 0.0, window)
    return max((int(needs.replicas.max(initial=0)) for needs in found), default=0)


def replicas_beyond_s(works: Iterable[Jobs], terms: Terms, window: Window, held: int) -> list[float]:
    """Replica-seconds billed for the replicas number held + 1, held + 2, ... of the cheapest path, at the least."""
    found = _all_needs(works, terms.start_s, window)
    return [path.replica_s for path in _levels(found, terms.start_s, window)][held:]


def _all_needs(works: Iterable[Jobs], start_s: float, window: Window) -> list[Needs]:
    """The needs of each of `works`, one after another: no two of them are in memory at the same time."""
    found: list[Needs] = []
    for jobs in works:
        found += _needs(jobs.within(window), start_s, window)
        del jobs
    return found


def _needs(jobs: Jobs, start_s: float, window: Window) -> Iterator[Needs]:
    """Several sets of needs of the same jobs: of single jobs, and of slots of several lengths.

    Single jobs that follow each other by less than a part of a start are not all needed: nothing stops between them.
    """
    if not len(jobs.released_s):
        return
    yield apart(_earliest(jobs, max(start_s / _APART_PER_START, window.length_s / _MOST_APART)))
    time_s = float(np.quantile(jobs.deadline_s - jobs.released_s, 0.9))
    for factor in _SLOTS_PER_JOB:
        length_s = max(factor * time_s, window.length_s / _MOST_SLOTS)
        if length_s < window.length_s:
            yield in_slots(jobs, window, length_s)
    yield in_slots(jobs, window, window.length_s)


def _earliest(jobs: Jobs, length_s: float) -> Jobs:
    """Of the jobs released within the same `length_s` seconds, one with the earliest deadline."""
    place = ((jobs.released_s - jobs.released_s.min()) / length_s).astype(np.int64)
    earliest_s = np.full(int(place.max()) + 1, np.inf)
    np.minimum.at(earliest_s, place, jobs.deadline_s)
    rows = np.flatnonzero(jobs.deadline_s == earliest_s[place])
    return Jobs(*(column[rows] for column in jobs))


def apart(jobs: Jobs) -> Needs:
    """One replica for each of as many jobs as possible whose times do not overlap: always the earliest deadline."""
    order = np.argsort(jobs.deadline_s, kind="stable")
    chosen, free_s = [], -np.inf
    for row, released_s, deadline_s in zip(
        order.tolist(), jobs.released_s[order].tolist(), jobs.deadline_s[order].tolist(), strict=True
    ):
        if released_s >= free_s:
            chosen.append(row)
            free_s = deadline_s
    start_s, end_s = jobs.released_s[chosen], jobs.deadline_s[chosen]
    present_s = np.minimum(jobs.fastest_s[chosen], end_s - start_s)
    return Needs(start_s, end_s, np.ones(len(chosen), np.int64), present_s)


def in_slots(jobs: Jobs, window: Window, length_s: float) -> Needs:
    """The replicas that each slot of the window needs for the work that cannot be done outside it.

    Of a job, what cannot be done before the slot at full speed, nor after it. Jobs that overlap three slots or more
    count in the first and the last only.
    """
    n = max(1, int(window.length_s / length_s))
    length_s = window.length_s / n
    edge_s = window.start_s + length_s * np.arange(n + 1)
    early_s, late_s, step = np.zeros(n), np.zeros(n), sim.columns.ROWS_AT_ONCE
    for begin in range(0, len(jobs.released_s), step):
        released_s, deadline_s, fastest_s, work_s = (column[begin : begin + step] for column in jobs)
        first, last = (
            np.clip(((moment_s - window.start_s) / length_s).astype(np.int64), 0, n - 1)
            for moment_s in (released_s, deadline_s)
        )
        fastest_s = np.maximum(fastest_s, 1e-12)
        after_s = np.maximum(deadline_s - edge_s[first + 1], 0.0)
        before_s = np.maximum(edge_s[last] - released_s, 0.0)
        early_s = _added(early_s, first, work_s * np.maximum(1.0 - after_s / fastest_s, 0.0))
        over = last > first
        late_s = _added(late_s, last[over], (work_s * np.maximum(1.0 - before_s / fastest_s, 0.0))[over])
    replicas = np.ceil((early_s + late_s) / length_s - _ROUNDING).astype(np.int64)
    rows = np.flatnonzero(replicas)
    return Needs(edge_s[rows], edge_s[rows + 1], replicas[rows], np.zeros(len(rows)))


def _added(sums: np.ndarray, places: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Sums, float64[n], with further amounts at these places, one after the other as if all had come at once."""
    n = len(sums)
    return np.bincount(np.append(np.arange(n), places), np.append(sums, amounts), n)


def _by_levels(found: Sequence[Needs], start_s: float, window: Window) -> Path:
    levels = _levels(found, start_s, window)
    return Path(sum(level.replica_s for level in levels), sum(level.start_s for level in levels))


def _levels(found: Sequence[Needs], start_s: float, window: Window) -> list[Path]:
    """The cheapest path of each level, from level 1 on: the highest bound that any of the needs gives."""
    most = max((int(needs.replicas.max(initial=0)) for needs in found), default=0)
    return [
        max(_level(needs, level, start_s, window) for needs in found if needs.replicas.max(initial=0) >= level)
        for level in range(1, most + 1)
    ]


def _level(needs: Needs, level: int, start_s: float, window: Window) -> Path:
    """The cheapest stretches of time in which a level is held, so that it is during each of its needs.

    `alone` is the cost so far if a stretch begins at this need, `on` if one comes from an earlier need; `_start` is the
    part of each for starts. A stretch that begins within `start_s` of the window's start may have been ordered before
    it, for which nothing is charged.
    """
    rows = needs.replicas >= level
    starts, ends = needs.start_s[rows], needs.end_s[rows]
    presents = needs.present_s[rows]
    firsts, lasts = starts + presents, ends - presents
    paid_s = np.clip(starts - window.start_s, 0.0, start_s)
    # To stop between two needs that a start is longer than never pays. Within a row of such needs, only the ends count.
    goes_on = lasts[1:] - firsts[:-1] <= start_s
    after, before = np.append(goes_on, False), np.append(False, goes_on)
    paid_s[before & (paid_s >= start_s)] = np.inf
    kept = ~(after & before & np.isinf(paid_s))
    best, alone, on = 0.0, np.inf, np.inf
    best_start = alone_start = on_start = last_s = first_s = 0.0
    columns = [column[kept].tolist() for column in (firsts, lasts, paid_s, presents)]
    for next_first_s, next_last_s, begin_s, present_s in zip(*columns, strict=True):
        on += next_first_s - first_s
        if alone + next_first_s - last_s <= on:
            on, on_start = alone + next_first_s - last_s, alone_start
        alone, alone_start = best + begin_s, best_start + begin_s
        best, best_start = min((alone + present_s, alone_start), (on, on_start))
        first_s, last_s = next_first_s, next_last_s
    return Path(best, best_start)


def _by_lives(needs: Needs, terms: Terms, window: Window) -> Path:
    """The cheapest lives of replicas, each billed by `terms`, that touch every need as often as it needs replicas.

    A life may have begun before the window, or may end after it: then what is outside costs nothing. With many needs,
    only the largest of each run of neighbours are kept.
    """
    from scipy.optimize import linprog  # loads slowly, and few price lists need it
    from scipy.sparse import csr_array

    needs = _largest(needs, _MOST_ROWS_OF_LIVES)
    n = len(needs.replicas)
    if not n:
        return Path(0.0, 0.0)
    begin, end = np.triu_indices(n)
    ready_s = np.maximum(needs.start_s[end] - needs.end_s[begin], 0.0)
    before_s = np.maximum(needs.start_s[end] - window.start_s, 0.0)
    after_s = terms.start_s + window.end_s - needs.end_s[begin]
    cost_s = np.minimum.reduce([terms.billed_s(ready_s), before_s, after_s])
    # Of the lives that begin with the same need at the same cost, the longest does what the others do.
    longest = np.append((begin[1:] != begin[:-1]) | (cost_s[1:] > cost_s[:-1] + _ROUNDING), True)
    begin, end, cost_s, before_s = begin[longest], end[longest], cost_s[longest], before_s[longest]
    row = np.arange(n)[:, None]
    covers = csr_array(((begin <= row) & (row <= end)).astype(float))
    solved = linprog(cost_s, A_ub=-covers, b_ub=-needs.replicas.astype(float), method="highs")
    started = cost_s < before_s
    return Path(float(solved.fun), float(solved.x[started].sum() * terms.start_s))


def _largest(needs: Needs, most: int) -> Needs:
    """At most `most` of the needs: the one for most replicas of each run of neighbours."""
    n = len(needs.replicas)
    if n <= most:
        return needs
    rows = [int(part[np.argmax(needs.replicas[part])]) for part in np.array_split(np.arange(n), most)]
    return Needs(*(column[rows] for column in needs))
