"""Failures, interruptions and refusals against their closed forms.

Renewal theory: a machine that is up for an exponential time of mean U and then down for D is available U / (U + D); if
it may fail while it starts, for which it takes c, exp(-c / U). Interruptions in batches of size K that come as a
Poisson process have an index of dispersion of E[K^2] / E[K]. Refusals before a grant are geometric.
"""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
import simpy

from sim.fleet.supply.cold_start import ColdStart
from sim.fleet.supply.hazards import Hazards
from sim.fleet.supply.reliability import Reliability, SpotMarket
from sim.fleet.supply.supply import Supply
from sim.ledger.usage import Usage
from sim.randomness import Streams
from sim.records import ReplicaState
from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from tests.agree import assert_agrees, assert_disagrees
from tests.theory.test_idle_timeout import RATE_PER_S, SERVICE_S, SETUP_S, TIMEOUT_S

HOUR_S, REPAIR_S, START_S, LENGTH_S = 3600.0, 600.0, 40_000.0, 2_000_000.0


def availabilities(*options, replications=12):
    """Share of the time from START_S on in which the one replica of an always-on fleet is ready."""
    scenario = parse(
        compose_config(
            "arrivals.rate_per_s=1e-4", "lengths=fixed", "lengths.output_tokens=2", "cold_start=instant",
            "reliability=gpu_failures", "reliability.gpu_mtbf_hours=1", f"horizon_s={LENGTH_S}", *options,
        )
    )  # fmt: skip
    for replication in range(replications):
        spans = simulate(scenario, replication=replication, measure_peak=False).facts.spans
        up = spans["state"] >= ReplicaState.IDLE
        start_s, end_s = (np.clip(spans[name][up], START_S, LENGTH_S) for name in ("start_s", "end_s"))
        yield (end_s - start_s).sum() / (LENGTH_S - START_S)


def test_a_machine_is_available_as_renewal_theory_says():
    found = list(availabilities(f"cold_start.allocation_s={REPAIR_S}"))
    assert_agrees(found, HOUR_S / (HOUR_S + REPAIR_S), within=0.01)
    assert_disagrees(found, HOUR_S / (HOUR_S + 1.2 * REPAIR_S), within=0.01)


def test_two_gpus_fail_twice_as_often():
    found = availabilities(f"cold_start.allocation_s={REPAIR_S}", "engine.tensor_parallel=2")
    assert_agrees(found, HOUR_S / (HOUR_S + 2 * REPAIR_S), within=0.015)


def test_a_gpu_may_fail_while_its_replica_starts():
    found = list(availabilities(f"cold_start.engine_start_s={REPAIR_S}", replications=20))
    assert_agrees(found, exp(-REPAIR_S / HOUR_S), within=0.01)
    assert_disagrees(found, HOUR_S / (HOUR_S + REPAIR_S), within=0.01)


N_SPOT, LIFETIME_S, SPOT_S = 6, 1000.0, 400_000.0


def losses(**market):
    """When GPUs of a fleet of N_SPOT, each replaced at once, are taken back; one array per replication."""
    spot = SpotMarket(mean_lifetime_s=LIFETIME_S, notice_s=0, **market)
    return [losses_of_one(Reliability(spot=spot), Streams(5, replication)) for replication in range(12)]


def losses_of_one(reliability, streams):
    env, lost_s, alive = simpy.Environment(), [], set()

    def warn(members):
        for member in alive.intersection(members):
            alive.remove(member)
            lost_s.append(env.now)
            hazards.released(member)
        while len(alive) < N_SPOT:
            member = object()
            alive.add(member)
            hazards.assign_zone(member)
            hazards.gpu_granted(member)

    hazards = Hazards(env, reliability, 1, streams, fail=None, warn=warn)
    warn([])
    env.run(until=SPOT_S)
    return np.array(lost_s)


CORRELATIONS = {  # -> E[K^2] / E[K]
    "each alone": (dict(n_zones=3, zone_event_fraction=0, zone_hit_fraction=1), 1.0),
    "all at once": (dict(n_zones=1, zone_event_fraction=1, zone_hit_fraction=1), 6.0),
    "a zone of two": (dict(n_zones=3, zone_event_fraction=1, zone_hit_fraction=1), 2.0),
    "half of all": (dict(n_zones=1, zone_event_fraction=1, zone_hit_fraction=0.5), 1 - 0.5 + 6 * 0.5),
    "mixed": (dict(n_zones=1, zone_event_fraction=0.5, zone_hit_fraction=1), 0.5 * 1 + 0.5 * 6),
}


@pytest.mark.parametrize("name", CORRELATIONS)
def test_correlation_gathers_interruptions_and_makes_them_no_more_frequent(name):
    market, dispersion = CORRELATIONS[name]
    runs = losses(**market)
    assert_agrees([len(lost_s) for lost_s in runs], N_SPOT * SPOT_S / LIFETIME_S, within=0.12)
    counts = [np.bincount((lost_s // 2000).astype(int), minlength=200) for lost_s in runs]
    found = [c.var(ddof=1) / c.mean() for c in counts]
    assert_agrees(found, dispersion, within=0.15)
    assert_disagrees(found, 1.3 * dispersion, within=0.15)


def test_refusals_before_a_grant_are_geometric():
    p, n = 0.3, 20_000
    cold = ColdStart(
        allocation_s=5, image_s=0, storage_tier="nvme", bandwidth_gb_per_s=1, engine_start_s=1, spread_sigma=0,
        p_unavailable=p, retry_s=10,
    )  # fmt: skip
    supply = Supply(cold, 1e9, Streams(3))
    refusals = np.array([supply.order(None, 0.0).wait_s for _ in range(n)]) / 10
    for k in range(6):
        share = (1 - p) * p**k
        assert np.mean(refusals == k) == pytest.approx(share, abs=4.5 * (share / n) ** 0.5)
    assert (
        supply.mean_s(0.0) == pytest.approx(7 + 10 * p / (1 - p)) == pytest.approx(refusals.mean() * 10 + 7, rel=0.03)
    )


@pytest.mark.slow
def test_who_is_refused_waits_longer_and_pays_nothing_for_it():
    """The closed form of test_idle_timeout with a setup C = SETUP_S + 30 s x refusals, of which SETUP_S are paid."""
    scenario = parse(
        compose_config(
            f"arrivals.rate_per_s={RATE_PER_S}", "lengths=fixed", "lengths.input_tokens=1", "lengths.output_tokens=10",
            "engine=linear_server", "engine.max_num_seqs=1", "engine.step_time.base_s=1",
            *(f"engine.step_time.per_{what}_s=0" for what in ("sequence", "context_token", "prefill_token")),
            "scaling=scale_to_zero", "scaling.max_replicas=1", f"scaling.idle_timeout_s={TIMEOUT_S}",
            "cold_start=instant", f"cold_start.engine_start_s={SETUP_S}", "cold_start.p_unavailable=0.5",
            "cold_start.retry_s=30", "horizon_s=200000",
        )
    )  # fmt: skip
    paid, waits_s = [], []
    for replication in range(12):
        facts = simulate(scenario, replication=replication, measure_peak=False).facts
        paid.append((facts.spans["end_s"] - facts.spans["start_s"]).sum() / 200_000)
        waits_s.append((facts.requests["admitted_s"] - facts.requests["arrived_s"]).mean())
    rate, p, rho = RATE_PER_S, exp(-RATE_PER_S * TIMEOUT_S), RATE_PER_S * SERVICE_S
    c, c2 = SETUP_S + 30, (SETUP_S + 30) ** 2 + 900 * 0.5 / 0.5**2
    cycle_s = (1 + p * rate * c) / (rate * (1 - rho))
    paid_s = (1 - p) / rate + p * SETUP_S + (1 + p * rate * c) * SERVICE_S / (1 - rho)
    assert_agrees(paid, paid_s / cycle_s)
    assert_disagrees(paid, (paid_s + p * 30) / cycle_s)
    queueing_s = rate * SERVICE_S**2 / (2 * (1 - rho))
    assert_agrees(waits_s, queueing_s + p * (2 * c + rate * c2) / (2 * (1 + p * rate * c)))


@pytest.mark.parametrize(
    ("lifetime_s", "hit", "outage_s", "horizon_s"),
    [(1800, 0.5, 600, 700_000), pytest.param(3600, 0.25, 1800, 2_000_000, marks=pytest.mark.slow)],
)
def test_a_zone_grants_nothing_for_a_while_after_every_event(lifetime_s, hit, outage_s, horizon_s):
    """One zone whose events, a Poisson process of rate l = 1 / (lifetime x hit), each close it for D.

    From an event to the first moment without one in the last D it takes (e^(lD) - 1) / l: an event during an outage
    prolongs it. A zone that looked at the reopening only once, when a replica is ordered, would be closed for D alone.
    """
    market = f"reliability.spot={{mean_lifetime_s:{lifetime_s},notice_s:0,n_zones:1,zone_event_fraction:1,"
    market += f"zone_hit_fraction:{hit},zone_outage_s:{outage_s},on_demand_fallback:false}}"
    words = ["reliability=spot", market, "prices=nebius_spot", "scaling.n_replicas=4", "cold_start=instant"]
    scenario = parse(compose_config(*words, "arrivals.rate_per_s=0.00001", f"horizon_s={horizon_s}", "drain_s=0"))
    found = []
    for replication in range(12):
        usage = Usage.from_facts(simulate(scenario, 3, replication, measure_peak=False).facts)
        found.append(usage.state_seconds() / (4 * horizon_s))
    rate_per_s = 1 / (lifetime_s * hit)
    closed_s = (exp(outage_s * rate_per_s) - 1) / rate_per_s
    assert_agrees(found, lifetime_s / (lifetime_s + closed_s), within=0.06)
    assert_disagrees(found, lifetime_s / (lifetime_s + outage_s), within=0.06)
