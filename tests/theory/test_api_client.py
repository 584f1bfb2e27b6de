"""Outages, retries and hedges have closed forms: a two-state Markov chain, and the lesser of two latencies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import simpy
from scipy.stats import kstest, lognorm

from sim.api.provider import ApiProvider
from sim.api.server import Api
from sim.randomness import Streams
from sim.work import Call, Outcome, Request, Task
from tests.agree import assert_agrees, assert_disagrees

UP_S, DOWN_S = 900.0, 100.0
WAITS_S = (20, 40, 60)  # before the second, third and fourth attempt
RETRY = {"max_attempts": 4, "base_s": 20, "factor": 2, "cap_s": 60, "jitter_fraction": 0}


def play(provider, arrived_s, calls, rng):
    env, done = simpy.Environment(), []
    api = Api(env, provider, done.append, rng=rng)
    for i, (at, call) in enumerate(zip(arrived_s, calls, strict=True)):
        request = Request(Task(i, at, (call,)), 0, at)
        env.timeout(at, request).callbacks.append(lambda event: api.submit(event.value))
    env.run()
    return done


def refused(replication, **changes):
    """(share refused, attempts per request) of Poisson arrivals over 200 outages."""
    streams, n = Streams(31, replication), 4000
    provider = ApiProvider(
        ttft_median_s=0, output_tokens_per_s=1, outages={"mean_time_between_s": UP_S, "mean_duration_s": DOWN_S},
        **changes,
    )  # fmt: skip
    arrived_s = np.cumsum(streams.generator("arrivals").exponential(50, n)).tolist()
    done = play(provider, arrived_s, [Call(1, 1)] * n, streams.generator("api_outages"))
    tries = sum(r.api_extra.failed_attempts for r in done if r.api_extra) + sum(r.outcome == 0 for r in done)
    return sum(r.outcome is Outcome.REFUSED for r in done) / n, tries / n


def still_down(wait_s):
    """P(down at t + wait | down at t): the two-state chain forgets at the sum of its rates."""
    down = DOWN_S / (UP_S + DOWN_S)
    return down + (1 - down) * math.exp(-(1 / UP_S + 1 / DOWN_S) * wait_s)


def test_a_client_that_asks_once_is_refused_for_the_share_of_time_the_provider_is_down():
    shares = [refused(k, retry={"max_attempts": 1})[0] for k in range(8)]
    assert_agrees(shares, DOWN_S / (UP_S + DOWN_S), within=0.25)
    assert_disagrees(shares, DOWN_S / UP_S * 1.5, within=0.25)


def test_retries_lose_only_who_meets_an_outage_at_every_attempt():
    """The product of the chain's transition probabilities; the attempts per request are a sum of the same."""
    shares, tries = zip(*[refused(k, retry=RETRY) for k in range(10)], strict=True)
    fails = DOWN_S / (UP_S + DOWN_S) * np.cumprod([1, *map(still_down, WAITS_S)])
    assert_agrees(shares, fails[-1], within=0.4)
    assert_agrees(tries, 1 + fails[:-1].sum(), within=0.08)
    assert_disagrees(shares, fails[0], within=0.4)
    assert_disagrees(shares, fails[0] ** 4, within_abs=0.02)  # as if attempts were independent


LAW = dict(ttft_median_s=1.0, ttft_sigma=1.0, output_tokens_per_s=1)
AFTER_S = 1.5


@pytest.fixture(scope="module")
def hedged():
    """First tokens of 4000 requests, each hedged after 1.5 s."""
    luck = Streams(8).generator("api_quantiles").random((4000, 2)).tolist()
    calls = [Call(100, 1, api_quantiles=tuple(pair)) for pair in luck]
    done = play(ApiProvider(**LAW, hedge={"after_s": AFTER_S}), [0.0] * 4000, calls, None)
    return done, np.array([r.first_token_s for r in done])


def lesser(t):
    """P(first token <= t): the request's own up to the hedge, then the lesser of its own and the copy's."""
    own = lognorm(1.0)
    return 1 - own.sf(t) * own.sf(np.asarray(t) - AFTER_S)


def test_a_hedged_first_token_is_the_lesser_of_two_independent_ones(hedged):
    _, first_s = hedged
    assert kstest(first_s, lesser).pvalue > 1e-3
    own = lognorm(1.0)
    assert kstest(first_s, own.cdf).pvalue < 1e-6, "a hedge that does nothing"
    assert kstest(first_s, lambda t: 1 - own.sf(t) ** 2).pvalue < 1e-6, "a copy sent at once"


def test_the_share_hedged_is_the_share_that_is_late(hedged):
    done, first_s = hedged
    late = lognorm(1.0).sf(AFTER_S)
    share = np.mean([r.api_extra is not None for r in done])
    assert share == pytest.approx(late, abs=4 * math.sqrt(late * (1 - late) / len(done)))
    p99_s = lognorm(1.0).ppf(0.99)
    assert np.quantile(first_s, 0.99) < p99_s / 2, "what hedging is for"
