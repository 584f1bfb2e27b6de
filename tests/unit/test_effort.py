"""Work that would never end is refused at once, with the time that it would take."""

from __future__ import annotations

import pytest

import sim
from sim.schema import ConfigError

ENDLESS = {
    "arrivals.exact_tasks": ["arrivals.exact_tasks=100000000000000"],
    "arrivals.rate_per_s": ["arrivals.rate_per_s=1e9"],
    "arrivals.mean_burst_s": ["arrivals=bursty", "arrivals.mean_burst_s=1e-9"],
    "arrivals.n_clients": ["arrivals=closed_loop", "arrivals.n_clients=10000000000", "arrivals.n_tasks=1"],
    "routing.refresh_s": ["fleet=hybrid_overflow", "routing.refresh_s=1e-9"],
    "scaling.tick_s": ["scaling=knative_kpa", "scaling.tick_s=1e-9"],
    "reliability.spot.n_zones": ["reliability=spot", "prices=reserved_and_spot", "reliability.spot.n_zones=1000000000"],
}


@pytest.mark.parametrize("key", ENDLESS)
def test_endless_work_is_refused_by_its_key(key):
    with pytest.raises(ConfigError, match=rf"{key} = \S+: asks for .* about .* (hours|years) of computing"):
        sim.scenario(*ENDLESS[key], horizon_s=3600)


def test_replications_count():
    assert sim.scenario("replications=1000", horizon_s=3600, **{"arrivals.rate_per_s": 1})
    with pytest.raises(ConfigError, match=r"arrivals.rate_per_s = 1: asks for 3.6e\+09 tasks in 1000000 replications"):
        sim.scenario("replications=1000000", horizon_s=3600, **{"arrivals.rate_per_s": 1})
