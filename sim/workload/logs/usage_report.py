"""A usage report: rows that sum up the requests of a stretch of time, read as a rate over time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np

from sim.moment_zero import zone_of
from sim.schema import TraceError
from sim.workload.logs import doubts
from sim.workload.logs.files import digest_of, files_of
from sim.workload.logs.reading import read_rows
from sim.workload.logs.roles import LogOptions
from sim.workload.logs.timeline import timeline_of

_REGULAR = 1.1
"""A stretch of at most this multiple of the shortest ends where the next begins: days of 23 and 25 hours."""


@dataclass(frozen=True, eq=False)
class UsageReport:
    """n buckets in order of time, from second 0; between two of them there may be a gap, in which nothing came."""

    path: str
    sha256: str
    starts_s: np.ndarray  # float64[n]
    ends_s: np.ndarray  # float64[n]
    requests: np.ndarray  # int64[n], >= 1
    input_tokens: np.ndarray  # int64[n], sums, as those below
    output_tokens: np.ndarray
    begins_at: datetime | None
    zone_name: str
    receipt: UsageReceipt


@dataclass(frozen=True)
class UsageReceipt:
    """What a usage report was taken for."""

    path: str
    title: str
    columns: dict[str, str]
    rows_read: int
    buckets: int
    bucket_s: float
    first: str | None
    last: str | None
    span_s: float
    requests: int
    input_tokens: int
    output_tokens: int
    set_aside: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dict(self.__dict__)

    def lines(self) -> list[str]:
        """A few lines for a terminal."""
        columns = ", ".join(f"{role} = {name}" for role, name in self.columns.items())
        aside = ", ".join(f"{count:,} {why}" for why, count in self.set_aside.items())
        when = f"{self.first} to {self.last}, " if self.first else ""
        return [
            f"usage: {self.path}: {self.title}, played as a rate: requests are drawn, none is one that was made",
            f"  columns: {columns}",
            f"  {when}{self.buckets:,} stretches of {self.bucket_s:g} s in {self.span_s:g} s; "
            f"{self.rows_read:,} rows read" + (f"; set aside: {aside}" if aside else ""),
            f"  {self.requests:,} requests, {self.input_tokens:,} tokens in, {self.output_tokens:,} out",
            "  played: a Poisson process at the rate of each stretch; mean lengths are the stretch's, their spread is "
            "that of the lengths group" + ("; no prompt is cached" if "cached" in self.columns else ""),
        ]


def read_usage(options: LogOptions, bucket_s: float | None = None) -> UsageReport:
    """Read a usage report, once per content and options. Raises TraceError naming file, line and column."""
    options = LogOptions.model_validate({name: getattr(options, name) for name in LogOptions.model_fields})
    stats = [(str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files_of(options.path)]
    return _read(options.model_dump_json(), bucket_s, tuple(stats))


@lru_cache(maxsize=8)
def _read(options_json: str, bucket_s: float | None, stats: tuple) -> UsageReport:
    options = LogOptions.model_validate_json(options_json)
    shown = options.path
    rows = read_rows(shown, options.model_copy(update={"allow": [*options.allow, "sums"]}))
    if "n_requests" not in rows.numbers:
        raise TraceError(
            f"{shown}: has no column with the number of requests; arrivals.columns.n_requests=... says which it is "
            "(if each row is one request: arrivals=replay)"
        )
    counts = rows.numbers["n_requests"]
    kept = (counts > 0) & (rows.numbers["input"] >= counts) & (rows.numbers["output"] >= counts)
    aside = {"without requests": int((counts <= 0).sum()), "with fewer tokens than requests": 0}
    aside["with fewer tokens than requests"] = int((~kept).sum()) - aside["without requests"]
    if not kept.any():
        raise TraceError(f"{shown}: no row has requests and tokens")
    rows.take(np.flatnonzero(kept))
    doubts.refuse_mixed_zones(rows, options, shown)
    timeline, _ = timeline_of(rows, options, shown, {})
    order = np.argsort(timeline.seconds, kind="stable")
    rows.take(order)
    timeline = timeline._replace(seconds=timeline.seconds[order])
    doubts.refuse_long_gap(timeline, rows, shown, rows.understood.columns["arrived"][0], options)
    zone_name = options.time.zone or rows.understood.preset.time.zone or "UTC"
    timeline = timeline.begun(options.moment_zero, zone_of(zone_name)) if timeline.is_absolute else timeline
    starts_s, where = np.unique(timeline.seconds, return_inverse=True)
    ends_s, width_s = _ends(starts_s, bucket_s, shown)
    sums = [np.bincount(where, rows.numbers[role]).astype(np.int64) for role in ("n_requests", "input", "output")]
    columns = {role: " or ".join(names) for role, names in rows.understood.columns.items()}
    edges = timeline.moment(float(starts_s[0])), timeline.moment(float(ends_s[-1]))
    receipt = UsageReceipt(
        shown, rows.understood.preset.title, columns, rows.n_read, len(starts_s), width_s, *edges, float(ends_s[-1]),
        int(sums[0].sum()), int(sums[1].sum()), int(sums[2].sum()), {why: n for why, n in aside.items() if n},
    )  # fmt: skip
    digest = digest_of(files_of(shown), shown)
    begins_at = timeline.moment_zero
    return UsageReport(shown, digest, starts_s, ends_s, sums[0], sums[1], sums[2], begins_at, zone_name, receipt)


def _ends(starts_s: np.ndarray, bucket_s: float | None, shown: str) -> tuple[np.ndarray, float]:
    """The ends of stretches that begin at these moments, and their usual length."""
    gaps = np.diff(starts_s)
    if bucket_s is None and not len(gaps):
        raise TraceError(f"{shown}: has one stretch of time; arrivals.bucket_s=... says how long it is")
    width_s = float(gaps.min()) if bucket_s is None else bucket_s
    if len(gaps) and width_s > gaps.min():
        raise TraceError(f"{shown}: arrivals.bucket_s = {width_s:g}: stretches begin {gaps.min():g} s apart")
    lengths = np.append(np.where(gaps <= _REGULAR * width_s, gaps, width_s), width_s)
    return starts_s + lengths, width_s
