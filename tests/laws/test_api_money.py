"""Whatever a client and its provider go through, the book is lawful and the bill is that of the tokens, to the cent."""

from __future__ import annotations

import numpy as np
import pytest

from sim.ledger.audit import audit
from sim.ledger.bill import bill
from sim.ledger.usage import Usage
from sim.scenarios import compose_config, parse
from sim.simulation import simulate

BASE = [
    "fleet=api_only", "model=llama_3_3_70b", "tasks=support", "arrivals.rate_per_s=0.5", "horizon_s=3600",
    "warmup_s=300", "seed=3", "prices.api.batch_tier_multiplier=0.5",
]  # fmt: skip
TROUBLE = {
    "hedges": ["+api.hedge.after_s=0.6"],
    "stubborn hedges": ["+api.hedge.after_s=0.6", "+api.hedge.cancels_loser=false"],
    "outages": ["+api.outages={mean_time_between_s:600,mean_duration_s:60}", "+api.retry.max_attempts=3"],
    "429s": ["api=rate_limited", "api.requests_per_minute=60", "api.on_limit=retry"],
    "batches": ["api=open_model_70b_batch", "api.batch.turnaround_median_s=600", "tasks.priority_shares={0:0.7,4:0.3}"],
}


def run(*words):
    scenario = parse(compose_config(*BASE, *words))
    facts = simulate(scenario, measure_peak=False).facts
    audit(facts)
    usage = Usage.from_facts(facts)
    lines = bill(usage, scenario.prices, None, scenario.model.name).set_index("item")
    return scenario, facts, lines["usd"]


@pytest.mark.parametrize("trouble", TROUBLE)
def test_the_bill_is_that_of_the_tokens_on_record(trouble):
    scenario, facts, usd = run(*TROUBLE[trouble])
    rates = scenario.prices.api.rates(scenario.model.name)
    cached_rate = rates.usd_per_mtok_cached_input
    cached_rate = rates.usd_per_mtok_input if cached_rate is None else cached_rate
    table = facts.requests_in_full
    mine = (table["task_arrived_s"] >= 300) & (table["task_arrived_s"] < 3600) & (table["outcome"] == 0)
    table = {name: column[mine].astype(np.float64) for name, column in table.items()}
    by_row = 0.0
    for copy in ("", "lost_"):
        cached = table[f"{copy}cached_input_tokens"]
        own = (table[f"{copy}input_tokens"] - cached) * rates.usd_per_mtok_input + cached * cached_rate
        own = own + table[f"{copy}output_tokens"] * rates.usd_per_mtok_output
        by_row = by_row + own * np.where(table["is_batch"] == 1, 0.5, 1.0)
    assert usd.sum() == pytest.approx(by_row.sum() / 1e6, rel=1e-9)
    extras = facts.api_extras
    if trouble.endswith("hedges"):
        assert usd.filter(like="lost hedges").sum() > 0 and extras["is_hedged"].sum() > 50
        generated = extras["lost_output_tokens"][extras["is_hedged"] == 1]
        assert (generated > 0).all() if trouble.startswith("stubborn") else (generated == 0).all()
    elif trouble == "batches":
        assert usd.filter(like="batch tier").sum() > 0
    else:
        assert extras["throttled_attempts" if trouble == "429s" else "failed_attempts"].sum() > 20


def test_hedging_costs_what_its_losers_cost_and_changes_no_other_line():
    """A cancelled loser is paid its prompt alone. Without a prompt cache, whose hits depend on what was sent before."""
    plain, hedged = (run("api.prompt_cache=null", *words)[2] for words in ([], ["+api.hedge.after_s=0.6"]))
    lost = hedged.index.str.contains("lost hedges")
    assert hedged[~lost].to_dict() == pytest.approx(plain.to_dict())
    assert hedged["api output, lost hedges"] == 0 and hedged["api input, lost hedges"] > 0


def test_outages_change_nothing_for_whom_they_do_not_touch():
    """Common random numbers: the tasks are the same, and so are the latencies of requests that meet no outage."""
    calm, rough = run()[1].requests, run(*TROUBLE["outages"])[1].requests_in_full

    def by_task(table, rows):
        keys = zip(table["task_id"][rows].tolist(), table["call_index"][rows].tolist(), strict=True)
        ttft_s = (table["first_token_s"] - table["admitted_s"])[rows].tolist()
        return dict(zip(keys, ttft_s, strict=True))

    here, there = (by_task(table, table["outcome"] == 0) for table in (calm, rough))
    assert len(there) > 0.5 * len(here)
    assert all(there[key] == pytest.approx(here[key], abs=1e-6) for key in there if key in here)
