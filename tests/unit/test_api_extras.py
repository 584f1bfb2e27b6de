"""What an API does beyond one plain answer is on the bill, on lines of its own, and among the metrics."""

from __future__ import annotations

import numpy as np
import pytest

from sim.ledger.bill import bill, bill_by_application, bill_by_hour, money
from sim.ledger.prices import Prices
from sim.ledger.usage import Usage
from sim.ledger.usage_tables import ApiService
from sim.recorder import Recorder
from sim.records import API_EXTRA_COLUMNS
from sim.report.metrics import summarize
from sim.report.slo import Slo
from sim.schema import parse_config
from sim.work import ApiExtra, Backend, Call, Outcome, Request, Task
from tests.facts_builder import Book

GPU = {"kind": "on_demand", "provider": "Nobody", "as_of": "2026-01", "usd_per_gpu_hour": {"any": 1}}
API = {
    "kind": "token_tariff", "provider": "Tokens", "as_of": "2026-01", "usd_per_mtok_input": 10,
    "usd_per_mtok_cached_input": 1, "usd_per_mtok_cache_write": 20, "usd_per_mtok_output": 40,
    "batch_tier_multiplier": 0.5,
}  # fmt: skip


def extras(*rows):
    table = [{"request_row": i} | row for i, row in rows]
    return {
        name: np.array([row.get(name, 0) for row in table], column.dtype) for name, column in API_EXTRA_COLUMNS.items()
    }


def priced(book, api_extras, **api):
    facts = book.facts(api_extras=api_extras)
    usage = Usage.from_facts(facts)
    prices = parse_config(Prices, {"gpu": GPU, "api": API | api})
    lines = bill(usage, prices, None, None)
    for split in (bill_by_hour, bill_by_application):
        assert split(usage, prices, None, None)["usd"].sum() == pytest.approx(lines["usd"].sum())
    again = Usage.from_json(usage.to_json())
    assert bill(again, prices, None, None).equals(lines)
    return facts, usage, lines.set_index("item")


def test_the_copy_that_lost_a_hedge_is_billed_on_lines_of_its_own():
    book = Book(window=(0, 7200), gpus_per_replica=0)
    book.api(1, 2, 3, input_tokens=1000, cached_input_tokens=400, output_tokens=50)
    book.api(3700, 3702, 3703, input_tokens=1000, cached_input_tokens=0, output_tokens=70, cache_write_tokens=300)
    lost = dict(is_hedged=1, lost_input_tokens=1000, lost_cached_input_tokens=250, lost_output_tokens=7)
    facts, usage, lines = priced(book, extras((1, lost | {"lost_cache_write_tokens": 100})))
    assert usage.api["service"].tolist().count(ApiService.STANDARD) == 2
    assert lines["usd"].to_dict() == pytest.approx(
        {
            "api input": 700 * 10e-6, "api cached input": 400 * 1e-6, "api cache write": 900 * 20e-6,
            "api output": 120 * 40e-6, "api input, lost hedges": 650 * 10e-6,
            "api cached input, lost hedges": 250 * 1e-6, "api cache write, lost hedges": 100 * 20e-6,
            "api output, lost hedges": 7 * 40e-6,
        }
    )  # fmt: skip
    plain = priced(book, extras())[2]
    assert plain["usd"].sum() == pytest.approx(lines[~lines.index.str.contains("hedges")]["usd"].sum())
    assert (usage.requests_finished, usage.input_tokens, usage.output_tokens) == (2, 2000, 120), "served once"
    assert money(lines.reset_index(), usage)["usd_api"] == pytest.approx(lines["usd"].sum())


def test_a_price_per_request_is_paid_for_both_copies():
    book = Book(gpus_per_replica=0).api(1, 2, 3)
    assert priced(book, extras((0, {"is_hedged": 1})), usd_per_request=1)[2].loc["api requests", "usd"] == 2


def test_batch_work_has_a_multiplier_of_its_own():
    book = Book(gpus_per_replica=0).api(1, 2, 3, input_tokens=100, cache_write_tokens=0).api(1, 2, 3, input_tokens=300)
    lines = priced(book, extras((1, {"is_batch": 1})), usd_per_mtok_cache_write=None)[2]
    assert lines.loc["api input", "usd"] == pytest.approx(100 * 10e-6)
    assert lines.loc["api input, batch tier", "quantity"] == pytest.approx(300e-6)
    assert lines.loc["api input, batch tier", "usd"] == pytest.approx(300 * 5e-6)


def test_attempts_are_counted_for_the_tasks_of_the_window():
    book = Book(window=(10, 100), gpus_per_replica=0, peak_tokens_per_s=None)
    book.api(5, 6, 7).api(20, 22, 23).api(30, 31, 32)
    book.request(40, finished_s=50, backend=1, replica_id=-1, outcome=Outcome.REFUSED)
    facts, usage, _ = priced(
        book,
        extras(
            (0, {"throttled_attempts": 9}), (1, {"is_hedged": 1, "failed_attempts": 2}), (3, {"throttled_attempts": 4})
        ),
    )
    said = summarize(facts, usage, {}, Slo(ttft_s=5))
    assert (said["api_429s"], said["api_errors"]) == (4, 2)
    assert said["api_attempts_per_request"] == pytest.approx((4 + 2 + 2 + 1) / 3), "two let in, one of them twice"
    assert said["api_hedged_fraction"] == pytest.approx(1 / 3)


def test_the_recorder_keeps_what_is_out_of_the_ordinary_beside_the_request_it_belongs_to():
    recorder = Recorder()
    for i in range(3):
        request = Request(Task(i, 0.0, (Call(5, 5),)), 0, 0.0)
        request.backend = Backend.API
        request.end(Outcome.REFUSED, 1.0)
        if i == 1:
            request.api_extra = ApiExtra()
            request.api_extra.throttled_attempts = 3
        recorder.request(request)
    facts = Book().facts(requests=recorder.requests(), api_extras=recorder.api_extras())
    assert facts.api_extras["request_row"].tolist() == [1]
    assert facts.requests_in_full["throttled_attempts"].tolist() == [0, 3, 0]
    assert facts.requests_in_full["failed_attempts"].tolist() == [0, 0, 0]


def test_work_that_can_wait_has_a_deadline_instead_of_a_first_token():
    book = Book(window=(0, 10), gpus_per_replica=0, peak_tokens_per_s=None)
    for priority, first_s, end_s in ((0, 2, 4), (0, 50, 60), (7, 50, 60), (7, 5000, 5001)):
        book.api(1, first_s, end_s, priority=priority)
    facts = book.facts()
    slo = Slo(ttft_s=5, deadline_from_priority=7, deadline_s=3600)
    assert slo.attained(facts.requests).tolist() == [True, False, True, False]
    assert Slo(ttft_s=5).attained(facts.requests).tolist() == [True, False, False, False]


def test_work_with_a_deadline_must_be_finished_not_just_ended_by_then():
    """A refused, an abandoned and a failed request have an end, too, and it comes well before the deadline."""
    book = Book(window=(0, 10), gpus_per_replica=0, peak_tokens_per_s=None).api(1, 50, 60, priority=7)
    for outcome in (Outcome.REFUSED, Outcome.ABANDONED, Outcome.FAILED):
        book.request(1, finished_s=2, outcome=outcome, priority=7)
    slo = Slo(ttft_s=5, deadline_from_priority=7, deadline_s=3600)
    assert slo.attained(book.facts().requests).tolist() == [True, False, False, False]
