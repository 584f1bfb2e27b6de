"""How much work a scenario asks for, before any of it is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sim.schema import ConfigError

MOST_EVENTS = 1e9
"""Of one sort, over all replications: about three hours of one core at 100,000 a second."""
_PER_CPU_SECOND, _YEAR_S = 1e5, 365 * 86_400


def refuse_endless_work(scenario: Any) -> None:
    """Raise ConfigError, with the time it would take, if a `Scenario` asks for more than `MOST_EVENTS` of one sort."""
    n_replications = scenario.replications
    if not isinstance(n_replications, int):  # "auto": as many as the metrics need, up to a cap
        n_replications = scenario.study.max_replications
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
    n_tasks = getattr(arrivals, "exact_tasks", None) or getattr(arrivals, "n_tasks", None)
    rate_per_s, n_sources = getattr(arrivals, "rate_per_s", None), getattr(arrivals, "n_sources", 1)
    if n_tasks is not None:
        yield (
            ("arrivals.exact_tasks" if hasattr(arrivals, "exact_tasks") else "arrivals.n_tasks"),
            n_tasks,
            n_tasks,
            "tasks",
        )
    elif rate_per_s is not None:
        n_tasks = rate_per_s * n_sources * horizon_s
        yield "arrivals.rate_per_s", rate_per_s, n_tasks, "tasks"
    elif not arrivals.ends_by_itself and (mean_per_s := getattr(arrivals, "mean_rate_per_s", None)) is not None:
        n_tasks = mean_per_s * horizon_s
        yield "arrivals: tasks per second", mean_per_s, n_tasks, "tasks"
    if n_tasks is not None and tasks is not None:
        n_calls = tasks.mean_calls_per_task
        yield "mean calls per task", n_calls, n_tasks * n_calls, "calls"
    if n_clients := getattr(arrivals, "n_clients", None):
        yield "arrivals.n_clients", n_clients, n_clients, "clients"
    if burst_s := getattr(arrivals, "mean_burst_s", None):
        yield "arrivals.mean_burst_s", burst_s, n_sources * horizon_s / burst_s, "bursts"
