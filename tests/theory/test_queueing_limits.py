"""A replica stripped down to queues whose answers have been known for decades.

One slot and one-token answers make M/D/1; a step time proportional to the batch is processor sharing; a constant step
time without caps is M/G/infinity. Kleinrock, Queueing Systems I and II (1975, 1976); for the insensitivity of processor
sharing, Kelly, Reversibility and Stochastic Networks (1979), 3.3.
"""

from __future__ import annotations

import math
from itertools import count

import numpy as np
import pytest
import simpy

from sim.clock import Wake
from sim.engine.replica import Replica
from sim.hardware.step_time.affine import AffineStepTime
from sim.randomness import Streams
from sim.work import Call, Request, Task
from tests.agree import assert_agrees, assert_disagrees

REPLICATIONS = 16
UNLIMITED = 10**9


def play(rate_per_s, output_tokens, step_time, replication, *, max_num_seqs=UNLIMITED, look_every_s=None):
    """Poisson arrivals of one-token prompts at one replica; its finished requests in order of arrival, and how many
    were in it at each look. The first tenth of both is warm-up, and left out."""
    gaps_s = Streams(7, replication).generator("arrivals").exponential(1 / rate_per_s, len(output_tokens)).tolist()
    end_s = sum(gaps_s)
    calls = [(Call(1, n),) for n in output_tokens.tolist()]
    env, finished, looks, arrivals = simpy.Environment(), [], [], count()
    replica = Replica(
        env, step_time, kv_blocks=UNLIMITED, max_num_seqs=max_num_seqs, max_num_batched_tokens=UNLIMITED,
        on_done=finished.append,
    )  # fmt: skip

    def arrive(wake):
        i = next(arrivals)
        replica.submit(Request(Task(i, env.now, calls[i]), 0, env.now))
        if i + 1 < len(calls):
            wake.schedule(env, gaps_s[i + 1])

    def look(wake):
        looks.append(replica.n_outstanding)
        if env.now + look_every_s < end_s:
            wake.schedule(env, look_every_s)

    Wake(arrive).schedule(env, gaps_s[0])
    if look_every_s:
        Wake(look).schedule(env, look_every_s)
    env.run()
    finished.sort(key=lambda r: r.task.task_id)
    assert len(finished) == len(calls)
    return finished[len(finished) // 10 :], looks[len(looks) // 10 :]


# --- M/D/1: one slot, one token, a step of one second ----------------------------------------------------------------


@pytest.fixture(scope="module")
def m_d_1_waits_s():
    """At rate 0.6 per second, service 1 s: every request's wait, by replication."""
    answers = np.ones(6_000, int)
    runs = [play(0.6, answers, AffineStepTime(base_s=1.0), i, max_num_seqs=1)[0] for i in range(REPLICATIONS)]
    return [np.array([r.admitted_s - r.arrived_s for r in run]) for run in runs]


def test_m_d_1_mean_wait(m_d_1_waits_s):
    rho = 0.6
    means = [waits_s.mean() for waits_s in m_d_1_waits_s]
    assert_agrees(means, rho / (2 * (1 - rho)), within=0.08)  # Pollaczek-Khinchine, no variance
    assert_disagrees(means, rho / (1 - rho), within=0.08)  # M/M/1


def test_m_d_1_share_that_waits(m_d_1_waits_s):
    shares = [(waits_s > 1e-9).mean() for waits_s in m_d_1_waits_s]
    assert_agrees(shares, 0.6, within=0.03)
    assert_disagrees(shares, 0.6 * (1 - 0.6), within=0.03)


# --- M/G/1 processor sharing: a step takes as long as the batch is large -------------------------------------------


MEAN_TOKENS = 1000
QUANTUM_S = 1 / MEAN_TOKENS  # so that an answer alone takes a second on average

ANSWERS = {
    "all alike": (0.0, lambda rng, n: np.full(n, MEAN_TOKENS)),
    "geometric": (1.0, lambda rng, n: rng.geometric(1 / MEAN_TOKENS, n)),
    "lognormal": (
        2.0,  # squared coefficient of variation: e^{s^2} - 1
        lambda rng, n: np.ceil(MEAN_TOKENS * rng.lognormal(-math.log(3) / 2, math.sqrt(math.log(3)), n)).astype(int),
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_processor_sharing_does_not_care_how_answers_vary(kind):
    rho, (squared_cv, draw) = 0.6, ANSWERS[kind]
    means = []
    for i in range(REPLICATIONS):
        answers = draw(Streams(7, i).generator("answers"), 5_000)
        run, _ = play(rho, answers, AffineStepTime(per_sequence_s=QUANTUM_S), i)
        means.append(np.mean([r.finished_s - r.arrived_s for r in run]))
    assert_agrees(means, 1 / (1 - rho), within=0.08)
    assert_disagrees(means, 1.0, within=0.08)  # as if each request had the server to itself
    first_come_first_served = 1 + rho * (1 + squared_cv) / (2 * (1 - rho))
    if squared_cv != 1:  # where the two coincide
        assert_disagrees(means, first_come_first_served, within=0.08)


# --- M/G/infinity: a clock that does not care how many there are ---------------------------------------------------


MEAN_IN_SYSTEM = 20.0


@pytest.fixture(scope="module")
def occupancy():
    """How many are in the replica, looked at once per mean service time; by replication."""
    step_s = 5.0 / MEAN_TOKENS
    rate_per_s = MEAN_IN_SYSTEM / (5.0 + step_s / 2)  # on average half a step passes before a newcomer's first one
    looks = []
    for i in range(REPLICATIONS):
        answers = ANSWERS["lognormal"][1](Streams(7, i).generator("answers"), 12_000)
        looks.append(np.array(play(rate_per_s, answers, AffineStepTime(base_s=step_s), i, look_every_s=5.0)[1]))
    return looks


@pytest.mark.slow
def test_m_g_infinity_mean_number(occupancy):
    means = [looks.mean() for looks in occupancy]
    assert_agrees(means, MEAN_IN_SYSTEM, within=0.03)
    assert_disagrees(means, MEAN_IN_SYSTEM + 1, within=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 20, 26])
def test_m_g_infinity_number_is_poisson(occupancy, n):
    shares = [(looks <= n).mean() for looks in occupancy]
    poisson = sum(math.exp(-MEAN_IN_SYSTEM + k * math.log(MEAN_IN_SYSTEM) - math.lgamma(k + 1)) for k in range(n + 1))
    geometric = 1 - (MEAN_IN_SYSTEM / (1 + MEAN_IN_SYSTEM)) ** (n + 1)  # as in M/M/1, of the same mean
    assert_agrees(shares, poisson, within_abs=0.05)
    assert_disagrees(shares, geometric, within_abs=0.05)
