"""A synthetic workload with the statistics of a log: arrivals, token lengths and tasks, each by what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2_contingency

from sim.schema import TraceError
from sim.units import DAY_S, WEEK_S
from sim.workload.arrivals.base import Arrivals
from sim.workload.arrivals.course import Course
from sim.workload.arrivals.mmpp import Mmpp
from sim.workload.arrivals.steady import Steady
from sim.workload.arrivals.weekly import Weekly
from sim.workload.description.calls import Calls
from sim.workload.description.rates import Minutes
from sim.workload.description.reuse import reuse_of
from sim.workload.fitting.bursts import fitted_bursts
from sim.workload.fitting.continuations import fitted_continuations
from sim.workload.fitting.course import LEVELS, shrunk_course
from sim.workload.fitting.path import is_like, path_of_rate
from sim.workload.fitting.sessions import fitted_sessions
from sim.workload.lengths.quantiles import Quantiles
from sim.workload.tasks.base import Tasks

LEAST_TASKS = 20
_LEAST_IN_STEP = 20
_LEAST_FOR_BURSTS = 200
_LEAST_IN_ROW = 50
_MOST_ROWS = 10
_LEAST_IN_STRETCH = 100
_MOST_STRETCHES = 64
_BY_CHANCE = 1e-3
_COMMON = 0.9
_LITTLE, _SEEN = 0.01, 0.05
"""Fractions of all prompt tokens: reuse that is left out in silence, and what a cache must hold for it to be seen."""
_AT = (*(round(0.01 * i, 2) for i in range(99)), *(round(0.99 + 0.001 * i, 3) for i in range(10)))
_FAR = (0.9995, 0.9999, 0.99995, 0.99999, 0.999995, 0.999999)
"""Where a log has calls beyond these. Between quantiles numbers are interpolated: from the last thousandth straight to
the longest call they would make a long tail heavier than it is."""


@dataclass(frozen=True)
class Fitted:
    """Three config groups, and how to play them: from which moment, how long. `notes` say what a fit leaves out."""

    arrivals: Arrivals
    lengths: Quantiles
    tasks: Tasks
    starts_at: str | None  # None: the log has no dates, or its hours do not matter
    horizon_s: float
    notes: tuple[str, ...]

    @property
    def groups(self) -> dict[str, Any]:
        """The configs by group; `lengths` only where tasks use it."""
        found: dict[str, Any] = {"arrivals": self.arrivals, "tasks": self.tasks}
        return found | ({"lengths": self.lengths} if self.tasks.uses_lengths else {})


def fit(calls: Calls) -> Fitted:
    """The workload that imitates some calls. It draws its tasks anew: none of them is one of the log.

    Raises TraceError where there are fewer than twenty tasks.
    """
    if len(calls.begins_s) < LEAST_TASKS:
        what = "sessions" if calls.has_sessions else "requests"
        raise TraceError(f"{calls.log.path}: has {len(calls.begins_s)} {what}: a fit needs {LEAST_TASKS} or more")
    notes = list(calls.notes)
    tasks: Tasks
    if calls.has_sessions:
        tasks = fitted_sessions(calls)
        notes.append(
            "calls, gaps and tokens of a session are drawn independently, but for new input, which depends on the "
            "number of the call"
        )
    else:
        tasks = fitted_continuations(calls, _common_prefix_tokens(calls))
        if not tasks.shares_prompts:
            notes += _reuse_left_out(calls, tasks.shared_prefix_tokens)
    if calls.log.applications is not None:
        notes.append("applications are not told apart")
    arrivals, on_the_clock = fitted_arrivals(calls)
    zero = calls.zero if on_the_clock else None
    starts_at = None if zero is None else f"{zero.local(0.0):%Y-%m-%dT%H:%M:%S} {zero.zone_name}"
    if isinstance(arrivals, Course) and isinstance(arrivals.step_s, tuple):
        notes.append(
            "no process of bursts waits and falls silent as the log does: each draw has the bursts and silences of the "
            "log at their own moments, and draws differ less than other hours would"
        )
    lengths = fitted_lengths(calls.input_tokens, calls.output_tokens)
    if lengths.course and tasks.uses_lengths:
        notes.append(
            f"the mix of prompts changes along the log, and every {lengths.calls_per_stretch} calls it does so in the "
            "fit"
        )
    return Fitted(arrivals, lengths, tasks, starts_at, calls.tasks_period_s, tuple(notes))


def fitted_arrivals(calls: Calls) -> tuple[Arrivals, bool]:
    """(arrivals of tasks, whether they follow the hours of the scenario's moment zero).

    A week or more has the profile of its 168 hours, two days or more that of 24 hours, and a shorter record its course
    in up to 64 steps. Inside it, bursts (see `fitted_bursts`). A short record that has other waits and silences than
    these (see `is_like`) keeps the path of its rate.
    """
    times_s, period_s = calls.begins_s, calls.tasks_period_s
    rate = len(times_s) / period_s
    steady = Steady(rate_per_s=rate)
    if period_s >= 2 * DAY_S:
        envelope = _weekly(calls, steady)
        bursts = _bursts(times_s, period_s, envelope)
        return envelope.model_copy(update={"process": bursts or steady}), True
    levels = int(np.clip(np.log2(max(len(times_s) / _LEAST_IN_STEP, 1)), 0, LEVELS))
    steps = 2**levels
    counts = np.bincount(np.minimum((times_s / period_s * steps).astype(np.int64), steps - 1), minlength=steps)
    step_s = period_s / steps
    course = shrunk_course(counts, step_s, lambda window_s: rate * window_s)
    bursts = _bursts(times_s, period_s, _course(course, step_s, steady))
    if bursts is not None:
        process = bursts
        course = shrunk_course(counts, step_s, lambda w: rate * w * process.index_of_dispersion(w))
    flat = np.ptp(course) < 1e-9
    found = bursts or steady if flat else _course(course, step_s, bursts or steady)
    if len(times_s) >= _LEAST_FOR_BURSTS and not is_like(found, times_s, period_s):
        found = path_of_rate(times_s, period_s)
    return found, False


def _course(rates: np.ndarray, step_s: float, process: Arrivals) -> Course:
    return Course(step_s=step_s, relative_rates=tuple(np.round(rates, 4).tolist()), process=process)


def _weekly(calls: Calls, process: Arrivals) -> Weekly:
    minutes = Minutes(calls.begins_s, calls.tasks_period_s, calls.zero)
    hours = 168 if calls.tasks_period_s >= WEEK_S else 24
    profile = minutes.profile(hours)
    assert profile is not None, "the record is longer than the profile"
    rates = [value or 0.0 for value in profile.hours]
    weekly = Weekly(hours=tuple(round(value, 4) for value in rates), process=process)
    return weekly if calls.zero is None else weekly.starting(calls.zero)


def _bursts(times_s: np.ndarray, period_s: float, envelope: Course | Weekly) -> Mmpp | None:
    rate = len(times_s) / period_s
    window_s = max(1.0, 0.5 / rate)
    windows = int(period_s / window_s)
    if len(times_s) < _LEAST_FOR_BURSTS or windows < _LEAST_FOR_BURSTS / 4:
        return None
    places = (times_s / window_s).astype(np.int64)
    counts = np.bincount(places[places < windows], minlength=windows)
    expected = rate * np.diff(envelope.operational_s(np.arange(windows + 1) * window_s))
    return fitted_bursts(counts, expected, window_s, rate)


def fitted_lengths(input_tokens: np.ndarray, output_tokens: np.ndarray) -> Quantiles:
    """Quantiles of both, those of the output by up to ten equal parts of the input, and the course of these parts.

    int64[n] each, in order of arrival.
    """
    order, n = np.argsort(input_tokens, kind="stable"), len(input_tokens)
    parts = np.array_split(order, int(np.clip(n // _LEAST_IN_ROW, 1, _MOST_ROWS)))
    at = (*_AT, *(level for level in _FAR if (1 - level) * n >= 1), 1.0)
    rows = tuple(_quantiles(output_tokens[part], at) for part in parts)
    fitted = Quantiles(at=at, input_tokens=_quantiles(input_tokens, at), output_tokens=rows)
    part_of = np.empty(n, np.int64)
    for i, part in enumerate(parts):
        part_of[part] = i
    size = max(_LEAST_IN_STRETCH, -(-n // _MOST_STRETCHES))
    course = _course_of_parts(part_of, len(parts), size)
    return fitted if course is None else fitted.model_copy(update={"course": course, "calls_per_stretch": size})


def _course_of_parts(part_of: np.ndarray, n_parts: int, size: int) -> tuple[tuple[float, ...], ...] | None:
    """Shares of the parts in each stretch of `size` calls; None where chance alone explains how they differ.

    All differences from the mean are reduced by one factor, so that their sum of squares (chi squared) is what is
    measured less what chance brings.
    """
    stretches = round(len(part_of) / size)
    if stretches < 2 or n_parts < 2:
        return None
    stretch = np.minimum(np.arange(len(part_of)) // size, stretches - 1)
    counts = np.bincount(stretch * n_parts + part_of, minlength=stretches * n_parts).reshape(stretches, n_parts)
    found = chi2_contingency(counts)
    if found.pvalue > _BY_CHANCE:
        return None
    mean, shares = counts.sum(axis=0) / counts.sum(), counts / counts.sum(axis=1, keepdims=True)
    shares = np.round(mean + np.sqrt(1 - found.dof / found.statistic) * (shares - mean), 4)
    shares[np.arange(stretches), shares.argmax(axis=1)] += 1 - shares.sum(axis=1)
    return tuple(tuple(np.round(row, 4).tolist()) for row in shares)


def _quantiles(values: np.ndarray, at: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(np.quantile(values, at, method="inverted_cdf").tolist())


def _reuse_left_out(calls: Calls, common_tokens: int) -> Iterator[str]:
    """What is said of reuse between prompts that the log tells without blocks, if it has any."""
    log = reuse_of(calls)
    if log is None:
        return
    of_fit = float(np.minimum(calls.input_tokens, common_tokens).sum() / calls.input_tokens.sum())
    if log.hit_fraction - of_fit < _LITTLE:
        return
    sizes = [at.memory_tokens for at in log.by_memory if at.hit_fraction - of_fit > _SEEN]
    seen_tokens = min(sizes, default=log.distinct_tokens)
    yield (
        "of the prefix reuse only the text that nearly all prompts begin with is imitated: of the prompt tokens "
        f"{100 * log.hit_fraction:.1f} % were in an earlier prompt, of the fit's {100 * of_fit:.1f} %, which shows "
        f"where a prefix cache holds {seen_tokens:,} tokens or more"
    )


def _common_prefix_tokens(calls: Calls) -> int:
    """Tokens of the leading blocks that at least nine in ten prompts share."""
    log, common = calls.log, 0
    if log.hash_ids is None or log.hash_offsets is None or log.block_tokens is None:
        return 0
    begins, counts = log.hash_offsets[calls.rows], np.diff(log.hash_offsets)[calls.rows]
    while True:
        long = counts > common
        ids, n = np.unique(log.hash_ids[begins[long] + common], return_counts=True)
        if not len(n) or n.max() < _COMMON * len(calls):
            return common * log.block_tokens
        common += 1
