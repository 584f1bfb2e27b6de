"""What is refused in a log unless the user says that it is no mistake, each in one line with the words to type."""

from __future__ import annotations

import numpy as np

from sim.schema import TraceError
from sim.workload.logs.columns import quoted
from sim.workload.logs.gathering import Rows
from sim.workload.logs.reading import A_RATE
from sim.workload.logs.roles import LogOptions
from sim.workload.logs.timeline import Timeline

_DAY_S, _YEAR_S = 86_400.0, 31_557_600.0


def refuse_mixed_zones(rows: Rows, options: LogOptions, shown: str) -> None:
    """Dates with a zone beside dates without one."""
    dates = rows.dates
    zone = options.time.zone or rows.understood.preset.time.zone
    if dates.with_zone and dates.without_zone and zone is None:
        line, has = dates.first_of_other_kind or (rows.lines[0], "a")
        counts = f"{dates.with_zone} dates name a zone and {dates.without_zone} do not"
        raise TraceError(
            f"{shown}, {rows.place} {line}: has {has} zone, unlike the rows before: {counts}; "
            "say in which zone those are: arrivals.time.zone=UTC"
        )


def refuse_sums(rows: Rows, options: LogOptions, shown: str) -> None:
    """Rows that are sums over many requests."""
    if "sums" in options.allow:
        return
    counts = rows.numbers.get("n_requests")
    if counts is not None and (counts > 1).any():
        tokens = [_sum(rows.numbers[role]) for role in ("input", "output")]
        total = f"{int(counts[counts > 0].sum())} requests, {tokens[0]} tokens in, {tokens[1]} out"
        name = rows.understood.columns["n_requests"][0]
        raise TraceError(f"{shown}: its rows are sums over up to {counts.max()} requests ({name}; {total}): {A_RATE}")


def _sum(tokens: np.ndarray) -> int:
    return int(tokens[tokens > 0].sum())


def refuse_several_models(rows: Rows, options: LogOptions, shown: str) -> None:
    """More than one model: other prices, other speed, perhaps embeddings."""
    codes = rows.numbers.get("model")
    if codes is None or options.application_from == "model" or "several_models" in options.allow:
        return
    numbers, counts = np.unique(codes[codes >= 0], return_counts=True)
    if len(numbers) < 2:
        return
    order = np.argsort(-counts, kind="stable")
    found = [(rows.names["model"][numbers[i]], int(counts[i])) for i in order]
    models = ", ".join(f"{name} {count}" for name, count in found[:4]) + (", ..." if len(found) > 4 else "")
    raise TraceError(
        f"{shown}: holds {len(found)} models ({models}); choose one with arrivals.keep.model={quoted(found[0][0])}, "
        "make each an application with arrivals.application_from=model, or take all as one with "
        "arrivals.allow=[several_models]"
    )


def refuse_one_moment(timeline: Timeline, shown: str, name: str, options: LogOptions) -> None:
    """All stamps equal: rounded, by a spreadsheet perhaps. All at the moment 0 are a burst that was meant."""
    seconds = timeline.seconds
    if "one_moment" in options.allow or len(seconds) < 2 or not timeline.is_absolute:
        return
    n_moments = 1 if np.ptp(seconds) == 0 else len(np.unique(seconds)) if len(seconds) >= 20 else 3
    if n_moments <= 2:
        moments = "one moment" if n_moments == 1 else "two moments"
        raise TraceError(
            f"{shown}, column {name!r}: all {len(seconds)} stamps are {moments} (rounded, by a spreadsheet perhaps?); "
            "if they really came at once: arrivals.allow=[one_moment]"
        )


def refuse_long_gap(timeline: Timeline, rows: Rows, shown: str, name: str, options: LogOptions) -> str | None:
    """A gap of more than a day that is longer than all the rest of the log: a stamp that was never set, or wrong.

    Whole days are exempt, for those stamps are coarse, and so is a log without dates that the gap parts into halves:
    load tests have stages. Returns a note on a gap that is allowed or shorter than a day.
    """
    seconds = timeline.seconds
    if len(seconds) < 2:
        return None
    gaps = np.diff(seconds)
    i = int(gaps.argmax())
    gap_s, rest_s = float(gaps[i]), float(np.ptp(seconds) - gaps[i])
    if gap_s <= rest_s or gap_s <= _DAY_S or (len(seconds) == 2 and gap_s < _YEAR_S):
        return None
    before = i + 1
    n_odd, side, odd = (
        (before, "before", i) if before <= len(seconds) - before else (len(seconds) - before, "after", i + 1)
    )
    by_stages = not timeline.is_absolute and n_odd * 4 > len(seconds)
    if "long_gap" in options.allow or by_stages or _whole_days(timeline, rows):
        return f"a gap of {_length(gap_s)} is longer than all the rest of the log"
    which = f"{rows.place} {rows.lines[odd]}" + (f" and {n_odd - 1} more" if n_odd > 1 else "")
    raise TraceError(
        f"{shown}, {which}, column {name!r}: lies {_length(gap_s)} {side} all other stamps, which span "
        f"{_length(rest_s)} (unset?); if that is no mistake: arrivals.allow=[long_gap]"
    )


def _whole_days(timeline: Timeline, rows: Rows) -> bool:
    found = rows.moments.get("arrived")
    return bool(found is not None and found.are_dates and (found.values % (86_400 * 10**9) == 0).all())


def _length(seconds: float) -> str:
    for unit, size in (("years", _YEAR_S), ("days", _DAY_S), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:g} s"


def first_repeats(ids: np.ndarray) -> np.ndarray:
    """bool[n]: which rows repeat an earlier one's id; `ids` is uint64[n], 0 for none."""
    order = np.argsort(ids, kind="stable")
    same = np.zeros(len(ids), bool)
    ranked = ids[order]
    same[order[1:]] = (ranked[1:] == ranked[:-1]) & (ranked[1:] != 0)
    return same


def set_aside_repeated(rows: Rows, options: LogOptions, shown: str) -> None:
    """Rows that repeat an id are counted once. More repeats than half of a log are no repeats: refused."""
    ids = rows.numbers.get("id")
    if ids is None or "repeated_ids" in options.allow:
        return
    repeats = first_repeats(ids)
    if repeats.sum() * 2 > len(ids):
        name = rows.understood.columns["id"][0]
        raise TraceError(
            f"{shown}, column {name!r}: {int(repeats.sum())} of {len(ids)} rows repeat an id, as calls of a session "
            f"do; say arrivals.columns.session={quoted(name)}, or arrivals.allow=[repeated_ids] to replay them all"
        )
    if repeats.any():
        rows.set_aside["repeated ids"] += int(repeats.sum())
        rows.take(np.flatnonzero(~repeats))
