"""The API provider at work, told with whole numbers: first token after 1 s, then one token per second."""

from __future__ import annotations

import math

import pytest
import simpy

from sim.api.prompt_cache import PromptCache
from sim.api.provider import ApiProvider
from sim.api.server import Api
from sim.schema import ConfigError, parse_config
from sim.work import Call, Outcome, Request, Task

PLAIN = dict(ttft_median_s=1, output_tokens_per_s=1)


def play(provider, arrivals, until=None, patience_s=None):
    """Send requests at given times; `arrivals`: (moment, call). Returns (api, requests, done as (moment, index))."""
    env = simpy.Environment()
    done = []
    requests = [Request(Task(i, at, (call,)), 0, at) for i, (at, call) in enumerate(arrivals)]
    api = Api(env, ApiProvider(**provider), lambda r: done.append((env.now, r.task.task_id)), patience_s)
    for request in requests:
        env.timeout(request.arrived_s, request).callbacks.append(lambda event: api.submit(event.value))
    env.run(until)
    return api, requests, done


def stamps(request):
    return request.admitted_s, request.first_token_s, request.finished_s


def test_a_request_is_let_in_at_once_and_takes_its_own_time():
    api, (short, long), done = play(PLAIN, [(2, Call(100, 5)), (3, Call(100, 1))])
    assert stamps(short) == (2, 3, 7)  # first token at 3, four more at one per second
    assert stamps(long) == (3, 4, 4)  # a single token is there with the first
    assert done == [(4, 1), (7, 0)]
    assert {r.outcome for r in (short, long)} == {Outcome.FINISHED}
    assert short.replica_id == -1
    assert api.n_outstanding == 0 and api.unfinished() == []


def test_luck_is_the_requests_own():
    provider = ApiProvider(
        ttft_median_s=2, ttft_sigma=0.5, ttft_tail_fraction=0.02, ttft_tail_median_s=10,
        output_tokens_per_s=50, output_tokens_per_s_sigma=0.3,
    )  # fmt: skip
    assert provider.ttft_s(0.49) == pytest.approx(2.0), "the body's median lies at 0.49: the tail holds the upper 0.02"
    assert provider.ttft_s(0.99) == pytest.approx(10.0)
    assert provider.ttft_s(0.98 * 0.8413447460685429) == pytest.approx(2 * math.exp(0.5))
    assert provider.decode_s(0.5, 101) == pytest.approx(2.0)
    assert provider.decode_s(0.8413447460685429, 101) == pytest.approx(2 * math.exp(-0.3)), "a high quantile is fast"
    assert math.isfinite(provider.ttft_s(0.0)) and math.isfinite(provider.ttft_s(1.0))


def test_over_the_concurrency_cap_requests_wait_in_line():
    calls = [(0, Call(10, 3)), (0, Call(10, 1)), (0.5, Call(10, 1)), (0.6, Call(10, 1))]
    api, requests, _ = play(PLAIN | {"max_concurrency": 2}, calls)
    assert [r.admitted_s for r in requests] == [0, 0, 1, 2]  # slots free at 1 (second), 2 (third), 3 (first)
    assert [r.finished_s for r in requests] == [3, 1, 2, 3]


def test_over_the_concurrency_cap_requests_are_refused_if_so_configured():
    calls = [(0, Call(10, 3)), (1, Call(10, 3)), (3.5, Call(10, 1))]
    _, (first, second, third), done = play(PLAIN | {"max_concurrency": 1, "on_limit": "refuse"}, calls)
    assert second.outcome is Outcome.REFUSED
    assert stamps(second) == (None, None, 1)
    assert first.outcome is third.outcome is Outcome.FINISHED
    assert done == [(1, 1), (3, 0), (4.5, 2)]


def test_the_request_bucket_holds_its_burst_and_refills_continuously():
    provider = PLAIN | {"requests_per_minute": 30, "burst_s": 4}  # two at once, then one every 2 s
    _, requests, _ = play(provider, [(10, Call(10, 1))] * 4 + [(20, Call(10, 1))] * 3)
    assert [r.admitted_s for r in requests] == pytest.approx([10, 10, 12, 14, 20, 20, 22])


def test_the_token_bucket_counts_input_and_output():
    provider = PLAIN | {"tokens_per_minute": 600, "burst_s": 10}  # holds 100 tokens, 10 more every second
    _, requests, _ = play(provider, [(0, Call(60, 10)), (0, Call(40, 10)), (0, Call(90, 11))])
    assert requests[0].admitted_s == 0
    assert requests[1].admitted_s == pytest.approx(2)  # 30 left, 50 needed
    assert requests[2].outcome is Outcome.REFUSED, "101 tokens never fit a bucket of 100: no use waiting"


def test_the_line_is_first_come_first_served_even_when_a_later_one_would_fit():
    provider = PLAIN | {"tokens_per_minute": 600, "burst_s": 10}
    _, requests, _ = play(provider, [(0, Call(90, 10)), (0, Call(49, 1)), (1, Call(4, 1))])
    assert [r.admitted_s for r in requests] == pytest.approx([0, 5, 5.5])


def test_a_client_out_of_patience_leaves_the_line():
    calls = [(0, Call(10, 9)), (1, Call(10, 1)), (5, Call(10, 1)), (6, Call(10, 1))]
    _, requests, done = play(PLAIN | {"max_concurrency": 1}, calls, patience_s=5)
    assert requests[1].outcome is Outcome.ABANDONED
    assert stamps(requests[1]) == (None, None, 6)
    assert [r.admitted_s for r in requests[2:]] == [9, 10], "the next in line move up"
    assert done == [(6, 1), (9, 0), (10, 2), (11, 3)]


def test_a_client_who_leaves_takes_nothing_from_the_buckets():
    provider = PLAIN | {"requests_per_minute": 6, "burst_s": 10}  # one at once, one more every 10 s
    _, requests, _ = play(provider, [(0, Call(10, 1)), (1, Call(10, 1)), (5, Call(10, 1))], patience_s=6)
    assert requests[1].outcome is Outcome.ABANDONED and requests[1].finished_s == 7
    assert requests[2].admitted_s == pytest.approx(10)


def test_the_expected_wait_is_what_a_newcomer_will_see():
    provider = PLAIN | {"requests_per_minute": 30, "burst_s": 2}  # one at once, one more every 2 s
    api, requests, _ = play(provider, [(0, Call(10, 1))] * 3, until=0.5)
    assert api.expected_wait_s == pytest.approx(5.5), "the third goes at 4, a fourth at 6"
    assert api.n_outstanding == 3
    api, _, _ = play(PLAIN | {"max_concurrency": 2}, [(0, Call(10, 3))] * 2 + [(3, Call(10, 3))] * 3, until=4)
    assert api.expected_wait_s == pytest.approx(3.0), "two in line before the slots, freed every 3 s / 2"
    assert play(PLAIN, [(0, Call(10, 3))] * 9, until=1)[0].expected_wait_s == 0.0


def test_who_has_left_the_line_is_not_waited_for():
    provider = PLAIN | {"tokens_per_minute": 600, "burst_s": 10}  # holds 100 tokens, 10 more every second
    api, requests, _ = play(provider, [(0, Call(90, 10)), (0, Call(40, 10)), (0, Call(15, 5))], until=6)
    assert [r.admitted_s for r in requests] == pytest.approx([0, 5, None])
    assert api.expected_wait_s == pytest.approx(1.1), "20 tokens ahead and one of its own, 10 of them there"


def test_the_next_in_line_may_be_due_before_the_alarm_set_for_the_one_before():
    provider = PLAIN | {"tokens_per_minute": 600, "burst_s": 10, "max_concurrency": 1}
    calls = [(0, Call(90, 2)), (0, Call(10, 10)), (0, Call(80, 10))]  # the second awaits a slot until 2, at most to 99
    _, requests, _ = play(provider, calls, patience_s=99)
    assert [r.admitted_s for r in requests] == pytest.approx([0, 2, 12])
    slow_refill = [(0, Call(90, 2)), (0, Call(10, 1)), (0, Call(80, 10))]
    assert [r.admitted_s for r in play(provider, slow_refill, patience_s=99)[1]] == pytest.approx([0, 2, 9.3])


def test_what_is_still_inside_at_the_end_is_listed_with_what_has_happened():
    calls = [(0, Call(10, 9)), (0, Call(10, 9)), (3.5, Call(10, 1))]
    provider = PLAIN | {"requests_per_minute": 20, "burst_s": 3}  # one at once, one more every 3 s
    api, requests, done = play(provider, calls, until=3.75)
    assert done == [] and api.unfinished() == requests
    assert [stamps(r) for r in requests] == [(0, 1, None), (3, None, None), (None, None, None)]
    assert {r.outcome for r in requests} == {None}


AGENT = [Call(1000, 9, segments=(("s", 800), ("task", 200))), Call(1300, 9, segments=(("s", 800), ("task", 500)))]
CACHE = {"prompt_cache": PromptCache(min_tokens=100, ttl_s=60)}


def cached(arrivals, cache=CACHE):
    return [r.cached_input_tokens for r in play(PLAIN | cache, arrivals)[1]]


def test_a_prompt_seen_lately_counts_as_cached_as_far_as_it_was_seen():
    assert cached([(0, AGENT[0]), (50, AGENT[1]), (100, AGENT[1])]) == [0, 1000, 1300]
    assert cached([(0, AGENT[1]), (50, AGENT[0]), (100, AGENT[1])]) == [0, 1000, 1300], "a shorter look forgets nothing"


def test_a_shared_system_prompt_is_shared_until_the_prompts_part():
    other = Call(1000, 9, segments=(("s", 800), ("other", 200)))
    assert cached([(0, AGENT[0]), (1, other)]) == [0, 800]
    shorter = Call(1000, 9, segments=(("s", 900), ("task", 100)))
    assert cached([(0, AGENT[0]), (1, shorter)]) == [0, 800], "what follows an unseen token is not cached"


def test_a_prefix_is_forgotten_after_its_time_and_short_ones_do_not_count():
    assert cached([(0, AGENT[0]), (61, AGENT[0])]) == [0, 0]
    assert cached([(0, AGENT[0]), (59, AGENT[0]), (118, AGENT[0])]) == [0, 1000, 1000], "use keeps it alive"
    tiny = Call(99, 9, segments=(("tiny", 99),))
    assert cached([(0, tiny), (1, tiny)]) == [0, 0]
    assert cached([(0, AGENT[0]), (1, AGENT[0])], cache={}) == [0, 0]


def test_memory_of_prompts_is_bounded_by_their_time_to_live():
    calls = [(i, Call(200, 1, segments=((i, 200),))) for i in range(1000)]
    api, _, _ = play(PLAIN | CACHE, calls)
    assert len(api._seen) <= 61


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"output_tokens_per_s": 0}, "output_tokens_per_s = 0"),
        ({"ttft_tail_fraction": 0.02}, "ttft_tail_fraction = 0.02 needs ttft_tail_median_s"),
        ({"requests_per_minute": 6, "burst_s": 5}, r"requests_per_minute = 6.0 / 60 \* burst_s = 5.0 must be >= 1"),
        ({"max_concurrency": 0}, "max_concurrency = 0"),
        ({"on_limit": "hope"}, "on_limit = 'hope'"),
        ({"prompt_cache": {"min_tokens": 10, "ttl_s": 0}}, "prompt_cache.ttl_s = 0"),
    ],
)
def test_nonsense_is_refused_by_name(wrong, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(ApiProvider, PLAIN | wrong)
