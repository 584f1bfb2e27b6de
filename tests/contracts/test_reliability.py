"""Every file in conf/reliability loses no request, and every victim in conf/victim is one that was offered."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sim.fleet.victims.victims import Victim
from sim.ledger.audit import audit
from sim.records import Outcome
from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from tests.at_work import start
from tests.contracts.found import load, names

CONF = Path(__file__).resolve().parents[2] / "conf"
RELIABILITY = sorted(path.stem for path in (CONF / "reliability").glob("*.yaml"))
VICTIM = names("victim", Victim)


def some_fleets():
    rng = np.random.default_rng(3)
    for size in (1, 2, 5, 9):
        for _ in range(10):
            ready = [
                SimpleNamespace(replica_id=i, n_outstanding=int(n), prefix_cache_tokens=int(c), kv_used_fraction=c / 2)
                for i, n, c in zip(
                    rng.permutation(size), rng.integers(0, 3, size), rng.integers(0, 3, size), strict=True
                )
            ]  # fmt: skip
            yield ready, [r for r in ready if r.n_outstanding == 0]


@pytest.mark.parametrize("name", VICTIM)
def test_a_victim_is_one_of_the_offer_whatever_its_order_if_none_is_idle(name, tmp_path):
    victim = load(Victim, "victim", name, tmp_path)
    for ready, idle in some_fleets():
        chosen = start(victim).choose(ready, idle)
        assert any(chosen is replica for replica in ready) and start(victim).choose(ready, idle) is chosen
        assert start(victim).choose(ready[::-1], []) is start(victim).choose(ready, [])


HASTE = {
    "none": ["reliability.drain_limit_s=0.2"],
    "spot": ["reliability.spot.mean_lifetime_s=20", "reliability.spot.notice_s=.5", "reliability.spot.zone_outage_s=2"],
    "gpu_failures": ["reliability.gpu_mtbf_hours=0.02"],
}
WORLDS = {
    "agents": ["tasks=agent", "arrivals.rate_per_s=1", "gpu=rtx_4090", "scaling.n_replicas=3"],
    "bursts": ["arrivals=bursty", "scaling=scale_to_zero", "scaling.target_requests_per_replica=2"],
    "urgent": ["scaling=kubernetes_hpa", "arrivals.rate_per_s=20", "engine.scheduling_policy=priority"],
    "bounded": ["arrivals.rate_per_s=9", "engine.max_queue=1", "engine.max_num_seqs=4", "queue.patience_s=5"],
}


@pytest.mark.parametrize("how", ["resume", "restart", "fail"])
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", RELIABILITY)
def test_no_request_is_lost_with_its_replica(name, world, how):
    """The audit holds under losses far more frequent than the file says."""
    scenario = parse(
        compose_config(
            "horizon_s=500", "seed=4", f"reliability={name}", f"reliability.lost_requests={how}",
            "reliability.max_retries=2", *HASTE[name], *WORLDS[world], "cold_start=sleep", "cold_start.sleep.gpu=kept",
            "cold_start.p_unavailable=0.2", "cold_start.allocation_s=5", "cold_start.image_s=0",
        )
    )  # fmt: skip
    facts = simulate(scenario, measure_peak=False).facts
    audit(facts)
    r = facts.requests
    finished = r["outcome"] == Outcome.FINISHED
    assert finished.any() and (r["retries"] <= 2).all()
    if scenario.reliability.takes_replicas:
        assert facts.replicas_lost > 0 and (how == "fail" or r["retries"].any())
    assert (how == "fail") or not (r["retries"][r["outcome"] == Outcome.FAILED] < 2).any() or world == "bounded"
