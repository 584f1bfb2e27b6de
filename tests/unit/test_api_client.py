"""What happens to a request that an API does not serve at once: tried again, doubled, or put off till the night."""

from __future__ import annotations

import numpy as np
import pytest

from sim.api.client import Retry, luck
from sim.api.provider import ApiProvider
from sim.api.server import Api
from sim.schema import ConfigError, parse_config
from sim.work import Call, Outcome
from tests.unit.test_api import PLAIN, play, stamps

STEADY = {"max_attempts": 4, "base_s": 1, "factor": 2, "cap_s": 3, "jitter_fraction": 0, "obeys_retry_after": False}
FULL = PLAIN | {"requests_per_minute": 0.06, "burst_s": 1000, "on_limit": "retry"}  # one at once, the next after 1000 s


def tries(request):
    extra = request.api_extra
    return (extra.throttled_attempts, extra.failed_attempts) if extra else (0, 0)


def test_a_client_tries_again_with_growing_waits_and_gives_up_after_its_last_attempt():
    """Attempts at 5, 6, 8 and 11: the waits are 1, 2, 4 cut to 3; the fourth refusal is the answer."""
    _, (first, second), done = play(FULL | {"retry": STEADY}, [(0, Call(10, 1)), (5, Call(10, 1))])
    assert tries(first) == (0, 0) and first.outcome is Outcome.FINISHED
    assert tries(second) == (4, 0) and second.outcome is Outcome.REFUSED
    assert stamps(second) == (None, None, 11)


def test_a_retry_after_is_obeyed_in_whole_seconds_and_then_there_is_room():
    """One per 2.5 s: refused at 1 with 1.5 s to go, told 2 s, let in at 3."""
    provider = PLAIN | {"requests_per_minute": 24, "burst_s": 2.5, "on_limit": "retry"}
    told = STEADY | {"obeys_retry_after": True}
    _, requests, _ = play(provider | {"retry": told}, [(0, Call(10, 1)), (1, Call(10, 1))])
    assert [r.admitted_s for r in requests] == [0, 3] and tries(requests[1]) == (1, 0)
    deaf = play(provider | {"retry": STEADY}, [(0, Call(10, 1)), (1, Call(10, 1))])[1]
    assert deaf[1].admitted_s == 4 and tries(deaf[1]) == (2, 0), "refused at 1 and at 2"


def test_a_slot_has_no_retry_after():
    provider = PLAIN | {"max_concurrency": 1, "on_limit": "retry", "retry": STEADY | {"obeys_retry_after": True}}
    _, requests, _ = play(provider, [(0, Call(10, 2)), (0.5, Call(10, 1))])
    assert requests[1].admitted_s == 3.5 and tries(requests[1]) == (2, 0), "at 0.5 and 1.5; the slot is free at 2"


def test_patience_ends_between_two_attempts():
    _, (_, second), done = play(FULL | {"retry": STEADY}, [(0, Call(10, 1)), (5, Call(10, 1))], patience_s=5)
    assert second.outcome is Outcome.ABANDONED and stamps(second) == (None, None, 10) and tries(second) == (3, 0)


def test_what_never_fits_is_not_tried_again():
    provider = PLAIN | {"tokens_per_minute": 600, "burst_s": 10, "on_limit": "retry"}
    _, (request,), done = play(provider, [(7, Call(100, 10))])
    assert request.outcome is Outcome.REFUSED and done == [(7, 0)] and tries(request) == (1, 0)


def test_who_is_between_two_attempts_is_inside():
    api, requests, _ = play(FULL | {"retry": STEADY}, [(0, Call(10, 9)), (5, Call(10, 1))], until=7)
    assert api.unfinished() == requests and api.n_outstanding == 2


def test_jitter_spreads_the_waits_and_is_the_calls_own():
    rng = np.random.default_rng(3)
    calls = [Call(10, 1, api_quantiles=tuple(pair)) for pair in rng.random((4000, 2)).tolist()]
    drawn = np.array([[luck(call, draw) for draw in range(3)] for call in calls])
    assert drawn.tolist() == [[luck(call, draw) for draw in range(3)] for call in calls]
    assert drawn.min() > 0 and drawn.max() < 1
    for column in drawn.T:  # uniform: Kolmogorov's distance, at 0.1 % for 4000 draws
        ranks = np.arange(1, 4001) / 4000
        assert np.abs(np.sort(column) - ranks).max() < 1.95 / 4000**0.5
    others = np.column_stack([drawn, [call.api_quantiles for call in calls]])
    assert np.abs(np.corrcoef(others.T) - np.eye(5)).max() < 0.06
    waits = [Retry(base_s=10, jitter_fraction=0.2).wait_s(1, u) for u in (0, 0.5, 1)]
    assert waits == pytest.approx([8, 10, 12])


DOWN = PLAIN | {"outages": {"schedule": [{"start_s": 10, "duration_s": 5}]}, "retry": STEADY}


def test_during_an_outage_requests_fail_and_are_tried_again():
    """Sent at 11.5, 12.5, 14.5 and, waits being 1, 2 and 3, at 17.5, when it is over; what was let in goes on."""
    _, requests, _ = play(DOWN, [(9, Call(10, 4)), (11.5, Call(10, 1)), (15, Call(10, 1))])
    assert [r.admitted_s for r in requests] == [9, 17.5, 15] and requests[0].finished_s == 13
    assert [tries(r) for r in requests] == [(0, 0), (0, 3), (0, 0)]


def test_an_error_may_take_its_time_and_the_last_is_final():
    slow = DOWN | {"outages": DOWN["outages"] | {"error_after_s": 0.5}, "retry": STEADY | {"max_attempts": 2}}
    _, (request,), done = play(slow, [(11, Call(10, 1))])
    assert request.outcome is Outcome.REFUSED and done == [(13.0, 0)], "fails at 11.5, sent at 12.5, fails at 13"
    assert tries(request) == (0, 2)


def test_a_line_meets_the_outage_when_it_moves():
    provider = DOWN | {"max_concurrency": 1}
    _, requests, _ = play(provider, [(8, Call(10, 5)), (9, Call(10, 1))])  # the slot is free at 13, the outage on
    assert requests[1].admitted_s == 16 and tries(requests[1]) == (0, 2)


# A call whose first token takes e^(2 z): z = 1 for bad luck, and whatever its second luck says for the copy.
HEDGED = {"ttft_median_s": 2, "ttft_sigma": 1, "output_tokens_per_s": 1, "hedge": {"after_s": 3}}
SLOW, QUICK = Call(100, 5, api_quantiles=(0.99, 0.5)), Call(100, 5, api_quantiles=(0.4, 0.5))


def test_a_late_first_token_sends_a_second_copy_and_the_first_to_answer_wins():
    law = ApiProvider(**HEDGED)
    own_s, copy_s = law.ttft_s(0.99), 3 + law.ttft_s(luck(SLOW, 0))
    assert own_s > copy_s, "the story needs a copy that wins"
    _, (slow, quick), _ = play(HEDGED, [(0, SLOW), (0, QUICK)])
    assert slow.first_token_s == pytest.approx(copy_s) and slow.finished_s == pytest.approx(copy_s + 4)
    assert slow.admitted_s == 0
    assert quick.first_token_s == pytest.approx(law.ttft_s(0.4)) and quick.api_extra is None


def test_the_loser_is_billed_for_its_prompt_or_to_its_end():
    _, (cancelled,), _ = play(HEDGED, [(0, SLOW)])
    extra = cancelled.api_extra
    assert (extra.is_hedged, extra.lost_input_tokens, extra.lost_output_tokens) == (1, 100, 0)
    _, (runs_on,), _ = play(HEDGED | {"hedge": {"after_s": 3, "cancels_loser": False}}, [(0, SLOW)])
    assert (runs_on.api_extra.lost_input_tokens, runs_on.api_extra.lost_output_tokens) == (100, 5)
    assert runs_on.finished_s == cancelled.finished_s


def test_copies_hold_slots_and_take_from_buckets_and_without_room_there_are_none():
    law = ApiProvider(**HEDGED)
    _, (alone, _), _ = play(HEDGED | {"max_concurrency": 2}, [(0, SLOW), (1, SLOW)])
    assert alone.api_extra is None and alone.first_token_s == pytest.approx(law.ttft_s(0.99))
    third = Call(100, 1)
    _, requests, _ = play(HEDGED | {"max_concurrency": 2}, [(0, SLOW), (3.5, third)])
    assert requests[1].admitted_s == pytest.approx(requests[0].first_token_s), "when the loser has been cancelled"
    stubborn = HEDGED | {"max_concurrency": 2, "hedge": {"after_s": 3, "cancels_loser": False}}
    _, requests, _ = play(stubborn, [(0, SLOW), (3.5, third)])
    assert requests[1].admitted_s == pytest.approx(min(requests[0].finished_s, law.ttft_s(0.99) + 4))
    two_a_minute = HEDGED | {"requests_per_minute": 2, "burst_s": 60}
    _, requests, _ = play(two_a_minute, [(0, SLOW), (20, third)])
    assert requests[1].admitted_s == pytest.approx(30), "the copy took the second request of the minute"
    down = HEDGED | {"outages": {"schedule": [{"start_s": 2, "duration_s": 2}]}}
    assert play(down, [(0, SLOW)])[1][0].api_extra is None


BATCH = PLAIN | {"max_concurrency": 1, "batch": {"from_priority": 5, "turnaround_median_s": 3600}}


def test_urgent_work_and_batch_work_do_not_meet():
    import simpy

    from sim.work import Request, Task

    env, done = simpy.Environment(), []
    api = Api(env, ApiProvider(**BATCH), lambda r: done.append((env.now, r.task.task_id)))
    requests = [Request(Task(i, 0, (Call(10, 3),), priority=p), 0, 0) for i, p in enumerate((5, 9, 0, 4))]
    for request in requests:
        api.submit(request)
    assert set(api.unfinished()) == set(requests) and api.n_outstanding == 2
    env.run()
    assert done == [(3, 2), (6, 3), (3600, 0), (3600, 1)]
    assert [bool(r.api_extra and r.api_extra.is_batch) for r in requests] == [True, True, False, False]
    assert stamps(requests[0]) == (0, 3600, 3600)


def test_batch_work_is_answered_within_its_window():
    tier = {"from_priority": 0, "turnaround_median_s": 3600, "turnaround_sigma": 2, "window_s": 86_400}
    law = ApiProvider(**PLAIN | {"batch": tier})
    turnaround_s = np.array([law.turnaround_s(u) for u in (np.arange(1000) + 0.5) / 1000])
    assert np.median(turnaround_s) == pytest.approx(3600, rel=0.01) and turnaround_s.max() == 86_400
    assert np.mean(turnaround_s == 86_400) == pytest.approx(0.056, abs=0.002), "the normal above ln(24) / 2"


def test_the_first_token_may_wait_for_the_prompt_but_not_for_its_cached_part():
    cache = {"min_tokens": 100, "ttl_s": 60}
    provider = PLAIN | {"ttft_s_per_uncached_token": 0.01, "prompt_cache": cache}
    call = Call(1000, 1, segments=(("s", 800),))
    _, requests, _ = play(provider, [(0, call), (50, call)])
    assert [r.first_token_s for r in requests] == pytest.approx([11, 53]), "1 + 10, then 1 + 2"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"retry": {"max_attempts": 0}}, "retry.max_attempts = 0"),
        ({"hedge": {"after_s": 0}}, "hedge.after_s = 0"),
        ({"outages": {"mean_duration_s": 60}}, "outages: .*give both or neither"),
        ({"ramp": {"every_s": 7, "max_multiplier": 2}}, "every_s = 7.0: an hour"),
        ({"hourly_limits": [{"from_hour": 5, "to_hour": 5, "multiplier": 2}]}, "to_hour = 5: must be > from_hour = 5"),
        ({"batch": {"turnaround_median_s": 5}}, "batch.from_priority: is required"),
    ],
)
def test_nonsense_is_refused_by_name(wrong, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(ApiProvider, PLAIN | wrong)
