"""The receipt of a log: what it was taken for, how much of it was read, and what had to be assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.workload.logs.gathering import Rows
from sim.workload.logs.roles import LogOptions
from sim.workload.logs.sessions import Chains
from sim.workload.logs.timeline import Timeline


@dataclass(frozen=True)
class Receipt:
    """What a reader of a log understood. Tokens are those of the rows kept; `cached_tokens` as the log says them."""

    path: str
    preset: str
    title: str
    known_by: tuple[str, ...]  # keys; empty: by nothing but usual names
    was_told: bool  # whether the user named the preset
    container: str
    columns: dict[str, str]
    unit: str  # of the stamps, and what says so; "dates"
    zone: str | None  # of dates
    rows_read: int
    rows_kept: int
    set_aside: dict[str, int]
    first: str | None  # date and time; None: the log has none
    last: str | None
    span_s: float
    requests_per_s: float | None
    input_tokens: int
    cached_tokens: int | None
    cache_written_tokens: int | None
    output_tokens: int
    cached_are: str | None
    sessions: int | None
    calls_in_sessions: int | None
    tasks: int
    gaps: tuple[str, ...]
    models: dict[str, int]
    block_tokens: int | None
    assumed: tuple[str, ...]
    played: tuple[str, ...] = ()  # in place of the log as recorded
    users: int | None = None  # that it names; None: it names none

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.__dict__.items()}

    def lines(self) -> list[str]:
        """A few lines for a terminal."""
        known = (
            "as told" if self.was_told else f"known by {', '.join(self.known_by)}" if self.known_by else "usual names"
        )
        columns = ", ".join(f"{role} = {name}" for role, name in self.columns.items())
        read = f"{self.rows_read:,} rows read, {self.rows_kept:,} kept"
        if self.set_aside:
            read += "; set aside: " + ", ".join(f"{count:,} {why}" for why, count in self.set_aside.items())
        rate = "" if self.requests_per_s is None else f", {self.requests_per_s:.4g} requests/s"
        zone = "" if self.zone is None else f", zone {self.zone}"
        when = f"{self.first} to {self.last}, " if self.first else ""
        cached = "" if self.cached_tokens is None else f" ({self.cached_tokens:,} cached, {self.cached_are})"
        lines = [
            f"log: {self.path}: {self.title} ({self.preset}; {known}), {self.container}",
            f"  columns: {columns}",
            f"  time: {self.unit}{zone}; {when}span {_length(self.span_s)}{rate}",
            f"  {read}",
            f"  tokens: {self.input_tokens:,} in{cached}, {self.output_tokens:,} out",
        ]
        if self.sessions is not None:
            gaps = f"; gaps {' and '.join(self.gaps)}" if self.gaps else ""
            lines.append(
                f"  {self.sessions:,} sessions, {self.calls_in_sessions:,} calls in them, {self.tasks:,} tasks{gaps}"
            )
        if self.users is not None:
            lines.append(f"  {self.users:,} users")
        if self.models:
            shown = [f"{name} {count:,}" for name, count in list(self.models.items())[:8]]
            lines.append("  models: " + ", ".join(shown) + (", ..." if len(self.models) > 8 else ""))
        if self.block_tokens is not None:
            lines.append(f"  prefix blocks of {self.block_tokens} tokens")
        return lines + [f"  assumed: {what}" for what in self.assumed] + [f"  played: {what}" for what in self.played]


def _length(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds:.6g} s"
    return (
        f"{seconds:.6g} s ({seconds / 3600:.1f} h)"
        if seconds < 172_800
        else f"{seconds:.6g} s ({seconds / 86400:.1f} d)"
    )


def receipt_of(
    rows: Rows, options: LogOptions, timeline: Timeline, cached_are: str | None, chains: Chains | None,
    block_tokens: int | None, assumed: tuple[str, ...],
) -> Receipt:  # fmt: skip
    """The receipt of rows in order of time."""
    numbers, understood, seconds = rows.numbers, rows.understood, timeline.seconds
    span_s = float(seconds[-1] - seconds[0])
    sums = {role: int(np.maximum(numbers[role], 0).sum()) for role in ("cached", "cache_written") if role in numbers}
    if timeline.unit.endswith("(assumed)"):
        assumed = (*assumed, f"{_arrived(rows)} is in seconds (else: arrivals.time.unit=ms)")
    models: dict[str, int] = {}
    if "model" in numbers:
        codes, counts = np.unique(numbers["model"][numbers["model"] >= 0], return_counts=True)
        names = rows.names["model"]
        models = {names[code]: int(n) for code, n in sorted(zip(codes, counts, strict=True), key=lambda pair: -pair[1])}
    users = np.unique(numbers["user"][numbers["user"] >= 0]) if "user" in numbers else ()
    in_sessions = None if chains is None else int(chains.n_calls)
    return Receipt(
        path=options.path, preset=understood.preset.name, title=understood.preset.title,
        known_by=tuple(understood.keys), was_told=options.format != "auto", container=rows.container,
        columns={role: " or ".join(names) for role, names in understood.columns.items()},
        unit=timeline.unit, zone=_zone(rows, options) if timeline.unit == "dates" else None,
        rows_read=rows.n_read, rows_kept=len(rows), set_aside=dict(rows.set_aside),
        first=timeline.moment(float(seconds[0])), last=timeline.moment(float(seconds[-1])),
        span_s=span_s, requests_per_s=(len(rows) - 1) / span_s if span_s > 0 else None,
        input_tokens=int(numbers["input"].sum()), cached_tokens=sums.get("cached"),
        cache_written_tokens=sums.get("cache_written"), output_tokens=int(numbers["output"].sum()),
        cached_are=cached_are, sessions=None if chains is None else chains.n_sessions, calls_in_sessions=in_sessions,
        tasks=len(rows) if chains is None else int(chains.task_ids.max()) + 1,
        gaps=() if chains is None else chains.gap_kinds, models=models, block_tokens=block_tokens, assumed=assumed,
        users=len(users) or None,
    )  # fmt: skip


def _arrived(rows: Rows) -> str:
    return next(found.name for found in rows.moments.values())


def _zone(rows: Rows, options: LogOptions) -> str:
    dates = rows.dates
    named = options.time.zone or rows.understood.preset.time.zone
    if not dates.without_zone:
        return "as the stamps say"
    return named if named else "UTC (assumed: the stamps name none)"
