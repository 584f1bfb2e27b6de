"""Every price list in conf/prices keeps the contract: nothing for nothing, never negative, additive, sourced."""

import math
import re
from pathlib import Path

import pytest
import yaml

from sim.ledger.bill import bill, bill_by_application, bill_by_hour, money
from sim.ledger.lines import STATES_OF_ITEM
from sim.ledger.prices import CommittedPlan, MonthlyItems, Prices
from sim.ledger.usage import Usage
from sim.report.slo import Slo
from sim.schema import ConfigError, parse_config
from tests.facts_builder import Book, day_of_traffic, part_of, quiet_book, quiet_moment

ROOT = Path(__file__).parents[2]
LISTS = sorted((ROOT / "conf/prices").glob("*.yaml"))
DAY = day_of_traffic(requests_n=3000, overflow_wait_s=5.0, service_s=60.0, max_num_seqs=3)

OVERHEADS = {
    "none": {"kind": "none"},
    "percentage": {"kind": "percentage", "percent_of_gpu": 15},
    "multiplier": {"kind": "multiplier", "times_gpu": 3},
    "monthly_items": {"kind": "monthly_items", "usd_per_month": {"half_an_engineer": 9000, "gateway": 300}},
}


def read(path):
    return parse_config(Prices, yaml.safe_load(path.read_text()))


def names(prices):
    """A GPU and a model this list has a price for."""
    return next(iter(prices.gpu.table)), next(iter(getattr(prices.api, "models", {"any": None})))


def usd(prices, facts):
    return bill(Usage.from_facts(facts), prices, *names(prices))["usd"].sum()


@pytest.fixture(params=LISTS, ids=lambda p: p.stem)
def path(request):
    return request.param


@pytest.fixture(params=OVERHEADS)
def prices(path, request):
    """Every list with every overhead."""
    return parse_config(Prices, yaml.safe_load(path.read_text()) | {"overhead": OVERHEADS[request.param]})


def test_zero_use_costs_the_stated_commitment(prices):
    nothing, gpu = Usage.from_facts(Book(window=(0, 3600)).facts()), "no such gpu"
    committed = isinstance(prices.gpu, CommittedPlan) and prices.gpu.gpus or 0
    rent = 0.0
    if committed:
        gpu, _ = names(prices)
        rent = committed * prices.gpu.usd_per_gpu_s(gpu) * 3600
    lines = bill(nothing, prices, gpu, "no such model")  # nothing else to price, so nothing else is looked up
    owed = 9300 / 730 if isinstance(prices.overhead, MonthlyItems) else 0.0
    share = {"percentage": 1.15, "multiplier": 3.0}.get(prices.overhead.kind, 1.0)
    assert lines["usd"].sum() == pytest.approx(owed + rent * share)


def test_without_a_fleet_nothing_is_committed(prices):
    no_fleet = Usage.from_facts(Book(gpus_per_replica=0).api(1, 2, 3).facts())
    items = bill(no_fleet, prices, None, names(prices)[1])["item"]
    assert not items.str.startswith("gpu").any() and not items.str.startswith("overhead: ").any()


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
    said = money(lines, usage)
    assert said["usd_total"] == math.fsum(lines["usd"])
    assert said["usd_gpu"] + said["usd_api"] + said["usd_overhead"] == pytest.approx(said["usd_total"], rel=1e-12)
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
        mine = parts[(parts["payee"] == payee) & (parts["item"] == item)]
        assert mine["quantity"].sum() == pytest.approx(line["quantity"], rel=1e-9, abs=1e-12), item
        assert mine["usd"].sum() == pytest.approx(line["usd"], rel=1e-9, abs=1e-12), item


def test_every_price_says_of_when(path):
    prices = read(path)
    assert prices.gpu.as_of and prices.api.as_of and prices.overhead.as_of


def test_a_missing_price_is_named_with_what_there_is(path):
    prices = read(path)
    gpu, _ = names(prices)
    with pytest.raises(ConfigError, match=f"prices.gpu.*'abacus'.*{gpu}"):
        bill(Usage.from_facts(quiet_book().facts()), prices, "abacus", None)
    with pytest.raises(ConfigError, match="abacus"):
        prices.check({"baseline": "abacus"}, None)
    gpu, model = names(prices)
    prices.check({"baseline": gpu}, model)
    if hasattr(prices.api, "models"):
        with pytest.raises(ConfigError, match="prices.api.models: no price for 'eliza'"):
            prices.check({}, "eliza")


def test_every_price_carries_its_source(path):
    for line in path.read_text().splitlines():
        if re.match(r"\s+(- )?[\w.]+: [\d.]+(\s|$)", line):
            assert re.search(r"  # \S+", line), f"{path.name}: no source on: {line.strip()}"


def test_keys_are_names_of_known_hardware_and_models(path):
    if not (ROOT / "conf/gpu").is_dir() or not (ROOT / "conf/model").is_dir():
        pytest.skip("conf/gpu or conf/model is not there: names cannot be compared")
    prices = read(path)
    gpus = {*prices.gpu.table, *getattr(prices.gpu, "usd_per_gpu_hour_beyond", ())}
    assert gpus <= {p.stem for p in (ROOT / "conf/gpu").glob("*.yaml")}
    assert set(getattr(prices.api, "models", {})) <= {p.stem for p in (ROOT / "conf/model").glob("*.yaml")}


SLOS = sorted((ROOT / "conf/slo").glob("*.yaml"))


@pytest.mark.parametrize("path", SLOS, ids=lambda p: p.stem)
def test_an_slo_can_be_kept_and_each_of_its_limits_can_be_missed(path):
    """A request just within all limits attains it; one that is just beyond any one of them does not."""
    slo = parse_config(Slo, yaml.safe_load(path.read_text()))
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
