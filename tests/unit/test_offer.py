"""The index of the replicas' load answers what a look at every replica would, whatever happens to them in between."""

from __future__ import annotations

import random

import pytest

from sim.engine.replica import Replica
from sim.fleet.offer import Offer
from sim.routing.placement.by_load import least_loaded
from sim.scenarios import scenario
from sim.simulation import simulate


class Loaded(Replica):
    """A replica of which only the load counts."""

    def __init__(self, replica_id):
        self.replica_id, self.n_outstanding = replica_id, 0


@pytest.mark.parametrize("seed", range(20))
def test_the_least_loaded_is_found_while_replicas_come_fill_empty_and_go(seed):
    rng, offer, asked = random.Random(seed), Offer(), 0
    replicas = [Loaded(i) for i in range(80)]
    for _ in range(4000):
        replica = rng.choice(replicas)
        chance = rng.random()
        if chance < 0.15:
            offer.add(replica)
        elif chance < 0.2:
            offer.drop(replica)
        else:
            replica.n_outstanding = max(0, replica.n_outstanding + rng.choice((-2, -1, 1, 1)))
        if offer.by_load.is_on:
            offer.by_load.changed(replica)
        if offer and rng.random() < 0.5:
            asked += len(offer) >= 32
            assert least_loaded(offer) is least_loaded(list(offer))
    assert asked > 500 and list(offer) == sorted(offer, key=lambda r: r.replica_id)


def test_an_id_that_is_given_anew_is_another_replica():
    offer = Offer()
    for i in range(40):
        offer.add(Loaded(i))
    old = offer.least_loaded()
    offer.drop(old)
    new = Loaded(old.replica_id)
    new.n_outstanding = 5
    offer.add(new)
    offer.by_load.changed(new)
    assert offer.least_loaded().replica_id == 1


def test_replicas_that_come_and_go_are_found_by_ids_that_never_come_again():
    offer, replicas = Offer(), []
    for i in range(2000):
        replicas.append(Loaded(i))
        replicas[-1].n_outstanding = i * 7 % 5
        offer.add(replicas[-1])
        if len(replicas) > 40:
            offer.drop(replicas.pop(i * 3 % 40))
        assert offer.least_loaded() is least_loaded(list(offer))
    assert offer.by_load.is_on
    for replica in replicas[10:]:
        offer.drop(replica)
        assert offer.least_loaded() is least_loaded(list(offer))
    assert not offer.by_load.is_on


LARGE = ["scaling.n_replicas=60", "lengths=chat", "horizon_s=60", "engine.max_num_seqs=4", "output.figures=false"]


@pytest.mark.parametrize(
    "words",
    [
        ["arrivals.rate_per_s=40"],
        ["arrivals.rate_per_s=80", "queue.client_timeout_s=2"],
        ["arrivals.rate_per_s=40", "reliability=gpu_failures", "reliability.gpu_mtbf_hours=0.2"],
    ],
    ids=["steady", "clients that leave", "replicas that fail"],
)
def test_a_fleet_of_sixty_is_served_as_if_every_replica_were_looked_at(words, monkeypatch):
    one = scenario(*LARGE, *words)
    indexed = simulate(one, 1).facts.requests
    monkeypatch.setattr("sim.fleet.offer._INDEXED_FROM", 10**9)
    looked_at = simulate(one, 1).facts.requests
    assert len(set(indexed["replica_id"])) > 32
    for name, column in indexed.items():
        assert column.tobytes() == looked_at[name].tobytes(), name
