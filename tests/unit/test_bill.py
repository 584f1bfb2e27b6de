"""Bills worked out by hand."""

import dataclasses
import math

import pytest

from sim.ledger.bill import SHARED, bill, bill_by_application, bill_by_hour, money
from sim.ledger.prices import Prices
from sim.ledger.usage import Usage
from sim.moment_zero import MomentZero
from sim.schema import ConfigError, parse_config
from tests.facts_builder import Book, quiet_book

TOKENS = {
    "kind": "token_tariff", "provider": "Tokens Ltd", "as_of": "2026-01",
    "usd_per_mtok_input": 1.0, "usd_per_mtok_cached_input": 0.1, "usd_per_mtok_output": 4.0,
}  # fmt: skip
NODE = {"gpus": 8, "capex_usd": 210_240.0, "years": 3, "kw": 8.0, "pue": 1.5, "usd_per_kwh": 0.1}
"""One dollar per GPU-hour of capital; 1.5 kWh for a GPU-hour at full load, 15 cents."""


def price_list(overhead=None, **gpu):
    plan = {"kind": "on_demand", "provider": "Acme", "as_of": "2026-01", "usd_per_gpu_hour": {"h100_sxm": 3.6}} | gpu
    return parse_config(Prices, {"gpu": plan, "api": TOKENS} | ({"overhead": overhead} if overhead else {}))


def lines_of(book, prices, starts_at="2026-03-02T00:00"):
    usage = Usage.from_facts(book.facts(moment_zero=MomentZero.parse(starts_at)))
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
    book.pools = (book.pools[0]._replace(gpus_per_replica=2),)
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


def test_a_life_that_ends_where_two_windows_meet_is_rounded_once():
    """The second 100 belongs to the window that begins there; a minimum of ten minutes is charged in it, and once."""
    usd = [
        lines_of(Book(window=window).replica(0, ("idle", 0, 100)), price_list(minimum_s=600))[1]["usd_total"]
        for window in ((0, 100), (100, 200))
    ]
    assert usd == [pytest.approx(0.100), pytest.approx(0.500)]


def test_a_replica_released_on_the_hour_is_rounded_in_the_hour_that_begins():
    """As a timetable does: nothing else is paid for in that hour, and the hours still add up to the whole bill."""
    usage = Usage.from_facts(Book(window=(0, 7200)).replica(0, ("idle", 0, 3600)).facts())
    table = bill_by_hour(usage, price_list(minimum_s=5400), "h100_sxm", "any model")
    assert table.groupby("hour")["usd"].sum().to_dict() == {0: pytest.approx(3.6), 1: pytest.approx(1.8)}


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
    assert lines_of(quiet_book(), parse_config(Prices, raw))[1]["usd_total"] == pytest.approx(0.180)


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
    usd, _ = lines_of(book, parse_config(Prices, raw))
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


def committed(kind="reserved", api=None, **terms):
    """A commitment at a dollar per GPU-hour."""
    price = {
        "reserved": {"usd_per_gpu_hour": {"h100_sxm": 1.0}},
        "monthly": {"usd_per_gpu_month": {"h100_sxm": 730.0}},
        "owned": {"nodes": {"h100_sxm": NODE}},
    }[kind]
    plan = {"kind": kind, "provider": "Acme", "as_of": "2026-01"} | price | terms
    return parse_config(Prices, {"gpu": plan, "api": TOKENS | (api or {})})


def hour_of_two():
    """One GPU busy for half an hour then idle for half; a second busy for the last quarter: 1.25 GPU-hours."""
    book = Book(window=(0, 3600)).replica(0, ("busy", 0, 1800), ("idle", 1800, 3600))
    return book.replica(1, ("busy", 2700, 3600)).request(0, 0, 1, 1800)


@pytest.mark.parametrize("kind", ["reserved", "monthly"])
def test_a_commitment_shows_what_lay_unused(kind):
    usd, said = lines_of(hour_of_two(), committed(kind, gpus=4))
    assert usd == pytest.approx(
        {"gpu busy": 0.75, "gpu idle": 0.5, "gpu draining": 0, "gpu cold start": 0, "gpu committed but unused": 2.75}
    )
    assert said["usd_total"] == said["usd_gpu"] == pytest.approx(4.0) and said["usd_idle"] == pytest.approx(0.5)


def test_work_that_ends_after_the_window_uses_none_of_the_commitment():
    """One GPU of two works for the last half hour and the half hour after: 1.5 of the 2 GPU-hours lay unused.

    The rent is that of 2 GPU-hours; the half hour after the window is the same machine, which costs no more for it.
    """
    book = Book(window=(0, 3600)).replica(0, ("busy", 1800, 5400)).request(1800, 1800, 1801, 5400)
    usd, said = lines_of(book, committed(gpus=2))
    assert usd["gpu busy"] == pytest.approx(0.5) and usd["gpu committed but unused"] == pytest.approx(1.5)
    assert said["usd_total"] == pytest.approx(2.0), "two GPUs for an hour"


def test_use_beyond_a_commitment_pays_the_price_of_demand():
    """One GPU held for a dollar; the second runs for a quarter of an hour at three dollars an hour."""
    usd, said = lines_of(hour_of_two(), committed(gpus=1, usd_per_gpu_hour_beyond={"h100_sxm": 3.0}))
    assert usd["gpu committed but unused"] == 0
    assert usd["gpu surcharge beyond commitment"] == pytest.approx(0.25 * (3 - 1))
    assert said["usd_total"] == pytest.approx(1 + 0.25 * 3)


def test_use_beyond_a_commitment_without_a_price_is_refused():
    with pytest.raises(ConfigError, match="prices.gpu.gpus = 1: the fleet had 2 GPUs at once"):
        lines_of(hour_of_two(), committed(gpus=1))
    with pytest.raises(ConfigError, match="usd_per_gpu_hour_beyond.h100_sxm = 0.5: must be >= "):
        committed(gpus=1, usd_per_gpu_hour_beyond={"h100_sxm": 0.5})


def test_a_commitment_is_by_whole_nodes_and_as_large_as_the_peak_if_unsaid():
    assert lines_of(hour_of_two(), committed())[1]["usd_total"] == pytest.approx(2)
    assert lines_of(hour_of_two(), committed(gpus_per_node=8))[1]["usd_total"] == pytest.approx(8)


def test_owned_gpus_cost_capital_always_and_power_while_on():
    usd, said = lines_of(hour_of_two(), committed("owned", gpus=2))
    assert usd["gpu committed but unused"] == pytest.approx(0.75)
    assert usd["gpu power"] == pytest.approx(1.25 * 0.15)
    assert said["usd_gpu"] == pytest.approx(2 + 1.25 * 0.15)
    thrifty = committed("owned", gpus=2, nodes={"h100_sxm": NODE | {"idle_power_fraction": 0.2}})
    assert lines_of(hour_of_two(), thrifty)[0]["gpu power"] == pytest.approx((0.75 + 0.1) * 0.15)
    book = Book(window=(0, 3600))
    assert lines_of(book, committed("owned", gpus=2))[1]["usd_total"] == pytest.approx(2), "off, and still owned"


def test_claim_001_a_request_of_2_3_s_is_billed_as_3_s_where_seconds_are_rounded_up():
    """The claim of billing per millisecond fails: RunPod rounds up to whole seconds, 2.3 s cost 3."""
    book = Book().replica(0, ("busy", 0, 2.3))
    assert lines_of(book, price_list())[1]["usd_total"] == pytest.approx(0.003)
    assert lines_of(book, price_list(billing_granularity_s=0.001))[1]["usd_total"] == pytest.approx(0.0023)


def test_prompts_over_a_tier_are_billed_at_its_rates_in_full():
    tier = {"above_input_tokens": 200_000, "usd_per_mtok_input": 2.0, "usd_per_mtok_output": 6.0}
    prices = committed(api={"context_tiers": (tier,)})
    book = Book(gpus_per_replica=0).api(1, 2, 3, input_tokens=200_000, output_tokens=1000)
    usd, said = lines_of(book.api(1, 2, 3, input_tokens=500_000, output_tokens=1000), prices)
    assert usd["api input"] == pytest.approx(0.2) and usd["api output"] == pytest.approx(0.004)
    assert usd["api input, prompts over 200000 tokens"] == pytest.approx(1.0)
    assert usd["api output, prompts over 200000 tokens"] == pytest.approx(0.006)
    assert said["usd_api"] == said["usd_total"] == pytest.approx(1.21)
    with pytest.raises(ConfigError, match="api.context_tiers.0.above_input_tokens = 199999: must be one of 32000"):
        committed(api={"context_tiers": (tier | {"above_input_tokens": 199_999},)})


def test_hours_of_the_day():
    """Time 0 is Friday 23:00 UTC: twice the price on weekdays from 22 to 24, that is for one hour."""
    timed = {"from_hour": 22, "to_hour": 24, "weekdays": ("mon", "fri"), "multiplier": 2.0}
    prices = committed(api={"timed": (timed,)})
    book = Book(window=(0, 200_000), gpus_per_replica=0)
    for arrived_s in (0, 3599, 3600, 86_400):  # Friday twice, Saturday 00:00, Saturday 23:00
        book.api(arrived_s, arrived_s + 1, arrived_s + 2, input_tokens=1_000_000, output_tokens=0)
    usd, _ = lines_of(book, prices, starts_at="2026-03-06T23:00")
    assert usd["api input, mon/fri 22-24 UTC x 2"] == pytest.approx(4.0)
    assert usd["api input"] == pytest.approx(2.0)
    in_berlin = committed(api={"timed": (timed,), "time_zone": "Europe/Berlin"})
    usd, _ = lines_of(book, in_berlin, starts_at="2026-03-06T23:30 Europe/Berlin")  # of the four, two before midnight
    assert usd["api input, mon/fri 22-24 Europe/Berlin x 2"] == pytest.approx(2.0)
    with pytest.raises(ConfigError, match="Asia/Kolkata': must differ from UTC by full hours"):
        committed(api={"time_zone": "Asia/Kolkata"})


def test_writing_to_a_cache_costs_more_than_input():
    prices = committed(api={"usd_per_mtok_cache_write": 1.25})
    book = Book(gpus_per_replica=0).api(1, 2, 3, input_tokens=1_000_000, cached_input_tokens=400_000, output_tokens=0)
    usd, _ = lines_of(book, prices)
    assert usd["api input"] == 0 and usd["api cache write"] == pytest.approx(0.75)
    assert usd["api cached input"] == pytest.approx(0.04)


def test_batches_at_half_the_price():
    """Twice the use costs twice the price per token by definition; only a tier, as of batches, changes that."""
    book = Book(gpus_per_replica=0).api(1, 2, 3, input_tokens=1_000_000, output_tokens=50_000)
    assert lines_of(book, committed(api={"batch_multiplier": 0.5}))[1]["usd_api"] == pytest.approx(0.6)


def test_what_old_runs_do_not_know_is_refused_not_guessed():
    usage = Usage.from_facts(Book(gpus_per_replica=0).api(1, 2, 3).facts())
    old = dataclasses.replace(usage, is_detailed=False)
    timed = committed(api={"timed": ({"from_hour": 0, "to_hour": 1, "multiplier": 2.0},)})
    with pytest.raises(ConfigError, match="prices.api by context or hour: needs"):
        bill(old, timed, None, None)
    assert len(bill(old, committed(), None, None)) == 3


def test_a_bill_by_the_hour():
    """Idle from 0 to 90 minutes at a tenth of a cent per second; the API is asked in the second hour."""
    book = Book(window=(0, 7200)).replica(0, ("idle", 0, 5400)).api(4000, 4001, 4002, input_tokens=1_000_000)
    table = bill_by_hour(Usage.from_facts(book.facts()), price_list(), "h100_sxm", None)
    by_hour = table.groupby("hour")["usd"].sum()
    assert by_hour[0] == pytest.approx(3.6) and by_hour[1] == pytest.approx(1.8 + 1.0 + 20e-6)
    assert list(table.columns) == ["hour", "payee", "item", "quantity", "unit", "usd"]


def test_a_commitment_by_the_hour_is_that_of_the_whole_window():
    book = Book(window=(0, 7200)).replica(0, ("idle", 0, 7200)).replica(1, ("idle", 3600, 7200))
    table = bill_by_hour(Usage.from_facts(book.facts()), committed(), "h100_sxm", None)
    assert table.groupby("hour")["usd"].sum().tolist() == pytest.approx([2.0, 2.0])
    unused = table[table["item"] == "gpu committed but unused"]
    assert unused["hour"].tolist() == [0] and unused["usd"].sum() == pytest.approx(1.0)


def test_a_bill_by_application():
    """Busy time goes by resident seconds, 30 to 10; idle time belongs to neither; API tokens are each one's own."""
    book = Book().replica(0, ("busy", 0, 40), ("idle", 40, 100))
    book.request(0, 0, 1, 30, application=0).request(20, 30, 31, 40, application=1)
    book.api(50, 51, 52, application=1, input_tokens=1_000_000, output_tokens=0)
    facts = book.facts(applications={0: "chat"})
    table = bill_by_application(Usage.from_facts(facts), price_list(), "h100_sxm", None)
    usd = table.groupby("application")["usd"].sum()
    assert usd["chat"] == pytest.approx(0.030) and usd["1"] == pytest.approx(0.010 + 1.0)
    assert usd[SHARED] == pytest.approx(0.060)
