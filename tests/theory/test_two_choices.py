"""Placements on many M/M/1 queues, against what is known of them.

With n queues, each fed at rate r < 1 on average and serving at rate 1, the share of queues that hold at least i
requests tends, for large n, to r^i if they are chosen at random, and to r^((d^i - 1) / (d - 1)) if the shortest of d
random ones is (Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001; Vvedenskaya et al., 1996).
With loads as they were long ago, choosing the shortest of all is worse than chance, and of two still better
(Mitzenmacher, How Useful Is Old Information?, 2000).
"""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
import simpy

from sim.clock import Clock, Wake
from sim.engine.replica import Replica
from sim.hardware.step_time.affine import AffineStepTime
from sim.randomness import Streams
from sim.routing.placement.by_load import LeastLoaded
from sim.routing.placement.spreading import PowerOfTwo, Random
from sim.work import Call, Request, Task
from tests.agree import assert_agrees, assert_disagrees

LOAD, QUEUES, TASKS, REPLICATIONS = 0.7, 100, 16_000, 8
WARM_UP_S = 80.0  # two relaxation times 1 / (1 - sqrt(r))^2 of an M/M/1 queue
TOKENS = 50  # of the mean answer: geometric, so that the steps it takes are nearly exponential


def looks(placement, replication):
    """Requests in every queue, looked at once a mean service time after a warm-up: array (look, queue)."""
    streams, env, seen, arrivals = Streams(11, replication), simpy.Environment(), [], count()
    gaps_s = streams.generator("arrivals").exponential(1 / (LOAD * QUEUES), TASKS).tolist()
    answers = streams.generator("answers").geometric(1 / TOKENS, TASKS).tolist()
    replicas = [
        Replica(
            env, AffineStepTime(base_s=1 / TOKENS), kv_blocks=10**9, max_num_seqs=1, max_num_batched_tokens=10**9,
            prefix_caching=False, replica_id=i, on_done=lambda request: None,
        )
        for i in range(QUEUES)
    ]  # fmt: skip
    choose = placement.start(Clock(env), streams.generator("placement")).choose

    def arrive(wake):
        i = next(arrivals)
        request = Request(Task(i, env.now, (Call(1, answers[i]),)), 0, env.now)
        choose(request, replicas).submit(request)
        if i + 1 < TASKS:
            wake.schedule(env, gaps_s[i + 1])

    def look(wake):
        seen.append([replica.n_outstanding for replica in replicas])
        wake.schedule(env, 1.0)

    Wake(arrive).schedule(env, gaps_s[0])
    Wake(look).schedule(env, WARM_UP_S)
    env.run(until=sum(gaps_s))
    return np.array(seen)


def in_each_queue(choices, load=LOAD):
    """Mean number per queue in the limit: the sum over i of the share that holds at least i."""
    if choices == 1:
        return load / (1 - load)
    return sum(load ** ((choices**i - 1) // (choices - 1)) for i in range(1, 12))


@pytest.fixture(scope="module")
def by_chance():
    return [looks(Random(), i) for i in range(REPLICATIONS)]


@pytest.fixture(scope="module")
def by_two():
    return [looks(PowerOfTwo(), i) for i in range(REPLICATIONS)]


def means(runs):
    return np.array([run.mean() for run in runs])


@pytest.mark.slow
def test_random_splitting_makes_independent_m_m_1_queues(by_chance):
    assert_agrees(means(by_chance), in_each_queue(1), within=0.15)
    assert_disagrees(means(by_chance), in_each_queue(2), within=0.15)
    assert_agrees([(run >= 3).mean() for run in by_chance], LOAD**3, within=0.15)


def test_two_choices_reach_their_fixed_point(by_two):
    assert_agrees(means(by_two), in_each_queue(2), within=0.05)
    assert_disagrees(means(by_two), in_each_queue(1), within=0.05)
    assert_disagrees(means(by_two), in_each_queue(3), within=0.05)


@pytest.mark.parametrize("i", [2, 3])
def test_two_choices_shorten_the_tail_doubly_exponentially(by_two, i):
    shares = [(run >= i).mean() for run in by_two]
    assert_agrees(shares, LOAD ** (2**i - 1), within=0.2)
    assert_disagrees(shares, LOAD**i, within=0.2)


def test_the_more_choices_the_shorter_the_queues_in_every_single_run(by_chance, by_two):
    by_all = [looks(LeastLoaded(), i) for i in range(2)]
    for chance, two, everyone in zip(by_chance, by_two, by_all, strict=False):
        assert chance.mean() > two.mean() > everyone.mean() > LOAD * 0.97


def test_with_old_information_the_shortest_of_all_is_worse_than_chance(by_chance):
    by_all, by_two = looks(LeastLoaded(refresh_s=10), 0), looks(PowerOfTwo(refresh_s=4), 0)
    assert by_all.mean() > 2 * by_chance[0].mean() > 2 * by_two.mean()
