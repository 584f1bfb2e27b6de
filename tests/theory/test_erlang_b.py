"""An API with c slots and no waiting room is M/G/c/c: it refuses what Erlang's formula says, for any service law."""

from __future__ import annotations

import math

import numpy as np
import pytest
import simpy

from sim.api.provider import ApiProvider
from sim.api.server import Api
from sim.randomness import Streams
from sim.work import Call, Outcome, Request, Task
from tests.agree import assert_agrees, assert_disagrees

SLOTS, OFFERED = 8, 6.0  # offered load in Erlang: arrival rate times mean service time
ARRIVALS, WARM_UP, REPLICATIONS = 6000, 300, 30


def erlang_b(slots, offered):
    """Share refused by `slots` servers without waiting room (Erlang 1917), by the usual recursion."""
    blocked = 1.0
    for k in range(1, slots + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked


def erlang_c(slots, offered):
    """Share that waits when there is room to wait: not what an API without a queue does."""
    blocked = erlang_b(slots, offered)
    return blocked / (1 - offered / slots * (1 - blocked))


EXPONENTIAL = ApiProvider(ttft_median_s=0, output_tokens_per_s=100, max_concurrency=SLOTS, on_limit="refuse")
LOGNORMAL = ApiProvider(
    ttft_median_s=2, ttft_sigma=1.0, output_tokens_per_s=100, max_concurrency=SLOTS, on_limit="refuse"
)


def exponential_lengths(rng, n):
    """Geometric output beyond the first token: service close to exponential with mean 5 s."""
    return 1 + rng.geometric(1 / 500, n)


def single_tokens(rng, n):
    return np.ones(n, int)


CASES = {"exponential": (EXPONENTIAL, exponential_lengths, 501), "lognormal": (LOGNORMAL, single_tokens, 1)}


def refused_share(provider, lengths, mean_output_tokens, replication):
    rng = Streams(20, replication).generator("erlang")
    mean_service_s = provider.mean_service_s(mean_output_tokens)
    arrived = np.cumsum(rng.exponential(mean_service_s / OFFERED, ARRIVALS)).tolist()
    outputs, luck = lengths(rng, ARRIVALS).tolist(), rng.random((ARRIVALS, 2)).tolist()
    env = simpy.Environment()
    outcomes = np.zeros(ARRIVALS, int)

    def on_done(request):
        outcomes[request.task.task_id] = request.outcome

    api = Api(env, provider, on_done)
    for i in range(ARRIVALS):
        call = Call(10, outputs[i], api_quantiles=tuple(luck[i]))
        request = Request(Task(i, arrived[i], (call,)), 0, arrived[i])
        env.timeout(arrived[i], request).callbacks.append(lambda event: api.submit(event.value))
    env.run()
    return np.mean(outcomes[WARM_UP:] == Outcome.REFUSED)


@pytest.fixture(scope="module", params=[pytest.param("exponential", marks=pytest.mark.slow), "lognormal"], ids=str)
def refused(request):
    return [refused_share(*CASES[request.param], replication) for replication in range(REPLICATIONS)]


def test_the_share_refused_is_erlang_b(refused):
    assert_agrees(refused, erlang_b(SLOTS, OFFERED), within=0.06)


def test_the_share_refused_is_not_what_other_formulas_say(refused):
    assert_disagrees(refused, erlang_c(SLOTS, OFFERED), within=0.06)
    assert_disagrees(refused, erlang_b(SLOTS + 1, OFFERED), within=0.06)
    assert_disagrees(refused, erlang_b(SLOTS, OFFERED * math.exp(-0.5)), within=0.06)  # a median taken for a mean
