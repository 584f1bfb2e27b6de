"""Work that would never end is refused at once, with the time that it would take."""

from __future__ import annotations

import numpy as np
import pytest

import sim
from sim.schema import ConfigError
from sim.workload.tasks.base import expected_calls

ENDLESS = {
    "arrivals.exact_tasks": ["arrivals.exact_tasks=100000000000000"],
    "arrivals.rate_per_s": ["arrivals.rate_per_s=1e9"],
    "arrivals.mean_burst_s": ["arrivals=bursty", "arrivals.mean_burst_s=1e-9"],
    "arrivals.mean_stays_s": ["arrivals=mmpp", "arrivals.mean_stays_s=[1e-9,1e-9,1e-9]"],
    "arrivals.decay_s": ["arrivals=hawkes", "arrivals.decay_s=1e9"],
    "arrivals.rise_s": ["arrivals=flash_crowd", "arrivals.rise_s=1e-9"],
    "arrivals.process.rate_per_s": ["arrivals=flash_crowd", "arrivals.begins_s=0", "arrivals.peak_factor=1e15"],
    "arrivals.step_s": ["arrivals=course", "arrivals.step_s=1e-9"],
    "arrivals.clients.bursty.arrivals.exact_tasks": [
        "arrivals=clients",
        "+arrivals.clients.bursty.arrivals.exact_tasks=1000000000000",
    ],
    "arrivals.n_clients": ["arrivals=closed_loop", "arrivals.n_clients=10000000000", "arrivals.n_tasks=1"],
    "routing.refresh_s": ["fleet=hybrid_overflow", "routing.refresh_s=1e-9"],
    "scaling.tick_s": ["scaling=knative_kpa", "scaling.tick_s=1e-9"],
    "reliability.spot.n_zones": ["reliability=spot", "prices=reserved_and_spot", "reliability.spot.n_zones=1000000000"],
}


@pytest.mark.parametrize("key", ENDLESS)
def test_endless_work_is_refused_by_its_key(key):
    with pytest.raises(ConfigError, match=rf"{key} = \S+: asks for .* about .* (hours|years) of computing"):
        sim.scenario(*ENDLESS[key], horizon_s=3600)


def test_long_tasks_are_endless_work_too_where_there_are_many():
    long = ["tasks=chat", "tasks.calls_per_task={median:50000,sigma:1,min:1,max:100000}"]
    assert sim.scenario(*long, horizon_s=3600, **{"arrivals.rate_per_s": 0.1})
    with pytest.raises(ConfigError, match=r"mean calls per task = \S+: asks for .* calls"):
        sim.scenario(*long, horizon_s=36_000, **{"arrivals.rate_per_s": 10})
    with pytest.raises(ConfigError, match="calls_per_task.max = 1e\\+06: must be <= 100,000"):
        sim.scenario("tasks=chat", "tasks.calls_per_task.max=1000000", horizon_s=20)


def test_what_is_known_of_a_kind_of_task_is_known_at_once_however_many_calls_it_may_make():
    rng = np.random.default_rng(0)
    values, shares = np.arange(1.0, 301.0), rng.dirichlet(np.ones(300))
    means = expected_calls(values, shares)
    by_definition = [values[made:] @ shares[made:] / shares[made:].sum() for made in range(300)]
    np.testing.assert_allclose(means, by_definition, rtol=1e-9)
    most = 100_000
    tail = expected_calls(np.arange(1.0, most + 1), np.append(np.ones(10) / 10, np.zeros(most - 10)))
    assert len(tail) == most and tail[0] == pytest.approx(5.5) and tail[10] == 11, (
        "where no share is left, the fewest calls"
    )


def test_replications_count():
    assert sim.scenario("replications=1000", horizon_s=3600, **{"arrivals.rate_per_s": 1})
    with pytest.raises(ConfigError, match=r"arrivals.rate_per_s = 1: asks for 3.6e\+09 tasks in 1000000 replications"):
        sim.scenario("replications=1000000", horizon_s=3600, **{"arrivals.rate_per_s": 1})
