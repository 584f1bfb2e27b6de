"""Limits with more than one bucket, limits that change, and what a prompt cache counts; told with whole numbers."""

from __future__ import annotations

import pytest

from sim.api.prompt_cache import PromptCache
from sim.work import Call, Outcome
from tests.unit.test_api import PLAIN, play

HOUR = 3600


def admitted(provider, calls, **more):
    return [r.admitted_s for r in play(PLAIN | provider, calls, **more)[1]]


def test_input_and_output_have_buckets_of_their_own():
    """Holding 100 and 50 tokens, refilled by 10 and 5 a second."""
    two = {"input_tokens_per_minute": 600, "output_tokens_per_minute": 300, "burst_s": 10}
    assert admitted(two, [(0, Call(100, 10)), (0, Call(40, 20))]) == pytest.approx([0, 4]), "input is short"
    assert admitted(two, [(0, Call(10, 50)), (0, Call(40, 20))]) == pytest.approx([0, 4]), "output is short"
    _, (long, short), _ = play(PLAIN | two, [(0, Call(10, 51)), (0, Call(100, 50))])
    assert long.outcome is Outcome.REFUSED and short.outcome is Outcome.FINISHED
    counted = two | {"max_output_tokens": 50}
    assert admitted(counted, [(0, Call(10, 1)), (0, Call(10, 1))]) == pytest.approx([0, 10]), "max_tokens counts"


def test_cached_input_need_not_count():
    """A bucket of 1000 that refills by 10 a second; the second prompt brings 200 tokens that are not cached."""
    cache = {"prompt_cache": PromptCache(min_tokens=100, ttl_s=600)}
    calls = [(0, Call(1000, 1, segments=(("s", 1000),))), (1, Call(1000, 1, segments=(("s", 800),)))]
    limit = cache | {"input_tokens_per_minute": 600, "burst_s": 100}
    assert admitted(limit, calls) == pytest.approx([0, 100])
    assert admitted(limit | {"limits_count_cached_tokens": False}, calls) == pytest.approx([0, 20])


def test_limits_follow_the_hours_of_the_day():
    """One a minute, in the second hour two a minute; from 3 590 s on the line moves faster at 3 600.

    The bucket follows the rate: a minute's worth is two in the second hour, and one again after it.
    """
    hours = [{"from_hour": 1, "to_hour": 2, "multiplier": 2}]
    provider = {"requests_per_minute": 1, "burst_s": 60, "hourly_limits": hours}
    calls = [(3550, Call(1, 1))] * 4 + [(7190, Call(1, 1))] * 3
    expected = [3550, 3605, 3635, 3665, 7190, 7190, 7240]  # 50/60 at 3600, the rest at 2/60; 10 x 2/60 until 7200
    assert admitted(provider, calls) == pytest.approx(expected, abs=1e-3)
    a_day_later = [(at + 24 * HOUR, call) for at, call in calls]
    assert admitted(provider, a_day_later) == pytest.approx([24 * HOUR + at for at in expected], abs=1e-3)


def test_sustained_use_raises_a_limit_and_a_quiet_minute_takes_it_back():
    """Usually 6 a minute, bursts of 2. Of twelve that come at 5 s, 7 are let in in the first minute, which makes the
    limit 14 a minute: one every 30/7 s, the next being half there at 60. Four quiet minutes make it 6 again."""
    provider = {"requests_per_minute": 6, "burst_s": 20, "ramp": {"every_s": 60, "growth": 2, "max_multiplier": 5}}
    first = [5, 5, 15, 25, 35, 45, 55, *(60 + 15 / 7 + 30 / 7 * k for k in range(5))]
    calls = [(5, Call(1, 1))] * 12 + [(300, Call(1, 1))] * 4
    assert admitted(provider, calls) == pytest.approx([*first, 300, 300, 310, 320], abs=1e-3)
    high = admitted(provider | {"ramp": {"every_s": 60, "growth": 2, "max_multiplier": 1.5}}, [(0, Call(1, 1))] * 30)
    assert high[-1] - high[-2] == pytest.approx(60 / 9, abs=1e-3), "at most one and a half times 6 a minute"


def test_a_burst_meets_the_old_limit():
    """Use after 60 s does not raise what is let in before it."""
    provider = {"requests_per_minute": 6, "burst_s": 20, "ramp": {"every_s": 60, "max_multiplier": 5}}
    assert len([at for at in admitted(provider, [(10, Call(1, 1))] * 50) if at <= 59]) == 2 + 4


def cached(provider_cache, calls):
    requests = play(PLAIN | {"prompt_cache": provider_cache}, calls)[1]
    return [(r.cached_input_tokens, r.cache_write_tokens) for r in requests]


def test_hits_count_in_steps_and_the_rest_is_written():
    steps = PromptCache(min_tokens=1024, ttl_s=300, step_tokens=128)
    calls = [
        (i, Call(1400, 1, segments=(("s", shared), (i, 100)))) for i, shared in enumerate((1300, 1300, 1023, 1151))
    ]
    assert cached(steps, calls) == [(0, 1400), (1280, 120), (0, 1400), (1024, 376)]


def test_below_the_minimum_nothing_is_written_and_marks_keep_out_what_is_not_shared():
    short, long = Call(900, 1, segments=(("s", 900),)), Call(3000, 1, segments=(("s", 2000),))
    assert cached(PromptCache(min_tokens=1024, ttl_s=300), [(0, short), (1, long)]) == [(0, 0), (0, 3000)]
    marked = PromptCache(min_tokens=1024, ttl_s=300, writes="marked")
    assert cached(marked, [(0, short), (1, long), (2, long)]) == [(0, 0), (0, 2000), (2000, 0)]
    assert cached(marked, [(0, Call(5000, 1))]) == [(0, 0)], "no marks, no cache"
    assert [(r.cached_input_tokens, r.cache_write_tokens) for r in play(PLAIN, [(0, long)])[1]] == [(0, 0)]


def test_a_hit_renews_or_not():
    calls = [(at, Call(1000, 1, segments=(("s", 1000),))) for at in (0, 200, 400, 600)]
    renewed = PromptCache(min_tokens=1, ttl_s=300)
    assert [hit for hit, _ in cached(renewed, calls)] == [0, 1000, 1000, 1000]
    from_writing = PromptCache(min_tokens=1, ttl_s=300, renewed_by_hits=False)
    assert [hit for hit, _ in cached(from_writing, calls)] == [0, 1000, 0, 1000], "written at 0 and again at 400"
    longer = [(at, Call(n, 1, segments=(("s", n),))) for at, n in ((0, 1000), (200, 1200), (400, 1200))]
    assert [hit for hit, _ in cached(from_writing, longer)] == [0, 1000, 1200], "at 200 all of it was written anew"


def test_calls_sent_together_all_write_and_none_reads():
    """A provider's entry can be read once the first answer that writes it has begun (here after 1 s)."""
    fan_out = [(0, Call(8100, 10, segments=(("system", 8000),)))] * 10
    rule = dict(min_tokens=1024, ttl_s=300, writes="marked")
    assert cached(PromptCache(**rule), fan_out) == [(0, 8000)] * 10
    assert cached(PromptCache(**rule, readable_after="at_once"), fan_out) == [(0, 8000)] + [(8000, 0)] * 9


def test_an_entry_can_be_read_from_the_first_token_or_the_end_of_its_writer():
    """The writer is let in at 0 s, its first token comes at 1 s and its tenth, the last, at 10 s."""
    slow = {"ttft_median_s": 1, "output_tokens_per_s": 1}
    calls = [(at_s, Call(2000, 10, segments=(("s", 2000),))) for at_s in (0, 0.9, 1.1, 9.9, 10.1)]

    def hits(readable_after):
        cache = PromptCache(min_tokens=1024, ttl_s=300, readable_after=readable_after)
        return [r.cached_input_tokens > 0 for r in play(PLAIN | slow | {"prompt_cache": cache}, calls)[1]]

    assert hits("first_token") == [False, False, True, True, True]
    assert hits("request_end") == [False, False, False, False, True]
    assert hits("at_once") == [False, True, True, True, True]
