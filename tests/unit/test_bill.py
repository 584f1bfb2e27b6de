"""Bills worked out by hand."""

import math

import pytest

from sim.ledger.bill import bill, money
from sim.ledger.prices import Prices
from sim.ledger.usage import Usage
from sim.schema import ConfigError, parse_node
from tests.facts_builder import Book, quiet_book


def price_list(overhead=None, **gpu):
    plan = {"kind": "on_demand", "provider": "Acme", "as_of": "2026-01", "usd_per_gpu_hour": {"h100_sxm": 3.6}} | gpu
    api = {
        "kind": "token_tariff", "provider": "Tokens Ltd", "as_of": "2026-01",
        "usd_per_mtok_input": 1.0, "usd_per_mtok_cached_input": 0.1, "usd_per_mtok_output": 4.0,
    }  # fmt: skip
    return parse_node(Prices, {"gpu": plan, "api": api} | ({"overhead": overhead} if overhead else {}))


def lines_of(book, prices):
    usage = Usage.from_facts(book.facts())
    lines = bill(usage, prices, "h100_sxm", "any model")
    return lines.set_index("item")["usd"].to_dict(), money(lines, usage)


def test_ninety_seconds_of_one_gpu():
    """At a tenth of a cent per second: 20 s of cold start, 20 s busy, 50 s idle."""
    usd, said = lines_of(quiet_book(), price_list())
    assert usd["gpu cold start"] == pytest.approx(0.020)
    assert usd["gpu busy"] == pytest.approx(0.020)
    assert usd["gpu idle"] == pytest.approx(0.050)
    assert usd["gpu draining"] == usd["gpu rounding and minimum"] == 0
    assert said["usd_total"] == said["usd_gpu"] == pytest.approx(0.090)
    assert said["usd_idle"] == pytest.approx(0.050) and said["usd_cold_start"] == pytest.approx(0.020)
    assert said["usd_api"] == said["usd_overhead"] == 0
    assert said["usd_per_request"] == said["usd_per_task"] == pytest.approx(0.045)
    assert said["usd_per_mtok_output"] == pytest.approx(0.090 / 25e-6)
    assert said["usd_per_mtok_total"] == pytest.approx(0.090 / 325e-6)
    assert said["usd_per_month"] == pytest.approx(0.090 * 730 * 36)


def test_a_replica_of_two_gpus_costs_twice():
    book = quiet_book()
    book.fleet = (2, 4, 100.0)
    assert lines_of(book, price_list())[1]["usd_total"] == pytest.approx(0.180)


@pytest.mark.parametrize(
    "terms, billed_s",
    [
        (dict(billing_granularity_s=60), 120),
        (dict(billing_granularity_s=3600), 3600),
        (dict(billing_granularity_s=45), 90),
        (dict(minimum_s=600), 600),
        (dict(minimum_s=60), 90),
        (dict(bills_cold_start=False), 70),
        (dict(bills_cold_start=False, billing_granularity_s=60), 120),
        (dict(bills_cold_start=False, minimum_s=80), 80),
    ],
)
def test_rounding_minimum_and_cold_start(terms, billed_s):
    usd, said = lines_of(quiet_book(), price_list(**terms))
    assert said["usd_total"] == pytest.approx(billed_s / 1000)
    if terms.get("bills_cold_start") is False:
        assert usd["gpu cold start"] == 0


def test_each_life_is_rounded_by_itself():
    """Three lives of 10 s are three minutes, not one."""
    book = Book()
    for i in range(3):
        book.replica(i, ("idle", 20 * i, 20 * i + 10))
    assert lines_of(book, price_list(billing_granularity_s=60))[1]["usd_total"] == pytest.approx(0.180)


def test_a_life_cut_by_the_end_of_the_window_is_not_rounded():
    book = Book(window=(0, 100)).replica(0, ("idle", 0, 100))
    assert lines_of(book, price_list(billing_granularity_s=3600))[1]["usd_total"] == pytest.approx(0.100)
    longer = Book(window=(0, 100)).replica(0, ("idle", 0, 130))
    assert lines_of(longer, price_list(billing_granularity_s=3600))[1]["usd_total"] == pytest.approx(0.100)


def test_serverless_is_priced_by_the_second():
    plan = dict(kind="serverless", usd_per_gpu_second={"h100_sxm": 0.002})
    raw = price_list().model_dump()
    del raw["gpu"]["usd_per_gpu_hour"]
    raw["gpu"] |= plan
    assert lines_of(quiet_book(), parse_node(Prices, raw))[1]["usd_total"] == pytest.approx(0.180)


def test_tokens_of_the_api():
    """A million input tokens of which 400,000 cached, 50,000 out: 0.60 + 0.04 + 0.20."""
    book = Book(gpus_per_replica=0).api(
        1, 2, 3, input_tokens=1_000_000, cached_input_tokens=400_000, output_tokens=50_000
    )
    usd, said = lines_of(book, price_list())
    assert usd == pytest.approx({"api input": 0.60, "api cached input": 0.04, "api output": 0.20})
    assert said["usd_total"] == said["usd_api"] == pytest.approx(0.84)


def test_without_a_cache_price_cached_tokens_cost_the_full_price():
    raw = price_list().model_dump()
    raw["api"]["usd_per_mtok_cached_input"] = None
    raw["api"]["usd_per_request"] = 0.01
    book = Book(gpus_per_replica=0).api(1, 2, 3, input_tokens=1000, cached_input_tokens=900, output_tokens=0)
    usd, _ = lines_of(book, parse_node(Prices, raw))
    assert usd["api input"] + usd["api cached input"] == pytest.approx(0.001)
    assert usd["api requests"] == 0.01


def test_only_what_the_api_finished_is_billed():
    book = Book(gpus_per_replica=0).api(1, 2, 3, input_tokens=1000)
    refused = dict(backend=1, replica_id=-1, outcome=1, input_tokens=1000)
    book.request(4, float("nan"), float("nan"), 4, **refused)
    assert lines_of(book, price_list())[0]["api input"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    "overhead, usd",
    [
        ({"kind": "none"}, 0.0),
        ({"kind": "percentage", "percent_of_gpu": 15}, 0.0135),
        ({"kind": "multiplier", "times_gpu": 3}, 0.180),
        ({"kind": "monthly_items", "usd_per_month": {"a": 2628.0, "b": 262.8}}, 0.110),
    ],
)
def test_there_is_one_overhead(overhead, usd):
    """On 9 cents of rent over 100 s; a month of 730 h has 26,280 such windows."""
    said = lines_of(quiet_book(), price_list(overhead))[1]
    assert said["usd_overhead"] == pytest.approx(usd)
    assert said["usd_total"] == pytest.approx(0.090 + usd)
    with pytest.raises(ConfigError):
        price_list(overhead | {"kind": "percentage", "percent_of_gpu": 1, "times_gpu": 2})


def test_unit_costs_of_nothing_are_undefined():
    said = lines_of(Book().replica(0, ("idle", 0, 100)), price_list())[1]
    assert said["usd_total"] == pytest.approx(0.1)
    assert said["usd_per_request"] is said["usd_per_task"] is said["usd_per_mtok_output"] is None
    assert math.isfinite(said["usd_per_month"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum_s": -1}, {"billing_granularity_s": 0}, {"usd_per_gpu_hour": {"h100_sxm": -3}},
        {"usd_per_gpu_hour": {"h100_sxm": float("inf")}}, {"kind": "barter"}, {"_target_": "os.system"},
    ],
)  # fmt: skip
def test_impossible_price_lists_are_refused(wrong):
    with pytest.raises(ConfigError, match="gpu"):
        price_list(**wrong)
