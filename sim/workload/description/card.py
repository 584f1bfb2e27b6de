"""The card of a log: all that is known of its traffic, as typed data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sim.units import HOUR_S, MINUTE_S
from sim.workload.description.calls import Calls
from sim.workload.description.dispersion import (
    Dispersion,
    Silence,
    Silences,
    dispersions,
    gap_cv,
    silences,
)
from sim.workload.description.rates import (
    Busiest,
    Course,
    Minutes,
    Profile,
    Trend,
    busiest_of,
    course_of,
    longest_silences,
    trend_of,
)
from sim.workload.description.reuse import Reuse, reuse_of
from sim.workload.description.sessions import Sessions, sessions_of
from sim.workload.description.token_lengths import Lengths, lengths_of


@dataclass(frozen=True)
class Card:
    """What a log holds. Seconds count from the start of the window; rates are of calls unless sessions are named."""

    requests: int
    span_s: float
    requests_per_s: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    sessions_per_s: float | None  # None: the log has none
    begins: str | None  # local date and time of second 0; None: the log has none
    gap_cv: float | None  # of the gaps between requests
    dispersion: tuple[Dispersion, ...]  # of requests
    session_gap_cv: float | None
    session_dispersion: tuple[Dispersion, ...] | None  # of the first calls of sessions
    course: Course
    day: Profile | None
    week: Profile | None
    busiest_minute: Busiest | None
    busiest_hour: Busiest | None
    trend: Trend | None
    silences: tuple[Silences, ...]
    longest_silences: tuple[Silence, ...]
    empty_hours: int
    lengths: Lengths
    sessions: Sessions | None
    reuse: Reuse | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def card_of(calls: Calls, with_reuse: bool = True) -> Card:
    """The card of some calls. Memory grows with their number, not with the span of the record."""
    times_s, period_s = calls.arrived_s, calls.period_s
    minutes = Minutes(times_s, period_s, calls.zero)
    has_sessions, begins_s, tasks_period_s = calls.has_sessions, calls.begins_s, calls.tasks_period_s
    begins = None if calls.zero is None else f"{calls.zero.local(0.0):%a %Y-%m-%d %H:%M:%S} {calls.zero.zone_name}"
    return Card(
        requests=len(calls), span_s=period_s, requests_per_s=len(calls) / period_s,
        input_tokens_per_s=float(calls.input_tokens.sum() / period_s),
        output_tokens_per_s=float(calls.output_tokens.sum() / period_s),
        sessions_per_s=len(begins_s) / tasks_period_s if has_sessions else None, begins=begins,
        gap_cv=gap_cv(times_s), dispersion=dispersions(times_s, period_s),
        session_gap_cv=gap_cv(begins_s) if has_sessions else None,
        session_dispersion=dispersions(begins_s, tasks_period_s) if has_sessions else None,
        course=course_of(calls), day=minutes.profile(24), week=minutes.profile(168),
        busiest_minute=busiest_of(calls, MINUTE_S), busiest_hour=busiest_of(calls, HOUR_S), trend=trend_of(calls),
        silences=silences(times_s, period_s), longest_silences=longest_silences(calls),
        empty_hours=minutes.empty_hours(), lengths=lengths_of(calls.input_tokens, calls.output_tokens),
        sessions=sessions_of(calls), reuse=reuse_of(calls) if with_reuse else None, notes=calls.notes,
    )  # fmt: skip
