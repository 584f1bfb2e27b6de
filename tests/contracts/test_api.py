"""Every provider in conf/api keeps its own word: latency law, limits, one outcome per request."""

from __future__ import annotations

import numpy as np
import pytest
import simpy

from sim.api.client import Hedge
from sim.api.outages import Outages
from sim.api.provider import ApiChoice, ApiProvider, NoApi
from sim.api.server import Api
from sim.work import Call, Outcome, Request, Task
from tests.contracts.found import load, names


@pytest.fixture(params=names("api", ApiChoice, but=NoApi))
def provider(request, tmp_path):
    provider = load(ApiChoice, "api", request.param, tmp_path)
    assert isinstance(provider, ApiProvider)
    return provider


def some_requests(rate_per_s, n=3000, seed=1):
    rng = np.random.default_rng(seed)
    arrived = np.cumsum(rng.exponential(1 / rate_per_s, n)).tolist()
    lengths = rng.integers(1, 2000, (n, 2)).tolist()
    luck = rng.random((n, 2)).tolist()
    for i in range(n):
        segments = ((f"task {i % 300}", lengths[i][0]),)
        call = Call(*lengths[i], segments=segments, api_quantiles=tuple(luck[i]))
        yield Request(Task(i, arrived[i], (call,)), 0, arrived[i])


def play(provider, requests, until=None, patience_s=None):
    env = simpy.Environment()
    done = []
    api = Api(env, provider, done.append, patience_s, np.random.default_rng(5))
    for request in requests:
        env.timeout(request.arrived_s, request).callbacks.append(lambda event: api.submit(event.value))
    env.run(until)
    return api, done


def test_no_api_is_a_choice_of_its_own():
    assert isinstance(load(ApiChoice, "api", "none", None), NoApi)
    assert len(names("api", ApiChoice)) >= 4


def test_its_mean_latency_is_what_it_states(provider):
    luck = (np.arange(50_000) + 0.5) / 50_000  # midpoints: the mean over luck is an integral
    assert np.mean([provider.ttft_s(u) for u in luck]) == pytest.approx(provider.mean_ttft_s(), rel=2e-3)
    decode_s = np.mean([provider.decode_s(u, 500) for u in luck])
    assert provider.mean_ttft_s() + decode_s == pytest.approx(provider.mean_service_s(500), rel=2e-3)


def test_a_request_takes_the_time_its_luck_says_whatever_the_load(provider):
    for rate_per_s in (0.1, 20.0):
        done = play(provider, some_requests(rate_per_s, n=1000))[1]
        assert provider.on_limit == "retry" or all(r.outcome is Outcome.FINISHED for r in done)
        for request in (r for r in done if r.outcome is Outcome.FINISHED):
            ttft, speed = request.call.api_quantiles
            assert request.arrived_s <= request.admitted_s + 1e-9
            own_s = provider.ttft_s(ttft, request.input_tokens - request.cached_input_tokens)
            assert request.first_token_s - request.admitted_s == pytest.approx(own_s, abs=1e-6)
            left_s = request.finished_s - request.first_token_s
            assert left_s == pytest.approx(provider.decode_s(speed, request.output_tokens), abs=1e-6)


WITH = {
    "as it is": {},
    "hedging": {"hedge": Hedge(after_s=1.0)},
    "stubborn hedging": {"hedge": Hedge(after_s=1.0, cancels_loser=False)},
    "outages": {"outages": Outages(mean_time_between_s=10, mean_duration_s=2)},
}


@pytest.mark.parametrize("on_limit", ["wait", "retry", "refuse"])
@pytest.mark.parametrize("patience_s", [None, 3.0])
@pytest.mark.parametrize("with_what", WITH)
def test_every_request_has_exactly_one_outcome_or_is_still_inside(provider, on_limit, patience_s, with_what):
    requests = list(some_requests(50.0, n=300))
    strict = provider.model_copy(update={"on_limit": on_limit} | WITH[with_what])
    api, done = play(strict, requests, until=5.0, patience_s=patience_s)
    arrived = {r for r in requests if r.arrived_s < 5.0}
    inside = api.unfinished()
    assert len(done) == len(set(done)) and len(inside) == len(set(inside)) and not set(done) & set(inside)
    assert set(done) | set(inside) == arrived
    assert all((r.outcome is None) == (r.finished_s is None) for r in requests)
    assert {r.outcome for r in inside} <= {None}
    if patience_s is not None:
        assert all(r.finished_s - r.arrived_s == pytest.approx(3.0) for r in done if r.outcome is Outcome.ABANDONED)
        assert all(r.admitted_s - r.arrived_s <= 3.0 + 1e-5 for r in done if r.outcome is Outcome.FINISHED)
    for request in done:
        assert 0 <= request.cached_input_tokens <= request.input_tokens
        assert 0 <= request.cache_write_tokens <= request.input_tokens - request.cached_input_tokens


def test_limits_are_met_and_never_exceeded(provider):
    """Over any span, what is let in is at most the burst and the rate times the span's length."""
    done = play(provider, some_requests(60.0, n=1800))[1]
    requests = sorted((r for r in done if r.outcome is Outcome.FINISHED), key=lambda r: r.admitted_s)
    admitted = np.array([r.admitted_s for r in requests])
    counted_cache = np.array([r.cached_input_tokens for r in requests]) * (not provider.limits_count_cached_tokens)
    prompts = np.array([r.input_tokens for r in requests]) - counted_cache
    answers = np.array([r.output_tokens for r in requests])
    for per_minute, amounts in (
        (provider.requests_per_minute, np.ones(len(requests))),
        (provider.tokens_per_minute, prompts + answers),
        (provider.input_tokens_per_minute, prompts),
        (provider.output_tokens_per_minute, answers),
    ):
        if per_minute is None:
            continue
        burst = per_minute / 60 * provider.burst_s
        rate = per_minute / 60 * (provider.ramp.max_multiplier if provider.ramp else 1)
        excess = np.cumsum(amounts) - rate * admitted
        assert (excess - np.minimum.accumulate(excess - amounts)).max() <= burst + 1e-3 * rate
    if provider.max_concurrency is not None:
        moments = [(r.admitted_s, 1) for r in requests] + [(r.finished_s, -1) for r in requests]
        level = np.cumsum([change for _, change in sorted(moments)])
        assert level.max() <= provider.max_concurrency
    limits = ("requests_per_minute", "tokens_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
    if all(getattr(provider, limit) is None for limit in (*limits, "max_concurrency")):
        assert all(r.admitted_s == r.arrived_s for r in requests)
    else:
        late = any(r.admitted_s > r.arrived_s + 1 for r in requests)
        assert late or any(r.api_extra for r in done), "this load is meant to meet the limits"
