"""A tariff and an overhead of a notebook cell bill a scenario, and old runs are billed anew by them."""

from __future__ import annotations

from typing import Literal

import pytest

import sim
from sim.ledger.lines import OVERHEAD, Line, Usd
from sim.ledger.tariffs.rates import TokenRates


class OfACell(sim.ApiTariff):
    """One price for all tokens."""

    kind: Literal["of_a_cell"] = "of_a_cell"
    usd_per_mtok: Usd = 2.0

    def rates(self, model_name: str | None) -> TokenRates:
        return TokenRates(usd_per_mtok_input=self.usd_per_mtok, usd_per_mtok_output=self.usd_per_mtok)


class PerRequest(sim.Overhead):
    """A gateway that charges for each request that the fleet serves."""

    kind: Literal["per_request_of_a_cell"] = "per_request_of_a_cell"
    usd_per_request: Usd = 0.01

    def lines(self, usage, usd_gpu: float) -> list[Line]:
        n = int(usage.fleet["requests"].sum())
        return [Line("gateway", f"{OVERHEAD}: gateway", n, "request", n * self.usd_per_request)]


@pytest.fixture(scope="module")
def base():
    parts = {"prices.api": OfACell(provider="a cloud", as_of="2026-01"), "prices.overhead": PerRequest()}
    busy = {"arrivals.rate_per_s": 1.0, "routing.queue_per_replica": 0, "scaling.n_replicas": 1}
    return sim.scenario("fleet=hybrid_overflow", "lengths=fixed", horizon_s=60, **parts, **busy)


def test_both_are_on_the_bill_of_a_run(base):
    run = sim.simulate(base)
    by_fleet = run.requests[run.requests["backend"] == 0]
    by_api = run.requests[run.requests["backend"] == 1]
    assert len(by_fleet) + len(by_api) == run.summary["requests_finished"] > 0
    tokens = int((by_api["input_tokens"] + by_api["output_tokens"]).sum())
    assert run.summary["usd_api"] == pytest.approx(2.0 * tokens / 1e6)
    assert run.summary["usd_overhead"] == pytest.approx(0.01 * len(by_fleet))


def test_a_sweep_with_them_is_billed_anew_at_another_value(base, tmp_path):
    table = sim.sweep(base, gpu=["h100_sxm"], outputs=tmp_path, n_jobs=1)
    dearer = table.reprice(**{"prices.overhead.usd_per_request": 0.02})
    usd = table.frame["usd_overhead"][0]
    assert usd > 0 and dearer.frame["usd_overhead"][0] == pytest.approx(2 * usd)


def test_a_mistyped_kind_is_refused_with_the_kinds_there_are():
    with pytest.raises(sim.ConfigError, match=r"prices.overhead.kind = 'per_reqest': is not one of .*none"):
        sim.scenario(**{"prices.overhead": {"kind": "per_reqest"}})
