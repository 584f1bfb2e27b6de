"""A replica or a fleet that holds at most K requests is a loss system, and refuses the share that theory states."""

from __future__ import annotations

import pytest

from sim.scenarios import compose_config, parse
from sim.schema import ConfigError
from sim.simulation import simulate
from sim.work import Outcome
from tests.agree import assert_agrees, assert_disagrees
from tests.theory.test_erlang_b import erlang_b, erlang_c

SLOTS, SERVICE_S = 8, 5.0
SERVER = [
    "engine=linear_server", f"engine.max_num_seqs={SLOTS}", "engine.step_time.base_s=0.01",
    "engine.step_time.per_sequence_s=0", "engine.step_time.per_context_token_s=0",
    "engine.step_time.per_prefill_token_s=0", "lengths=fixed", "lengths.input_tokens=16", "lengths.output_tokens=500",
]  # fmt: skip


def refused_shares(offered, *options, horizon_s, replications):
    scenario = parse(
        compose_config(
            *SERVER, f"arrivals.rate_per_s={offered / SERVICE_S}", f"horizon_s={horizon_s}", "warmup_s=100", *options
        )
    )
    for replication in range(replications):
        requests = simulate(scenario, replication=replication, measure_peak=False).facts.requests
        yield (requests["outcome"] == Outcome.REFUSED)[requests["arrived_s"] > 100].mean()


@pytest.mark.slow
def test_without_a_queue_the_batch_is_an_erlang_loss_system():
    """However the queue is forbidden: to the replica, or to the fleet in front of it, request for request."""
    shares = list(refused_shares(6.0, "+engine.max_queue=0", horizon_s=15_000, replications=8))
    assert_agrees(shares, erlang_b(SLOTS, 6.0))
    assert_disagrees(shares, erlang_c(SLOTS, 6.0))
    of_the_fleet = refused_shares(6.0, "queue.max_waiting_requests=0", horizon_s=15_000, replications=2)
    assert list(of_the_fleet) == shares[:2]


def md1k_refused(load, room):
    """Share refused by M/D/1 with `room` requests in it at most, from its embedded chain at departures."""
    from math import exp, factorial

    def arrivals(n):
        return exp(-load) * load**n / factorial(n)

    weights = [1.0]  # of finding n left behind; each follows from the balance of those before
    for n in range(room - 1):
        inflow = weights[0] * arrivals(n) + sum(weights[i] * arrivals(n + 1 - i) for i in range(1, n + 1))
        weights.append((weights[n] - inflow) / arrivals(0))
    left_empty = weights[0] / sum(weights)
    return 1 - 1 / (left_empty + load)


def test_a_queue_of_three_before_one_server():
    one = ["engine.max_num_seqs=1", "+engine.max_queue=3"]
    shares = list(refused_shares(1.1, *one, horizon_s=30_000, replications=20))
    assert_agrees(shares, md1k_refused(1.1, 4))
    assert_disagrees(shares, md1k_refused(1.1, 5))


def test_both_limits_let_the_fleet_queue_fill_first():
    scenario = parse(compose_config(*SERVER, "queue.max_waiting_requests=3", "arrivals.rate_per_s=50", "horizon_s=4"))
    requests = simulate(scenario, measure_peak=False).facts.requests
    served = requests["outcome"] == Outcome.FINISHED
    assert served.sum() == SLOTS + 3
    assert (requests["replica_id"][~served] == -1).all()


def test_a_fleet_that_no_request_can_wake_is_refused():
    with pytest.raises(ConfigError, match=r"max_waiting_requests = 0: .*wakes"):
        parse(compose_config("fleet=scale_to_zero", "queue.max_waiting_requests=0"))
