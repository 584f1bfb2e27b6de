"""Every price list, with every overhead, keeps the contracts that GpuPlan, ApiTariff and Overhead state."""

import dataclasses
import math
import re
from types import SimpleNamespace

import pytest

from sim.ledger.bill import bill, bill_by_application, bill_by_hour, money
from sim.ledger.lines import OVERHEAD, STATES_OF_ITEM
from sim.ledger.overheads.overheads import Overhead
from sim.ledger.plans.base import GpuPlan
from sim.ledger.plans.committed import CommittedPlan
from sim.ledger.prices import Prices
from sim.ledger.request_prices import RequestPrices
from sim.ledger.tariffs.base import ApiTariff
from sim.ledger.usage import Usage
from sim.records import Backend, Outcome
from sim.report.slo import Slo
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, kinds_of, parse_config
from tests.contracts.found import example, files, raw
from tests.facts_builder import Book, day_of_traffic, part_of, quiet_book, quiet_moment

LISTS = list(files("prices"))
DAY = day_of_traffic(requests_n=3000, overflow_wait_s=5.0, service_s=60.0, max_num_seqs=3)
OVERHEADS = {kind: example(cls) for kind, cls in kinds_of(Overhead).items() if not cls.__module__.startswith("tests.")}


def read(name):
    return parse_config(Prices, raw(files("prices")[name]))


def names(prices):
    """A GPU and a model this list has a price for."""
    return next(iter(prices.gpu.table)), next(iter(prices.api.priced_models or ["any"]))


def usd(prices, facts):
    return bill(Usage.from_facts(facts), prices, *names(prices))["usd"].sum()


@pytest.fixture(params=LISTS)
def name(request):
    return request.param


# An overhead reads nothing of a list but the rent, so that one of either kind in each pair is enough.
PAIRS = [(name, list(OVERHEADS)[at % len(OVERHEADS)]) for at, name in enumerate(LISTS)]
PAIRS += [(LISTS[0], kind) for kind in OVERHEADS if (LISTS[0], kind) not in PAIRS]


@pytest.fixture(params=PAIRS, ids="-".join)
def prices(request):
    """Every list with an overhead, and every overhead with a list."""
    name, overhead = request.param
    return parse_config(Prices, raw(files("prices")[name]) | {"overhead": OVERHEADS[overhead]})


@pytest.mark.parametrize("base, key", [(GpuPlan, "gpu"), (ApiTariff, "api")])
def test_every_kind_is_shown_by_a_list(base, key):
    kinds = {kind for kind, cls in kinds_of(base).items() if not cls.__module__.startswith("tests.")}
    assert kinds <= {raw(path)[key]["kind"] for path in files("prices").values()}


def test_without_paid_seconds_only_a_commitment_costs(name):
    """In proportion to the window; where nothing is committed to, no price is looked up."""
    plan = read(name).gpu
    hour, day = (Usage.from_facts(Book(window=(0, hours * 3600)).facts()) for hours in (1, 24))
    gpu = next(iter(plan.table))
    owed = [sum(line.usd for line in plan.lines(usage, gpu)) for usage in (hour, day)]
    assert owed[1] == pytest.approx(24 * owed[0])
    if not plan.lines(hour, gpu):
        assert plan.lines(hour, "no such gpu") == []
    if isinstance(plan, CommittedPlan):
        assert owed[0] == pytest.approx((plan.gpus or 0) * plan.usd_per_gpu_s(gpu) * 3600)
    assert read(name).api.lines(hour, "no such model") == []


def test_without_a_fleet_nothing_is_committed(prices):
    no_fleet = Usage.from_facts(Book(gpus_per_replica=0).api(1, 2, 3).facts())
    lines = bill(no_fleet, prices, None, names(prices)[1])
    assert not lines["item"].str.startswith("gpu").any()
    assert lines[lines["item"].str.startswith(OVERHEAD)]["usd"].sum() == 0


def test_overhead_is_a_pure_function_that_adds_up_and_grows_with_the_rent(prices):
    day = Usage.from_facts(DAY)
    lines = prices.overhead.lines(day, 100.0)
    assert lines == prices.overhead.lines(day, 100.0)
    assert all(line.item.startswith(OVERHEAD) and line.usd >= 0 and line.quantity >= 0 for line in lines)
    assert sum(line.usd for line in prices.overhead.lines(day, 200.0)) >= sum(line.usd for line in lines)
    cut_s = quiet_moment(DAY, 25_000.0)
    halves = [Usage.from_facts(part_of(DAY, *window)) for window in ((0.0, cut_s), (cut_s, 86_400.0))]
    apart = sum(
        line.usd for half, rent in zip(halves, (30.0, 70.0), strict=True) for line in prices.overhead.lines(half, rent)
    )
    assert apart == pytest.approx(sum(line.usd for line in lines))


def test_requests_priced_one_by_one_add_up_to_the_lines(name):
    """Over all hours of the day and prompts of up to 600,000 tokens, some of each kind."""
    tariff, requests = read(name).api, {key: column[::20].copy() for key, column in DAY.requests.items()}
    model = names(read(name))[1]
    requests["input_tokens"] *= 300
    requests["cached_input_tokens"][::3] = requests["input_tokens"][::3] // 2
    requests["cache_write_tokens"][::2] = requests["input_tokens"][::2] // 3
    requests["backend"][:] = Backend.API
    prices = RequestPrices(tariff, model, DAY.moment_zero)
    by_row = zip(*(column.tolist() for column in requests.values()), strict=True)
    rows = [SimpleNamespace(api_extra=None, **dict(zip(requests, row, strict=True))) for row in by_row]
    usage = Usage.from_facts(dataclasses.replace(DAY, requests=requests))
    served = [row for row in rows if row.outcome == Outcome.FINISHED]
    assert len(served) == usage.api["requests"].sum() > 100
    each = [prices.usd(row) for row in served]
    assert math.fsum(each) == pytest.approx(sum(line.usd for line in tariff.lines(usage, model)), rel=1e-9)
    most = RequestPrices(tariff, model, DAY.moment_zero, has_cache=True)
    assert all(one <= most.most_usd(row, row.output_tokens) * (1 + 1e-9) for one, row in zip(each, served, strict=True))


def test_items_are_named_by_what_they_belong_to(prices):
    usage, (gpu, model) = Usage.from_facts(DAY), names(prices)
    assert all(line.item.startswith("gpu ") for line in prices.gpu.lines(usage, gpu))
    assert all(line.item.startswith("api ") for line in prices.api.lines(usage, model))


def test_no_line_is_negative_and_use_costs_money(prices):
    lines = bill(Usage.from_facts(DAY), prices, *names(prices))
    assert (lines["usd"] >= 0).all() and (lines["quantity"] >= 0).all()
    assert lines["usd"].sum() > 0
    assert {"gpu busy", "gpu idle", "gpu cold start", "api input", "api output"} <= set(lines["item"])


@pytest.mark.parametrize("after_s", [1.0, 25_000.0, 27_648.0, 50_000.5])
def test_split_windows_add_up(prices, after_s):
    """Also lists with a minimum or a granularity: these are charged where a replica's life ends."""
    whole, cut_s = usd(prices, DAY), quiet_moment(DAY, after_s)
    parts = [part_of(DAY, *w) for w in ((0.0, cut_s), (cut_s, 86_400.0))]
    apart = sum(usd(prices, part) for part in parts)
    if prices.gpu.adds_up_over_windows:
        assert apart == pytest.approx(whole, rel=1e-9)
    else:
        assert apart <= whole * (1 + 1e-9), "each part commits to what it needs itself: at most as much"
        fixed = prices.model_copy(update={"gpu": prices.gpu.fixed_for(Usage.from_facts(DAY))})
        assert sum(usd(fixed, part) for part in parts) == pytest.approx(usd(fixed, DAY), rel=1e-9)


def test_more_use_never_costs_less(prices):
    ends_s = [quiet_moment(DAY, after_s) for after_s in range(7200, 82_801, 7200)]
    costs = [usd(prices, part_of(DAY, 0.0, end_s)) for end_s in ends_s]
    assert all(a <= b for a, b in zip(costs, costs[1:], strict=False))


def test_the_bill_adds_up(prices):
    usage = Usage.from_facts(DAY)
    lines = bill(usage, prices, *names(prices))
    figures = money(lines, usage)
    assert figures["usd_total"] == math.fsum(lines["usd"])
    parts = figures["usd_gpu"] + figures["usd_api"] + figures["usd_overhead"]
    assert parts == pytest.approx(figures["usd_total"], rel=1e-12)
    lived = lines[lines["item"].isin(STATES_OF_ITEM)]["quantity"].sum()
    assert lived == pytest.approx(usage.gpu_hours_paid, rel=1e-12)
    if isinstance(prices.gpu, CommittedPlan):
        held = lived + lines.set_index("item")["quantity"].get("gpu committed but unused", 0.0)
        beyond = lines.set_index("item")["quantity"].get("gpu surcharge beyond commitment", 0.0)
        gpus = prices.gpu.fixed_for(usage).gpus
        after_h = usage.after_window_s * usage.gpus_per_replica / 3600
        assert held - beyond - after_h == pytest.approx(24 * gpus, rel=1e-12)
    lines = lines[lines["unit"] == "Mtok"]
    assert lines.set_index("item")["quantity"].filter(like="api ").sum() == pytest.approx(
        (usage.api["input_tokens"].sum() + usage.api["output_tokens"].sum()) / 1e6
    )


@pytest.mark.parametrize("by", [bill_by_hour, bill_by_application])
def test_bills_by_parts_add_up(prices, by):
    """Money and quantities, line by line; a bill by hours also where a commitment depends on the whole window."""
    usage = Usage.from_facts(DAY)
    whole = bill(usage, prices, *names(prices))
    parts = by(usage, prices, *names(prices))
    assert parts["usd"].sum() == pytest.approx(whole["usd"].sum(), rel=1e-9)
    measured = whole[~whole["unit"].isin(["% of GPU rent", "times GPU rent"])]
    for (payee, item), line in measured.set_index(["payee", "item"]).iterrows():
        rows = parts[(parts["payee"] == payee) & (parts["item"] == item)]
        assert rows["quantity"].sum() == pytest.approx(line["quantity"], rel=1e-9, abs=1e-12), item
        assert rows["usd"].sum() == pytest.approx(line["usd"], rel=1e-9, abs=1e-12), item


def test_every_price_says_of_when(name):
    prices = read(name)
    assert prices.gpu.as_of and prices.api.as_of and prices.overhead.as_of


def test_a_missing_price_is_named_with_what_there_is(name):
    prices = read(name)
    gpu, _ = names(prices)
    with pytest.raises(ConfigError, match=f"prices.gpu.*'abacus'.*{gpu}"):
        bill(Usage.from_facts(quiet_book().facts()), prices, "abacus", None)
    with pytest.raises(ConfigError, match="abacus"):
        prices.check({"baseline": "abacus"}, None)
    gpu, model = names(prices)
    prices.check({"baseline": gpu}, model)
    if prices.api.priced_models is not None:
        with pytest.raises(ConfigError, match="prices.api.*no price for 'eliza'"):
            prices.check({}, "eliza")


@pytest.mark.parametrize("card", sorted(set(files("gpu")) - set(read("market_2026").gpu.table)))
def test_a_card_that_the_default_list_has_no_price_for_says_what_to_type(card):
    """Here for a run; a sweep and a decision quote the same line."""
    words = f"[+]prices.gpu.usd_per_gpu_hour.{card}=2.50 adds one, in USD"
    with pytest.raises(ConfigError, match=f"no price for '{card}'.*{words}"):
        parse(compose_config(f"gpu={card}"))


def test_every_price_carries_its_source(name):
    path = files("prices")[name]
    for line in path.read_text().splitlines():
        if re.match(r"\s+(- )?[\w.]+: [\d.]+(\s|$)", line):
            assert re.search(r"  # \S+", line), f"{path.name}: no source on: {line.strip()}"


def test_keys_are_names_of_known_hardware_and_models(name):
    prices = read(name)
    gpus = {*prices.gpu.table, *getattr(prices.gpu, "usd_per_gpu_hour_beyond", ())}
    assert gpus <= set(files("gpu"))
    assert set(prices.api.priced_models or ()) <= set(files("model"))
    assert all(prices.gpu.usd_per_gpu_s(gpu) >= 0 for gpu in prices.gpu.table)


@pytest.mark.parametrize("path", files("slo").values(), ids=lambda p: p.stem)
def test_an_slo_can_be_kept_and_each_of_its_limits_can_be_missed(path):
    """A request just within all limits attains it; one that is just beyond any one of them does not."""
    slo = parse_config(Slo, raw(path))
    end_s = slo.e2e_s or slo.ttft_s + 10 * (slo.tpot_s or 1.0)

    def attains(ttft_s, e2e_s, **columns):
        facts = Book(gpus_per_replica=0).api(0.0, ttft_s, e2e_s, output_tokens=11, **columns).facts()
        return bool(slo.attained(facts.requests)[0])

    assert attains(slo.ttft_s, end_s - 0.001) and not attains(slo.ttft_s + 0.01, end_s - 0.001)
    if slo.e2e_s or slo.tpot_s:
        assert not attains(slo.ttft_s, end_s + 0.01)
    if slo.deadline_from_priority is not None:
        later = {"priority": slo.deadline_from_priority}
        assert attains(slo.deadline_s, slo.deadline_s, **later) and not attains(1.0, slo.deadline_s + 0.01, **later)
