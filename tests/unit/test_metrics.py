"""Metrics of small worlds, worked out by hand."""

import dataclasses
import json
import math

import numpy as np
import pytest

from sim.ledger.usage import Usage
from sim.records import Outcome, Window
from sim.report.descriptive import percentile
from sim.report.metrics import finite_or_none, summarize
from sim.report.slo import Slo
from sim.scenarios import scenario
from sim.schema import ConfigError, parse_config
from sim.study.replicate import replicate
from tests.facts_builder import Book, day_of_traffic, quiet_book

NAN, INF = float("nan"), float("inf")

PROMISED = """
requests requests_finished requests_refused requests_abandoned requests_unfinished requests_never_sent tasks
input_tokens cached_input_tokens output_tokens ttft_mean_s ttft_p50_s ttft_p95_s ttft_p99_s tpot_mean_s tpot_p50_s
tpot_p99_s e2e_mean_s e2e_p50_s e2e_p95_s e2e_p99_s task_mean_s task_p95_s slo_attainment_fraction
busy_fraction_of_paid token_fraction_of_peak batch_fill_fraction gpu_hours_paid cold_starts cold_start_wait_p95_s
api_request_fraction preemptions prefix_hit_fraction evicted_while_thinking_fraction recomputed_tokens usd_total
api_429s api_errors api_attempts_per_request api_hedged_fraction
""".split()


def summary_of(book, slo=None, **changes):
    facts = book.facts(**changes)
    return summarize(facts, Usage.from_facts(facts), {"usd_total": 1.0}, slo or Slo(ttft_s=10.0))


def test_every_promised_key_is_there_even_for_nothing():
    assert set(PROMISED) <= set(summary_of(quiet_book()))
    nothing = summary_of(Book(gpus_per_replica=0, peak_tokens_per_s=None))
    assert set(PROMISED) <= set(nothing)
    assert nothing["requests"] == 0 and nothing["ttft_p99_s"] is None and nothing["slo_attainment_fraction"] is None
    assert nothing["busy_fraction_of_paid"] is nothing["token_fraction_of_peak"] is None
    assert nothing["batch_fill_fraction"] is nothing["cold_start_wait_p95_s"] is None and not nothing["meets_slo"]


def test_the_quiet_world():
    """Requests at 2 s and 21 s wait 20 s and 6 s for a first token; the GPU is paid for 90 s."""
    said = summary_of(quiet_book())
    assert (said["requests"], said["requests_finished"], said["tasks"]) == (2, 2, 2)
    assert (said["input_tokens"], said["cached_input_tokens"], said["output_tokens"]) == (300, 50, 25)
    assert said["ttft_mean_s"] == 13 and said["ttft_p50_s"] == 13 and said["ttft_p95_s"] == pytest.approx(19.3)
    assert said["tpot_mean_s"] == said["tpot_p50_s"] == 1.0  # 10 tokens in 10 s, 13 in 13 s
    assert said["e2e_mean_s"] == pytest.approx((30 + 19) / 2) and said["task_mean_s"] == said["e2e_mean_s"]
    assert said["busy_fraction_of_paid"] == pytest.approx(20 / 90)
    assert said["token_fraction_of_peak"] == pytest.approx(325 / (90 * 100))
    assert said["batch_fill_fraction"] == pytest.approx((12 + 15) / (20 * 4))
    assert said["tokens_at_peak"] == 90 * 100 and said["batch_slot_hours"] == pytest.approx(20 * 4 / 3600)
    assert said["gpu_hours_paid"] == 90 / 3600 and said["cold_starts"] == 1
    assert said["cold_start_wait_p95_s"] == pytest.approx(0.95 * 18) and said["cold_start_request_fraction"] == 0.5
    assert said["prefix_hit_fraction"] == pytest.approx(50 / 300) and said["api_request_fraction"] == 0
    assert said["slo_attainment_fraction"] == 0.5 and not said["meets_slo"] and said["usd_total"] == 1.0


def test_who_is_never_served_is_infinitely_late():
    """Ten arrivals, nine served in one second: median 1 s, 95th percentile infinite, mean over those served 1 s."""
    book = Book(max_num_seqs=9).replica(0, ("busy", 0, 100))
    for _ in range(9):
        book.request(0, 0, 1, 9)
    said = summary_of(book.request(0, NAN, NAN, 30, outcome=Outcome.ABANDONED, replica_id=-1))
    assert said["ttft_p50_s"] == 1 and said["ttft_p95_s"] == said["ttft_p99_s"] == INF and said["ttft_mean_s"] == 1
    assert said["e2e_p50_s"] == 9 and said["e2e_p99_s"] == said["tpot_p99_s"] == said["task_p95_s"] == INF
    assert said["requests_abandoned"] == 1 and said["slo_attainment_fraction"] == 0.9
    assert json.loads(json.dumps(finite_or_none(said), allow_nan=False))["ttft_p99_s"] is None


def test_an_unfinished_request_has_a_first_token_but_no_end():
    book = Book().replica(0, ("busy", 0, 100)).request(0, 0, 1, NAN, outcome=Outcome.UNFINISHED)
    said = summary_of(book)
    assert said["ttft_p99_s"] == 1 and said["e2e_p50_s"] == INF and said["e2e_mean_s"] is None
    assert said["requests_unfinished"] == 1 and said["slo_attainment_fraction"] == 0
    assert said["output_tokens"] == 0 and said["batch_fill_fraction"] == pytest.approx(100 / 400)


def test_only_tasks_that_begin_in_the_window_are_judged():
    said = summary_of(quiet_book(), window=Window(10, 90))
    assert said["requests"] == 1 and said["ttft_p99_s"] == 6
    assert said["busy_fraction_of_paid"] == pytest.approx(20 / 80)  # but GPU seconds count where they fall
    assert said["token_fraction_of_peak"] == pytest.approx(325 / 8000)  # and so do tokens finished there
    assert said["cold_starts"] == 0  # it began before


def test_running_sequences_are_clipped_and_preemption_taken_off():
    """Resident 0 to 40 but out of the batch half the time; the window sees the last 20 s of it: 10 s running."""
    book = Book(window=(20, 60)).replica(0, ("busy", 0, 40), ("idle", 40, 100))
    said = summary_of(book.request(0, 0, 1, 40, preemptions=1, preempted_s=20.0))
    assert said["batch_fill_fraction"] == pytest.approx(10 / (20 * 4))


def test_a_request_that_lost_its_replica_does_not_run_while_it_waits_for_another():
    """Admitted at 0, lost at 10, and waiting until the run is cut at 100: 10 s running of the 10 s busy, on 4 slots."""
    book = Book(window=(0, 100)).replica(0, ("busy", 0, 10)).replica(1, ("weights", 10, 100))
    waiting = book.retried(0, 0, NAN, NAN, (0, 0, 10), outcome=Outcome.UNFINISHED, retries=1)
    assert summary_of(waiting)["batch_fill_fraction"] == pytest.approx(10 / (10 * 4))
    book = Book(window=(0, 100)).replica(0, ("busy", 0, 10)).replica(1, ("weights", 0, 30), ("busy", 30, 50))
    again = book.retried(0, 0, 31, 50, (0, 0, 10), (1, 30, 50), preempted_s=20.0 + 5.0)
    assert summary_of(again)["batch_fill_fraction"] == pytest.approx((10 + 20 - 5) / (30 * 4)), "5 s out of a batch"


def test_replicas_that_beat_the_saturated_mix_are_full_and_no_more():
    """1,500 tokens in 10 busy seconds of 20 paid ones, where the mix of all calls saturates at 100 a second."""
    book = Book(window=(0, 20)).replica(0, ("busy", 0, 10), ("idle", 10, 20))
    said = summary_of(book.request(0, 0, 1, 10, input_tokens=1400, output_tokens=100))
    assert said["token_fraction_of_peak"] == said["busy_fraction_of_paid"] == pytest.approx(0.5)


def test_preemptions_and_api_share():
    book = (
        Book()
        .replica(0, ("busy", 0, 50))
        .request(0, 0, 1, 50, preemptions=3, preempted_s=1.0)
        .api(5, 6, 7)
        .api(6, 7, 8)
    )
    said = summary_of(book)
    assert said["preemptions"] == 3 and said["api_request_fraction"] == pytest.approx(2 / 3)
    assert said["token_fraction_of_peak"] == pytest.approx(15 / (50 * 100))  # the API's tokens are not the fleet's


def test_draining_is_use_and_not_idleness():
    book = Book().replica(0, ("busy", 0, 30), ("draining", 30, 40)).request(0, 0, 1, 40)
    assert summary_of(book)["busy_fraction_of_paid"] == 1.0


def test_a_task_lasts_from_its_first_arrival_to_its_last_token():
    book = Book().replica(0, ("busy", 0, 10), ("idle", 10, 40), ("busy", 40, 55))
    book.request(0, 0, 1, 10, task_id=3, call_index=0, calls_in_task=2)
    book.request(40, 40, 41, 55, task_id=3, call_index=1, calls_in_task=2)
    said = summary_of(book)
    assert said["tasks"] == said["tasks_finished"] == 1
    assert said["task_mean_s"] == said["task_p95_s"] == 55
    assert said["e2e_mean_s"] == 12.5


def test_calls_that_are_never_sent_miss_the_slo():
    """Of three tasks of five calls one is served in full; one loses its first call, one is cut short in its third."""
    book = Book(max_num_seqs=9).replica(0, ("busy", 0, 100))
    for call in range(5):
        at = dict(task_id=0, call_index=call, calls_in_task=5, task_arrived_s=0)
        book.request(10 * call, 10 * call, 10 * call + 1, 10 * call + 9, **at)
    book.request(0, NAN, NAN, 30, task_id=1, calls_in_task=5, outcome=Outcome.REFUSED, replica_id=-1)
    for call, end_s, outcome in ((0, 9, Outcome.FINISHED), (1, 19, Outcome.FINISHED), (2, NAN, Outcome.UNFINISHED)):
        at = dict(task_id=2, call_index=call, calls_in_task=5, task_arrived_s=0, outcome=outcome)
        book.request(10 * call, 10 * call, 10 * call + 1, end_s, **at)
    book.request(150, NAN, NAN, 160, task_id=3, calls_in_task=5, outcome=Outcome.REFUSED)  # begins after the window
    said = summary_of(book, Slo(ttft_s=10.0, attainment_fraction=0.5))
    assert (said["requests"], said["requests_never_sent"], said["tasks"]) == (9, 4 + 2, 3)
    assert said["slo_attainment_fraction"] == 7 / 15 and not said["meets_slo"]
    assert said["ttft_p50_s"] == 1 and said["ttft_p99_s"] == INF  # over the nine that were sent


def test_a_single_token_has_no_time_between_tokens():
    book = Book().replica(0, ("busy", 0, 10)).request(0, 0, 10, 10, output_tokens=1)
    said = summary_of(book, Slo(ttft_s=10.0, tpot_s=0.001))
    assert said["tpot_mean_s"] is said["tpot_p99_s"] is None and said["slo_attainment_fraction"] == 1


@pytest.mark.parametrize(
    "limits, share",
    [
        (dict(ttft_s=6.0), 0.5), (dict(ttft_s=5.9), 0.0), (dict(ttft_s=20.0), 1.0),
        (dict(ttft_s=20.0, tpot_s=0.9), 0.0), (dict(ttft_s=20.0, tpot_s=1.0), 1.0),
        (dict(ttft_s=20.0, e2e_s=19.0), 0.5),
    ],
)  # fmt: skip
def test_slo_limits_must_all_be_met(limits, share):
    said = summary_of(quiet_book(), Slo(**limits, attainment_fraction=0.5))
    assert said["slo_attainment_fraction"] == share and said["meets_slo"] == (share >= 0.5)


def test_an_impossible_slo_is_refused():
    for wrong in ({"ttft_s": 0}, {"ttft_s": 1, "attainment_fraction": 1.1}, {}):
        with pytest.raises(ConfigError):
            parse_config(Slo, wrong)


def test_a_limit_that_was_meant_in_milliseconds_is_noted():
    """A TTFT of up to 3,000 s passes whatever the fleet does, and nothing else would say so."""
    assert list(Slo(ttft_s=3000, tpot_s=50).notes()) == [
        "slo.ttft_s = 3000 s limits hardly anything; in ms it is slo.ttft_s=3",
        "slo.tpot_s = 50 s limits hardly anything; in ms it is slo.tpot_s=0.05",
    ]
    assert list(Slo(ttft_s=60, tpot_s=0.2, e2e_s=3600).notes()) == []
    words = ["applications=chat_and_coding", "horizon_s=60", "applications.coding.slo.ttft_s=5000"]
    assert [note for note in replicate(scenario(*words)).notes if "in ms" in note] == [
        "applications.coding.slo.ttft_s = 5000 s limits hardly anything; in ms it is applications.coding.slo.ttft_s=5"
    ]


def test_percentiles_agree_with_numpy_where_it_can_judge():
    values = np.random.default_rng(2).exponential(1.0, 997)
    for p in (0, 50, 95, 99, 100):
        assert percentile(values, p) == pytest.approx(np.percentile(values, p))
    assert percentile(np.array([1.0, INF]), 0) == 1 and percentile(np.array([1.0, INF]), 1) == INF
    assert percentile(np.array([INF, INF]), 50) == INF and percentile(np.array([]), 50) is None


def test_three_utilizations_differ():
    """A day's fleet: busy says much more than tokens do."""
    facts = day_of_traffic(requests_n=4000)
    said = summarize(facts, Usage.from_facts(facts), {}, Slo(ttft_s=5.0))
    assert 1 >= said["busy_fraction_of_paid"] > 2 * said["token_fraction_of_peak"] > 0
    assert 0 < said["batch_fill_fraction"] < 1 and math.isfinite(said["e2e_p99_s"])
    none = dataclasses.replace(facts, pools=tuple(pool._replace(peak_tokens_per_s=None) for pool in facts.pools))
    assert summarize(none, Usage.from_facts(none), {}, Slo(ttft_s=5.0))["token_fraction_of_peak"] is None


def test_contexts_lost_while_a_tool_ran():
    """Blocks of 16: 100 tokens come back, so 96 can be found. A finds all, B half; C moved, D came from the API."""
    chain = dict(calls_in_task=2, input_tokens=150)
    book = Book().replica(0, ("busy", 0, 90)).replica(1, ("busy", 0, 90))
    for task in range(4):
        where = dict(backend=1, replica_id=-1) if task == 3 else {}
        book.request(1, 2, 3, 4, task_id=task, call_index=0, **chain, **where)
    for task, cached, replica in ((0, 96, 0), (1, 48, 0), (2, 0, 1), (3, 0, 0)):
        book.request(
            10, 11, 12, 13, task_id=task, call_index=1, **chain, returning_tokens=100, cached_input_tokens=cached,
            replica_id=replica, recomputed_tokens=7 if task == 0 else 0,
        )  # fmt: skip
    said = summary_of(book)
    assert said["evicted_while_thinking_fraction"] == 1 / 2
    assert said["recomputed_tokens"] == 7 + 48 + 96
    assert summary_of(book, window=Window(50, 90))["evicted_while_thinking_fraction"] is None


def test_a_prompt_that_comes_back_to_its_very_end_can_find_all_but_its_last_block():
    book = Book().replica(0, ("busy", 0, 90)).request(1, 2, 3, 4, task_id=0, calls_in_task=2, input_tokens=64)
    again = dict(task_id=0, call_index=1, calls_in_task=2, input_tokens=64, returning_tokens=64)
    said = summary_of(book.request(10, 11, 12, 13, **again, cached_input_tokens=48))
    assert said["evicted_while_thinking_fraction"] == 0 and said["recomputed_tokens"] == 0


def test_tokens_of_a_request_under_way_at_the_start_count_for_what_came_after():
    """15 tokens over 40 s, of which the window sees the last 20: half of them, of the 40 s x 100 it could have had."""
    book = Book(window=(20, 60)).replica(0, ("busy", 0, 40), ("idle", 40, 60)).request(0, 0, 1, 40)
    assert summary_of(book)["token_fraction_of_peak"] == pytest.approx(7.5 / 4000)
