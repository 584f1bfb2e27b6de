"""How much work a scenario asks for, before any of it is done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from sim.schema import ConfigError
from sim.workload.arrivals.base import Arrivals

MOST_EVENTS = 1e9
"""Of one sort, over all replications: about three hours of one core at 100,000 a second."""
EACH_CPU_S = 0.08
"""What a scenario with next to no traffic takes, from its configuration to its files."""
_BYTES_PER_CALL = 8
"""The least that a row of a request log takes."""
_PER_CPU_SECOND, _YEAR_S = 1e5, 365 * 86_400


def refuse_endless_work(scenario: Any) -> None:
    """Raise ConfigError, with the time it would take, if a `Scenario` asks for more than `MOST_EVENTS` of one sort."""
    n_replications = _most_replications(scenario)
    for key, value, n_events, what in _events(scenario):
        total = n_events * n_replications
        if total > MOST_EVENTS:
            cpu_s = total / _PER_CPU_SECOND
            long = f"{cpu_s / _YEAR_S:.2g} years" if cpu_s > _YEAR_S else f"{cpu_s / 3600:.2g} hours"
            times = f" in {n_replications} replications" if n_replications > 1 else ""
            raise ConfigError(
                f"{key} = {value:g}: asks for {total:.2g} {what}{times}, about {long} of computing; "
                f"at most {MOST_EVENTS:g} are played"
            )


def expected_cpu_s(scenario: Any) -> float | None:
    """CPU seconds that playing a `Scenario` takes, to within a factor of three; None if only its log can tell.

    At least `EACH_CPU_S`, for reading, checking, pricing and writing.
    """
    n_events = sum(number for _, _, number, _ in _events(scenario))
    for arrivals in [application.arrivals for application in scenario.application_list] or [scenario.arrivals]:
        if arrivals.ends_by_itself and _tasks_of(arrivals) is None:
            path = getattr(arrivals, "path", None)
            if path is None or not os.path.isfile(path):
                return None
            n_events += os.path.getsize(path) / _BYTES_PER_CALL
    return EACH_CPU_S + _most_replications(scenario) * n_events / _PER_CPU_SECOND


def _most_replications(scenario: Any) -> int:
    """Those asked for; with "auto", as many as the metrics need, the cap."""
    n_replications = scenario.replications
    return n_replications if isinstance(n_replications, int) else int(scenario.study.max_replications)


def _tasks_of(arrivals: Any) -> int | None:
    """The tasks that a traffic states the number of."""
    return getattr(arrivals, "exact_tasks", None) or getattr(arrivals, "n_tasks", None)


def _events(scenario: Any) -> Iterator[tuple[str, float, float, str]]:
    """(key, value, number in one replication, what) of whatever grows with a number of the configuration."""
    horizon_s = scenario.horizon_s or 0.0
    for application in scenario.application_list:
        for key, value, n_events, what in _traffic(application.arrivals, application.tasks, horizon_s):
            yield f"applications.{application.name}: {key}", value, n_events, what
    if not scenario.application_list:
        yield from _traffic(scenario.arrivals, scenario.tasks, horizon_s)
    for key, part, what in (("routing", scenario.routing, "looks"), ("placement", scenario.placement, "looks")):
        if refresh_s := getattr(part, "refresh_s", None):
            yield f"{key}.refresh_s", refresh_s, horizon_s / refresh_s, what
    for name, pool, _ in scenario.pool_list:
        first = "" if pool is scenario else f"pools.{name}."
        if pool.scaling.tick_s:
            yield f"{first}scaling.tick_s", pool.scaling.tick_s, horizon_s / pool.scaling.tick_s, "looks of the scaler"
        if pool.reliability.spot:
            n_zones = pool.reliability.spot.n_zones
            yield f"{first}reliability.spot.n_zones", n_zones, 1000.0 * n_zones, "streams of random numbers"


def _traffic(arrivals: Any, tasks: Any, horizon_s: float) -> Iterator[tuple[str, float, float, str]]:
    n_tasks = 0.0
    for key, value, number, what in _work(arrivals, horizon_s):
        n_tasks += number if what == "tasks" else 0.0
        yield f"arrivals.{key}", value, number, what
    if n_tasks and tasks is not None:
        n_calls = tasks.mean_calls_per_task
        yield "mean calls per task", n_calls, n_tasks * n_calls, "calls"


def _work(arrivals: Any, horizon_s: float) -> Iterator[tuple[str, float, float, str]]:
    if isinstance(arrivals, Arrivals):
        yield from arrivals.work(horizon_s)
    for key, what in (("n_tasks", "tasks"), ("n_clients", "clients")):
        if number := getattr(arrivals, key, None):
            yield key, number, number, what
