"""Any valid scenario, whatever its groups, is lawful: two hundred drawn at random, each of one to a few minutes.

The draw joins what rarely meets: losses of replicas, second tries on an API, pools behind one another, limits, queues,
and horizons that cut work short.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from sim.ledger.audit import audit
from sim.ledger.bill import bill, bill_by_hour, money
from sim.ledger.usage import Usage
from sim.records import Outcome
from sim.report.metrics import summarize
from sim.scenarios import Scenario, compose_config, parse
from sim.schema import ConfigError
from sim.simulation import simulate
from sim.study.replicate import priced_names

CONF = Path(__file__).parents[2] / "conf"
N_SCENARIOS, PER_TEST = 200, 10
LIGHT_TASKS = ("single_call", "chat", "agent", "support", "chat_and_support")
ENGINES = ("vllm", "vllm_0_11", "trt_llm_2024")


@cache
def files(group: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (CONF / group).glob("*.yaml")))


@cache
def content(group: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def base() -> dict[str, Any]:
    config = compose_config("model=llama_3_1_8b", "gpu=h100_sxm", "prices=market_2026")
    return OmegaConf.to_container(config, resolve=True)


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    """A configuration that may break a law of the schema, and then is drawn again."""

    def one(*options: Any) -> Any:
        return options[int(rng.integers(len(options)))]

    def of(group: str, *names: str) -> dict[str, Any]:
        return dict(content(group, one(*(names or files(group)))))

    fleet = rng.random() < 0.9
    rate_per_s = one(0.05, 0.3, 2.0, 6.0)
    arrivals = of("arrivals", "steady", "bursty", "diurnal", "superposed", "closed_loop")
    if arrivals["kind"] == "closed_loop":
        arrivals |= {"n_clients": one(1, 8), "n_tasks": one(None, 20)}
    else:
        arrivals |= {"rate_per_s": rate_per_s, "exact_tasks": one(None, None, 30)}
    if "mean_burst_s" in arrivals:
        arrivals["mean_burst_s"] = 20.0
    engine = of("engine", *ENGINES) | {"max_num_seqs": one(2, 8, 24), "max_queue": one(None, None, 0, 3)}
    engine |= {"kv_cache_blocks": one(None, 2000), "prefix_caching": one(True, False)}
    reliability = of("reliability")
    if reliability.get("gpu_mtbf_hours"):
        reliability["gpu_mtbf_hours"] = one(0.02, 0.5)
    if reliability.get("spot"):
        spot = {"mean_lifetime_s": one(60, 600), "notice_s": one(0, 5, 30), "zone_outage_s": one(0, 60)}
        reliability["spot"] = reliability["spot"] | spot | {"on_demand_fallback": one(False, True)}
    reliability |= {"lost_requests": one("restart", "resume", "fail"), "max_retries": one(0, 1, 5)}
    reliability["drain_limit_s"] = one(None, 5)
    config = base() | {
        "seed": int(rng.integers(2**31)),
        "horizon_s": one(60, 300),
        "warmup_s": one(0, 20),
        "drain_s": one(0, 10, 600),
        "arrivals": arrivals,
        "tasks": of("tasks", *LIGHT_TASKS),
        "engine": engine,
        "scaling": of("scaling") if fleet else content("scaling", "none"),
        "cold_start": of("cold_start"),
        "victim": of("victim"),
        "reliability": reliability,
        "routing": of("routing"),
        "placement": of("placement"),
        "api": of("api", "none", "ideal", "ideal", "rate_limited", "open_model_70b_batch", "together_dynamic"),
        "queue": {
            "max_requests_per_replica": one(None, 1, 8),
            "max_waiting_requests": one(None, None, 0, 5),
            "patience_s": one(None, 0.5, 20),
            "client_timeout_s": one(None, None, 2, 15),
            "stopped_fraction": one(0.0, 0.0, 0.3),
        },
    }
    if rng.random() < 0.3:
        pool = {
            "gpu": content("gpu", "a100_80gb_pcie"), "scaling": of("scaling"), "cold_start": of("cold_start"),
            "reliability": reliability,
            "spill": {"queue_per_replica": one(0, 2), "predicted_wait_s": None, "stay_with_task": one(True, False)},
        }  # fmt: skip
        config["pools"] = {"second": pool}
    prices = dict(config["prices"])
    prices["pools"] = {name: prices["gpu"] for name in ("second", "on_demand", "second_on_demand")}
    return config | {"prices": prices}


def valid_scenario(number: int) -> Scenario:
    """The first valid draw of a stream of its own; pools without a meaning lose their price first."""
    rng = np.random.default_rng([20_261_128, number])
    for _ in range(200):
        config = drawn(rng)
        scenario = _parsed(config)
        if scenario is not None:
            return scenario
    raise AssertionError(f"scenario {number}: 200 draws without a valid one")


def _parsed(config: dict[str, Any]) -> Scenario | None:
    names = list(config["prices"]["pools"])
    for kept in (names, ["second"], ["on_demand"], ["second", "on_demand"], ["second", "second_on_demand"], []):
        pools = {name: config["prices"]["pools"][name] for name in kept}
        try:
            return parse(config | {"prices": config["prices"] | {"pools": pools}})
        except ConfigError:
            continue
    return None


@pytest.mark.parametrize("first", range(0, N_SCENARIOS, PER_TEST))
def test_books_balance_and_fractions_are_fractions(first):
    for number in range(first, first + PER_TEST):
        scenario = valid_scenario(number)
        run = simulate(scenario, scenario.seed)
        audit(run.facts)
        usage = Usage.from_facts(run.facts)
        lines = bill(usage, scenario.prices, *priced_names(scenario))
        summary = summarize(run.facts, usage, money(lines, usage), scenario.slo)
        where = f"scenario {number}: {scenario.name}"
        for key, value in summary.items():
            if key.endswith("_fraction") or "_fraction_of_" in key:
                assert value is None or 0 <= value <= 1 + 1e-9, f"{where}: {key} = {value}"
            assert value is None or not math.isnan(value), f"{where}: {key} is not a number"
            if key.startswith(("usd_", "gpu_hours", "requests", "tasks")):
                assert value is None or value >= 0, f"{where}: {key} = {value}"
        by_outcome = sum(summary[f"requests_{outcome.name.lower()}"] for outcome in Outcome)
        assert by_outcome == summary["requests"], where
        parts = summary["usd_gpu"] + summary["usd_api"] + summary["usd_overhead"]
        assert math.isclose(summary["usd_total"], parts, rel_tol=1e-9, abs_tol=1e-12), where
        hours = bill_by_hour(usage, scenario.prices, *priced_names(scenario))
        assert math.isclose(hours["usd"].sum(), summary["usd_total"], rel_tol=1e-9, abs_tol=1e-9), where
