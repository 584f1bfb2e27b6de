"""Closed forms on paper against brute force, and what they say at the edges."""

import math

import pytest

from sim.ledger.breakeven import (
    blended_usd_per_mtok,
    breakeven_fraction,
    breakeven_volume,
    overhead_times_gpu,
    replicas_for,
    self_hosted_usd_per_month,
    serverless_breakeven_duty,
    usd_per_mtok,
)
from sim.ledger.ownership import OwnedNode
from sim.ledger.task_cost import AgentTask, Reuse, api_task_usd, crossover_calls, reused_tokens, self_hosted_task_usd


def test_cost_is_one_over_the_fraction_of_peak():
    full = usd_per_mtok(3.6, 1000)
    assert full == pytest.approx(1.0)
    assert [usd_per_mtok(3.6, 1000, f) for f in (0.5, 0.1)] == pytest.approx([2.0, 10.0])
    assert usd_per_mtok(3.6, 1000, 0.5, times_gpu=1.15) == pytest.approx(2.3)
    assert usd_per_mtok(3.6, 1000, 0.0) == math.inf


def test_at_the_breakeven_fraction_the_costs_are_equal():
    found = breakeven_fraction(2.0, 900, 1.5, times_gpu=1.2)
    assert usd_per_mtok(2.0, 900, found.value, 1.2) == pytest.approx(1.5)
    assert "above 49% of peak" in found.reason
    beyond = breakeven_fraction(2.0, 900, 0.3)
    assert beyond.value is None and beyond.needed == pytest.approx(2.06, abs=0.01)
    assert beyond.reason == "unreachable: 206% of peak would be needed"
    assert breakeven_fraction(2.0, 900, 0.0).value is None


def test_a_blend_of_equal_prices_is_that_price():
    assert blended_usd_per_mtok(0.88, 0.88, 10, 3) == pytest.approx(0.88)
    assert blended_usd_per_mtok(1.0, 5.0, 3, 1) == pytest.approx(2.0)


def test_replicas_carry_the_peak():
    assert replicas_for(0, 1000) == 0
    assert replicas_for(2.628e9, 1000) == 1 and replicas_for(2.63e9, 1000) == 2
    assert replicas_for(2.628e9, 1000, most_fraction_of_peak=0.5) == 2
    assert replicas_for(2.628e9, 1000, peak_over_mean=3.0) == 3


@pytest.mark.parametrize("least", [1, 2, 5])
@pytest.mark.parametrize("fixed_usd", [0.0, 700.0, 9000.0])
@pytest.mark.parametrize("api_usd", [0.55, 0.7, 1.3])
def test_breakeven_volume_is_where_brute_force_finds_it(least, fixed_usd, api_usd):
    """Volumes in steps of a hundredth of a replica's capacity, up to 400 replicas."""
    terms = dict(usd_per_replica_month=1000.0, tokens_per_replica_month=2e9)
    found = breakeven_volume(**terms, api_usd_per_mtok=api_usd, least_replicas=least, fixed_usd_per_month=fixed_usd)
    volumes = [i * 2e7 for i in range(1, 40_001)]
    behind = [
        v for v in volumes if self_hosted_usd_per_month(v, **terms, least_replicas=least, fixed_usd_per_month=fixed_usd)
        > api_usd * v / 1e6 + 1e-9
    ]  # fmt: skip
    losing = set(behind)
    first = next(v for v in volumes if v not in losing)
    assert found.first_tokens <= first < found.first_tokens + 2e7
    assert behind[-1] < found.for_good_tokens <= behind[-1] + 2e7 * 1.001


def test_breakeven_volume_beyond_capacity_is_none():
    never = breakeven_volume(1000.0, 2e9, 0.49)
    assert never.first_tokens is None and never.reason == (
        "unreachable: a full replica costs $0.50 per Mtok, the API $0.49"
    )
    level = breakeven_volume(1000.0, 2e9, 0.5)
    assert level.first_tokens == 2e9 and level.for_good_tokens is None
    assert breakeven_volume(1000.0, 2e9, 0.5, fixed_usd_per_month=1.0).first_tokens is None


@pytest.mark.parametrize("calls", [1, 2, 7, 20])
def test_sums_over_calls_are_sums_over_calls(calls):
    task = AgentTask(1000, 100, 50, 0.8)
    prompts = [1000 + 100 * i for i in range(calls)]
    assert task.input_tokens(calls) == sum(prompts)
    assert reused_tokens(task, calls, Reuse.NONE) == 0
    assert reused_tokens(task, calls, Reuse.EVERY_CALL) == pytest.approx(0.8 * sum(prompts))
    assert reused_tokens(task, calls, Reuse.AFTER_FIRST) == pytest.approx(0.8 * sum(prompts[1:]))
    assert reused_tokens(task, calls, Reuse.EXACT_PREFIX) == sum(prompts[:-1]), "each finds the one before it"


def test_a_cache_at_the_price_of_input_changes_nothing():
    task = AgentTask()
    plain = api_task_usd(task, 9, 0.27, 0.40)
    for reuse in Reuse:
        assert api_task_usd(task, 9, 0.27, 0.40, None, reuse) == pytest.approx(plain)
        assert api_task_usd(task, 9, 0.27, 0.40, 0.10, reuse) <= plain
    assert self_hosted_task_usd(task, 9, 1.0, Reuse.NONE) == pytest.approx(api_task_usd(task, 9, 1.0, 1.0))


def test_crossover_is_from_where_it_stays_cheaper():
    assert crossover_calls(lambda k: 3.5, lambda k: k) == 4
    assert crossover_calls(lambda k: 0.0, lambda k: k) == 1
    assert crossover_calls(lambda k: k + 1, lambda k: k) is None
    assert crossover_calls(lambda k: abs(k - 5), lambda k: 1.5, most_calls=6) == 4


def test_serverless_duty_against_the_two_bills():
    """At the break-even duty a period of bursts costs the same either way; shorter bursts need a lower duty."""
    found = serverless_breakeven_duty(1.0, 2.0, burst_s=60, cold_start_s=30, idle_timeout_s=10)
    assert found.value == pytest.approx(0.3)
    period_s = 60 / found.value
    assert (60 + 30 + 10) * 2.0 == pytest.approx(period_s * 1.0)
    assert serverless_breakeven_duty(1.0, 2.0).value == 0.5
    cheap = serverless_breakeven_duty(2.0, 1.0)
    assert cheap.value is None and cheap.reason == "serverless is cheaper at every duty"


def test_a_fixed_overhead_weighs_less_on_a_larger_fleet():
    assert [overhead_times_gpu(7300, n, 2.0) for n in (1, 10)] == pytest.approx([5.0, 0.5])


def test_ownership_at_no_interest_is_depreciation():
    node = OwnedNode(gpus=8, capex_usd=210_240, residual_fraction=0.25, years=3, kw=8, pue=1.5, usd_per_kwh=0.1)
    assert node.capital_usd_per_gpu_hour == pytest.approx(0.75)
    assert node.power_usd_per_gpu_hour == pytest.approx(0.15)
    assert node.usd_per_gpu_hour == pytest.approx(0.90)
    barely = node.model_copy(update={"cost_of_capital": 1e-6})
    assert barely.capital_usd_per_gpu_hour == pytest.approx(0.75, rel=1e-5)


def test_yearly_payments_at_interest_repay_the_capital():
    """Present value of the payments and of the residual is what was paid."""
    node = OwnedNode(gpus=1, capex_usd=1000, residual_fraction=0.3, years=4, kw=0, cost_of_capital=0.1)
    yearly = node.capital_usd_per_gpu_hour * 8760
    assert sum(yearly / 1.1**year for year in (1, 2, 3, 4)) + 300 / 1.1**4 == pytest.approx(1000)
