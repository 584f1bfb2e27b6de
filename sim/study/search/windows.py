"""Windows of a long log: each replication of the search plays the worst hours and another stratified sample of hours.

A log of a week or a month takes too long to be played for every fleet that is looked at. Hours are sorted by their
requests and cut into strata; of each stratum as many are drawn at random as of another, and stand for all of it
(stratified sampling, Cochran, Sampling techniques, 1977, ch. 5). The busiest hours are always played and stand for
themselves. Each window begins some minutes earlier, in which nothing is reported on. Finalists are played on the whole
log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sim.study.search.evidence import SLO_FACTORS, Candidate, Sample, World
from sim.study.search.variation import Changes, varied
from sim.units import HOUR_S, MINUTE_S
from sim.workload.arrivals.replay import Replay

WHOLE_UP_TO = 100_000
"""Requests of a log up to which every replication plays all of it."""
_AIM = 40_000
"""Requests that the windows of one replication hold, about."""
_STRATA = 4
_LEAST_WINDOWS = 8
_LEAST_S = 5 * MINUTE_S
_LEAD_IN_S = 10 * MINUTE_S


class Window(NamedTuple):
    """A stretch of the log, and how many stretches like it there are."""

    start_s: float
    length_s: float
    weight: float

    def changes(self) -> Changes:
        """What plays it, after a lead-in that is not reported on."""
        lead_in_s = min(_LEAD_IN_S, self.start_s)
        return (
            ("arrivals.bootstrap", "none"), ("arrivals.start_s", self.start_s - lead_in_s),
            ("arrivals.duration_s", lead_in_s + self.length_s), ("warmup_s", lead_in_s),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Windows:
    """The stretches of a log, equally long: the worst, and the others in strata from the quietest to the busiest."""

    length_s: float
    n_requests: np.ndarray  # int64[stretches]
    worst: tuple[int, ...]
    strata: tuple[np.ndarray, ...]  # int64, numbers of stretches
    n_each: int
    """Stretches that are drawn of each stratum."""

    @classmethod
    def of(cls, arrived_s: np.ndarray, period_s: float, calls: np.ndarray, tokens: np.ndarray) -> Windows:
        """Of n tasks: `arrived_s`, float64, sorted seconds; `calls` and `tokens`, int64. Stretches are an hour, shorter
        in dense logs."""
        per_hour = float(calls.sum()) / period_s * HOUR_S
        length_s = float(np.clip(HOUR_S * _AIM / _LEAST_WINDOWS / per_hour, _LEAST_S, HOUR_S))
        n = max(1, int(period_s // length_s))
        place = np.minimum((arrived_s / length_s).astype(np.int64), n - 1)
        counts = np.bincount(place, weights=calls, minlength=n).astype(np.int64)
        work = np.bincount(place, weights=tokens, minlength=n)
        worst = tuple(dict.fromkeys((int(counts.argmax()), int(work.argmax()))))
        others = np.array([i for i in np.argsort(counts, kind="stable") if i not in worst and counts[i]])
        strata = tuple(part for part in np.array_split(others, _STRATA) if len(part))
        mean = counts[others].mean() if len(others) else 1.0
        left = max(0.0, _AIM - counts[list(worst)].sum())
        return cls(length_s, counts, worst, strata, max(1, round(left / mean / max(1, len(strata)))))

    @classmethod
    def of_replay(cls, replay: Replay) -> Windows:
        """Those of a log as it is replayed. Raises TraceError."""
        excerpt = replay.excerpt
        tokens = excerpt.log.input_tokens[excerpt.rows] + excerpt.log.output_tokens[excerpt.rows]
        per_task = np.add.reduceat(tokens, excerpt.offsets[:-1])
        return cls.of(excerpt.arrived_s, excerpt.period_s, np.diff(excerpt.offsets), per_task)

    def drawn(self, number: int) -> list[Window]:
        """The windows of replication `number`, the worst ones first; the same for every fleet."""
        rng = np.random.default_rng((number, 20_260))
        found = [self._window(i, 1.0) for i in self.worst]
        for stratum in self.strata:
            chosen = rng.permutation(stratum)[: self.n_each].tolist()
            found += [self._window(i, len(stratum) / len(chosen)) for i in sorted(chosen)]
        return found

    def _window(self, place: int, weight: float) -> Window:
        return Window(place * self.length_s, self.length_s, weight)

    def __str__(self) -> str:
        """Which parts of the log were played in the search."""
        minutes = self.length_s / MINUTE_S
        worst = " and ".join(f"{place * self.length_s / HOUR_S:.1f} h" for place in self.worst)
        return (
            f"the search played windows of {minutes:.0f} minutes: the worst, which begin {worst} into the log, and in "
            f"each replication {self.n_each} of each of {len(self.strata)} strata by load, {100 * self.fraction:.2g} % "
            "of the requests; finalists played the whole log"
        )

    @property
    def fraction(self) -> float:
        """Of the log's requests that one replication plays, on average."""
        drawn = sum(float(self.n_requests[s].mean()) * min(self.n_each, len(s)) for s in self.strata)
        return (drawn + float(self.n_requests[list(self.worst)].sum())) / float(self.n_requests.sum())

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "length_s": self.length_s, "worst_start_s": [i * self.length_s for i in self.worst],
            "strata": [len(stratum) for stratum in self.strata], "drawn_of_each": self.n_each,
            "fraction_of_requests": self.fraction,
        }  # fmt: skip


class Windowed:
    """A world that plays windows in place of the whole log."""

    def __init__(self, world: World, windows: Windows, target: float):
        self._world, self._windows, self._target = world, windows, target

    def play(self, wanted: Sequence[tuple[Candidate, int]]) -> list[Sample]:
        """The sample of each (candidate, replication), put together from its windows by their weights."""
        windows = {number: self._windows.drawn(number) for number in {number for _, number in wanted}}
        n_worst = len(self._windows.worst)
        parts = [
            (varied(candidate, window.changes()), 0 if place < n_worst else number)
            for candidate, number in wanted
            for place, window in enumerate(windows[number])
        ]
        played: Mapping[Any, Sample] = dict(zip(parts, self._world.play(parts), strict=True))
        found, done = [], 0
        for _, number in wanted:
            n = len(windows[number])
            samples = [played[part] for part in parts[done : done + n]]
            found.append(self._together(samples, [window.weight for window in windows[number]]))
            done += n
        return found

    def _together(self, samples: Sequence[Sample], weights: Sequence[float]) -> Sample:
        """Stretches are equally long, so that a month costs the weighted mean of what it would cost by each."""
        shares = np.array(weights)
        usd = float(shares @ [s.usd for s in samples] / shares.sum())
        attained, calls = (round(float(shares @ [getattr(s, k) for s in samples])) for k in ("attained", "calls"))
        within = np.rint(shares @ np.array([s.attained_within for s in samples])).astype(int)
        enough = np.flatnonzero(within >= self._target * calls)
        factor = SLO_FACTORS[enough[0]] if len(enough) else float("inf")
        return Sample(
            usd, min(attained, calls), calls, factor, sum(s.fingerprint for s in samples), None,
            tuple(np.minimum(within, calls).tolist()),
        )  # fmt: skip
