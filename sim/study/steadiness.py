"""Notes on the time span of a run: whether it is stationary, long enough to forget its start, and representative."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sim.api.provider import ApiProvider
from sim.moment_zero import MONDAY, MomentZero, OnTheClock, on_the_clock
from sim.records import Backend, Facts, Window
from sim.report.counting import mean_in_bins
from sim.report.estimators import Support, mean
from sim.report.formatting import number, percent
from sim.report.warmup import mser5
from sim.scenarios import Scenario
from sim.units import DAY_S, HOUR_S, MINUTE_S, WEEK_S
from sim.workload.arrivals.base import ServerDriven, Source
from sim.workload.arrivals.closed_loop import ClosedLoop
from sim.workload.arrivals.diurnal import Diurnal
from sim.workload.arrivals.markov_modulated import MarkovModulated
from sim.workload.arrivals.replay import Replay
from sim.workload.arrivals.steady import Steady
from sim.workload.arrivals.weekly import Weekly

_BINS = 250
_MATERIAL = 0.02
"""Effects below this are not worth a note."""

_SOME_REPLICATIONS = 3
"""The fewest replications of bursty traffic whose interval can tell an empty start from a quiet spell."""


class Steadiness:
    """Collects from each replication the data of its notes: a curve of a few hundred points, not the whole run."""

    def __init__(self, scenario: Scenario):
        self._scenario = scenario
        self._curves: list[np.ndarray] = []
        self._loads: list[float] = []
        self._window: Window | None = None
        self._moment_zero = MONDAY

    def add(self, facts: Facts) -> None:
        """Add one replication."""
        self._window, self._moment_zero = facts.window, facts.moment_zero
        self._curves.append(_number_inside(facts))
        load = _offered_load(self._scenario, facts)
        if load is not None:
            self._loads.append(load)

    def notes(self) -> Iterator[str]:
        """Warnings on load, warm-up and cycles, in words."""
        window = self._window
        if window is None:
            return
        if (
            len(self._curves) > 1
            and isinstance(self._scenario.arrivals, Replay)
            and self._scenario.arrivals.repeats_itself
        ):
            yield (
                f"all {len(self._curves)} replications played the same log: no figure is tested; with "
                "arrivals.bootstrap=days each draws its days"
            )
        arrivals = on_the_clock(self._scenario.arrivals, self._moment_zero)
        if self._scenario.applications:  # a sum of several, of which these notes know nothing
            return
        load = float(np.mean(self._loads)) if self._loads else 0.0
        if load >= 1:
            yield (
                f"the fleet is offered {number(load)} times the tokens that it gives saturated: there is no steady "
                "state, and latencies grow with horizon_s"
            )
        elif warmup := _warmup_note(arrivals, np.array(self._curves), window):
            yield warmup
        if cycle := cycle_note(arrivals, window):
            yield cycle


def clock_line(scenario: Scenario, moment_zero: MomentZero) -> str:
    """Which moment second 0 is, and what says so; '' if nothing says so and nothing reads hours or weekdays."""
    if scenario.starts_at is not None:
        why = "starts_at"
    elif moment_zero != MONDAY:
        why = "the log's dates"
    elif reads_hours(scenario):
        why = "no date was given; starts_at=... sets it"
    else:
        return ""
    return f"clock: second 0 is {moment_zero.shown} ({why})"


def reads_hours(scenario: Scenario) -> bool:
    """Whether anything in the scenario goes by the hour or the weekday."""
    scalers = [pool.scaling for _, pool, _ in scenario.pool_list]
    sources = [application.arrivals for application in scenario.application_list] or [scenario.arrivals]
    if any(isinstance(part, OnTheClock) for part in (*sources, *scalers)):
        return True
    api = scenario.api
    return isinstance(api, ApiProvider) and bool(api.hourly_limits or scenario.prices.api.timed)


def cycle_note(arrivals: Source, window: Window) -> str:
    """Whether the window misses the peak of traffic with a daily or weekly cycle, or cuts the cycle; '' if neither.

    The rates are those of the endless process, whatever `exact_tasks` scales them to.
    """
    if isinstance(arrivals, Diurnal):
        rate, mean_per_s = arrivals.weekly_rate, arrivals.rate_per_s
        is_daily = arrivals.weekday_factor == arrivals.weekend_factor
    elif isinstance(arrivals, Weekly):
        rate, mean_per_s = arrivals.weekly_speed, 1.0
        is_daily = bool((arrivals.week_points == np.tile(arrivals.week_points[:24], 7)).all())
    else:
        return ""
    start_s = arrivals.start_s
    week = rate(np.arange(0.0, WEEK_S, MINUTE_S))
    if week.max() <= (1 + _MATERIAL) * week.min():
        return ""
    begin_s, end_s = start_s + window.start_s, start_s + window.end_s
    highest = float(rate(np.append(np.arange(begin_s, end_s, MINUTE_S), end_s)).max()) / float(week.max())
    level = float(np.diff(rate.integral(np.array([begin_s, end_s])))[0]) / window.length_s / mean_per_s
    cycle_s = DAY_S if is_daily else WEEK_S
    name = {DAY_S: "day", WEEK_S: "week"}[cycle_s]
    advice = f"horizon_s={cycle_s:.0f} plays a whole {name}"
    if highest < 1 - _MATERIAL:
        return (
            f"the window of {_span(window.length_s)} misses the peak: its highest rate is {percent(highest)} % of the "
            f"{name}'s; {advice}"
        )
    if abs(level - 1) > _MATERIAL:
        return (
            f"the window of {_span(window.length_s)} cuts a cycle: its mean rate is {percent(level)} % of the "
            f"{name}'s, and figures per month are off likewise; {advice}"
        )
    return ""


def _span(length_s: float) -> str:
    return f"{number(length_s / DAY_S)} days" if length_s > DAY_S else f"{number(length_s / HOUR_S)} h"


def _number_inside(facts: Facts) -> np.ndarray:
    """Requests in the system, mean over each of _BINS parts of the time up to the horizon; float64[_BINS]."""
    requests, edges_s = facts.requests, np.linspace(0.0, facts.window.end_s, _BINS + 1)
    ended_s = np.where(np.isnan(requests["finished_s"]), requests["arrived_s"], requests["finished_s"])
    return mean_in_bins(requests["arrived_s"], ended_s, edges_s)


def _offered_load(scenario: Scenario, facts: Facts) -> float | None:
    """Tokens sent to the fleet in the window over those that all its replicas, saturated, give in the same time.

    None where nothing is offered regardless of what is served, as in a closed loop, or the peak is not known.
    """
    if not scenario.has_fleet or isinstance(scenario.arrivals, ServerDriven):
        return None
    pools = zip((scenario, *map(scenario.of_pool, scenario.pools)), facts.pools, strict=False)
    capacity_per_s = 0.0
    for pool, known in pools:
        if known.peak_tokens_per_s is None:
            return None
        capacity_per_s += pool.scaling.max_replicas * known.peak_tokens_per_s
    requests, window = facts.requests, facts.window
    sent = (requests["backend"] == Backend.FLEET) & (requests["arrived_s"] >= window.start_s)
    sent &= requests["arrived_s"] < window.end_s
    tokens = float((requests["input_tokens"][sent] + requests["output_tokens"][sent]).sum(dtype=np.float64))
    return tokens / (window.length_s * capacity_per_s)


def _warmup_note(arrivals: Source, curves: np.ndarray, window: Window) -> str:
    """A note if MSER-5, on the mean curve over replications, leaves out more than the warm-up and it matters; or ''.

    `curves` is float64[replications, _BINS]: requests in the system, per bin of the time up to the horizon.
    """
    fluctuates = isinstance(arrivals, MarkovModulated)
    if not isinstance(arrivals, (Steady, MarkovModulated, ClosedLoop)) or (
        fluctuates and len(curves) < _SOME_REPLICATIONS
    ):
        return ""
    settled = mser5(curves.mean(axis=0)).observations
    bins_left_out = int(np.ceil(window.start_s / window.end_s * _BINS))
    if settled is None or settled <= bins_left_out:
        return ""
    reported, rest = curves[:, bins_left_out:].mean(axis=1), curves[:, settled:].mean(axis=1)
    if not rest.mean() or reported.mean() / rest.mean() > 1 - _MATERIAL:
        return ""
    if len(curves) >= _SOME_REPLICATIONS and not mean((rest - reported).tolist(), Support.REAL).excludes_zero:
        return ""
    settled_s = settled / _BINS * window.end_s
    return (
        f"the run begins empty and fills up: without its first {number(settled_s)} s (MSER-5) requests in the system "
        f"would be {percent(1 - reported.mean() / rest.mean())} % more; warmup_s={settled_s:.0f} leaves them out"
    )
