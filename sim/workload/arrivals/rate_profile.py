"""Arrivals at the rates of a usage report, which has the requests and tokens of each hour or day."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from sim.moment_zero import MomentZero
from sim.workload.arrivals.rates import BLOCK, Marked, Rates
from sim.workload.lengths.base import Lengths
from sim.workload.logs.roles import LogOptions

if TYPE_CHECKING:
    from sim.workload.logs.usage_report import UsageReport

_MOMENTS = 20_000


class RateProfile(Rates, LogOptions):
    """A Poisson process whose rate in each stretch of a usage report is the requests there over its length.

    Where the report has no row, the rate is 0. The tokens of a request are a draw of the lengths group times the mean
    of its stretch over the mean of that group, rounded up or down at random: means are the stretch's, the spread is
    the group's. A report says nothing of bursts within a stretch: real traffic is burstier than this.

    `index_of_dispersion` is that of a window placed at a uniformly random moment of the record, repeated: 1 +
    Var(M)/E(M), M the integral of the rate over the window.
    """

    kind: Literal["rate_profile"] = "rate_profile"
    bucket_s: float | None = Field(
        None, gt=0, description="length of a stretch; null: the least time from the start of one to the next"
    )

    @property
    def log(self) -> UsageReport:
        from sim.workload.logs.usage_report import read_usage  # imported on use, so that runs without it need no pandas

        return read_usage(self, self.bucket_s)

    @property
    def begins(self) -> MomentZero | None:
        log = self.log
        return None if log.begins_at is None else MomentZero(log.begins_at, log.zone_name)

    @property
    def period_s(self) -> float | None:
        return self.record_s if self.loop else None

    @property
    def record_s(self) -> float:
        return float(self.log.ends_s[-1])

    @property
    def needs_lengths(self) -> bool:
        return self.lengths_from == "log"

    @property
    def mean_rate_per_s(self) -> float:
        return self.rate_factor * float(self.log.requests.sum()) / self.record_s

    def index_of_dispersion(self, window_s: float) -> float:
        path, length_s = _path(self.log), self.record_s
        begin_s = (np.arange(_MOMENTS) + 0.5) * (length_s / _MOMENTS)

        def reached(moments_s: np.ndarray) -> np.ndarray:
            whole, within_s = np.divmod(moments_s, length_s)
            return whole * path.masses[-1] + np.interp(within_s, path.edges_s, path.masses)

        masses = self.rate_factor * (reached(begin_s + window_s) - reached(begin_s))
        return 1 + float(masses.var() / masses.mean())

    def marked(self, rng: np.random.Generator, horizon_s: float) -> Iterator[Marked]:
        path, length_s = _path(self.log), self.record_s
        n_rounds = int(np.ceil(horizon_s / length_s)) if self.loop else 1
        total, reached = path.masses[-1] * self.rate_factor, 0.0
        while True:
            points = reached + np.cumsum(rng.exponential(size=BLOCK))
            reached = float(points[-1])
            rounds, within = np.divmod(points, total)
            times_s = rounds * length_s + np.interp(within / self.rate_factor, path.masses, path.edges_s)
            inside = (times_s < horizon_s) & (rounds < n_rounds)
            marks = path.buckets[np.searchsorted(path.masses, within / self.rate_factor, side="right") - 1]
            yield Marked(np.maximum.accumulate(times_s[inside]), marks[inside])
            if not inside.all():
                return

    def typical_marks(self, rng: np.random.Generator, n: int) -> np.ndarray:
        requests = self.log.requests
        return rng.choice(len(requests), n, p=requests / requests.sum())

    def tokens(
        self, rng: np.random.Generator, marks: np.ndarray, lengths: Lengths | None
    ) -> tuple[np.ndarray, np.ndarray]:
        assert lengths is not None, "refused otherwise"
        log = self.log
        drawn = lengths.draw(rng, len(marks))
        means = (log.input_tokens / log.requests, log.output_tokens / log.requests)
        of_group = (lengths.mean_input_tokens, lengths.mean_output_tokens)
        scaled = [tokens * (mean[marks] / group) for tokens, mean, group in zip(drawn, means, of_group, strict=True)]
        both = [np.maximum(np.floor(tokens + rng.random(len(marks))), 1).astype(np.int64) for tokens in scaled]
        return both[0], both[1]


class _Path:
    """The expected requests reached at each edge of the record; gaps are stretches of their own, without a bucket."""

    def __init__(self, log: UsageReport):
        gap_after = np.append(log.starts_s[1:] > log.ends_s[:-1], False)
        first = [0.0] if log.starts_s[0] > 0 else []
        edges, masses, buckets = [*first, float(log.starts_s[0])], [0.0] * (len(first) + 1), [-1] * len(first)
        for i, (end_s, count) in enumerate(zip(log.ends_s.tolist(), log.requests.tolist(), strict=True)):
            edges.append(end_s)
            masses.append(masses[-1] + count)
            buckets.append(i)
            if gap_after[i]:
                edges.append(float(log.starts_s[i + 1]))
                masses.append(masses[-1])
                buckets.append(i)
        self.edges_s, self.masses = np.array(edges), np.array(masses)
        self.buckets = np.array([*buckets, buckets[-1]])


_path = lru_cache(maxsize=8)(_Path)
