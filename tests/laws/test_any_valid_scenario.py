"""Any valid scenario, whatever its groups, is lawful: three hundred drawn at random, each of one or two minutes.

The draw joins what rarely meets: losses of replicas, second tries on an API, pools behind one another, limits, queues,
horizons that cut work short, both schedulers, attention ranks, memory beyond the GPU's, tokenizers, and applications.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from sim.ledger.audit import audit
from sim.ledger.bill import bill, bill_by_application, bill_by_hour, money, money_by_application
from sim.ledger.prices import Prices
from sim.ledger.usage import Usage, of_window
from sim.records import Backend, Facts, Outcome, is_served
from sim.report.metrics import is_fraction, summarize
from sim.scenarios import Scenario, compose_config, parse
from sim.schema import ConfigError
from sim.simulation import simulate
from sim.study.hindsight import hindsight
from sim.study.replicate import priced_names

CONF = Path(__file__).parents[2] / "conf"
N_SCENARIOS, N_FAST, PER_TEST = 300, 90, 15
LIGHT_TASKS = ("single_call", "chat", "agent", "support", "chat_and_support")
RATED = ("steady", "bursty", "diurnal", "superposed", "hawkes", "mmpp", "renewal")
ENGINES = ("vllm", "vllm_0_11", "trt_llm_2024", "sglang", "vllm_0_24")
BY_MEMORY = ("sglang", "vllm_0_24")  # their files state numbers by the memory of the card


@cache
def files(group: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (CONF / group).glob("*.yaml")))


@cache
def content(group: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def composed(*words: str) -> dict[str, Any]:
    config = compose_config("model=llama_3_1_8b", "gpu=h100_sxm", "prices=market_2026", *words)
    return OmegaConf.to_container(config, resolve=True)


class Draw:
    """A configuration that may break a law of the schema, and then is drawn again."""

    def __init__(self, rng: np.random.Generator):
        self._rng = rng

    def one(self, *options: Any) -> Any:
        return options[int(self._rng.integers(len(options)))]

    def of(self, group: str, *names: str) -> dict[str, Any]:
        return dict(content(group, self.one(*(names or files(group)))))

    def config(self) -> dict[str, Any]:
        one, of = self.one, self.of
        has_fleet = self._rng.random() < 0.9
        config = composed() | {
            "seed": int(self._rng.integers(2**31)),
            "horizon_s": one(30, 120),
            "warmup_s": one(0, 15),
            "drain_s": one(0, 10, 600),
            "arrivals": self._arrivals(),
            "tasks": of("tasks", *LIGHT_TASKS),
            "applications": content("applications", "chat_and_coding") if one(*range(5)) == 0 else {},
            "kv_tiers": of("kv_tiers") if one(*range(3)) == 0 else {},
            "scaling": of("scaling") if has_fleet else content("scaling", "none"),
            "cold_start": of("cold_start"),
            "victim": of("victim"),
            "reliability": self._reliability(),
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
        config |= self._ranks() if one(*range(6)) == 0 else {"engine": self._engine()}
        if self._rng.random() < 0.3:
            config["pools"] = {"second": self._pool(config["reliability"])}
        elif one(*range(15)) == 0:
            config |= self._apart()
        prices = dict(config["prices"])
        prices["pools"] = {name: prices["gpu"] for name in ("second", "on_demand", "second_on_demand")}
        return config | {"prices": prices}

    def _arrivals(self) -> dict[str, Any]:
        arrivals = self.of("arrivals", *RATED, "closed_loop", "clients", "flash_crowd", "weekly")
        rate_per_s = self.one(0.05, 0.3, 2.0, 6.0)
        if arrivals["kind"] == "closed_loop":
            arrivals |= {"n_clients": self.one(1, 8), "n_tasks": self.one(None, 20)}
        if "n_sources" in arrivals:
            rate_per_s /= arrivals["n_sources"]
        if "rate_per_s" in arrivals:
            arrivals["rate_per_s"] = rate_per_s
        if "exact_tasks" in arrivals:
            arrivals["exact_tasks"] = self.one(None, None, 30)
        if "mean_burst_s" in arrivals:
            arrivals["mean_burst_s"] = 20.0
        if "begins_s" in arrivals:
            arrivals |= {"begins_s": 15, "rise_s": 5, "hold_s": 10, "decay_s": 10, "every_s": None}
        return arrivals

    def _engine(self) -> dict[str, Any]:
        name, one = self.one(*ENGINES), self.one
        engine = dict(composed(f"engine={name}")["engine"] if name in BY_MEMORY else content("engine", name))
        engine |= {"max_queue": one(None, None, 0, 3)}
        if engine["block_tokens"] > 1:  # SGLang counts its memory in tokens, and sets the most sequences by it
            engine |= {"max_num_seqs": one(2, 8, 24), "kv_cache_blocks": one(None, 2000, 500)}
        else:
            engine["kv_cache_blocks"] = one(None, 32_000, 8_000)
        host = one(None, *files("engine/host"))
        return engine | {"prefix_caching": one(True, False), "host": host and content("engine/host", host)}

    def _ranks(self) -> dict[str, Any]:
        """A mixture of experts on four GPUs, whose attention is divided into ranks."""
        engine = self.of("engine", "vllm") | {"tensor_parallel": 4, "attention_data_parallel": self.one(2, 4)}
        engine |= {"expert_parallel": self.one(True, False)}
        engine |= {"max_num_seqs": self.one(2, 8, 24), "max_queue": self.one(None, 0, 3)}
        return {"gpu": content("gpu", "h200_sxm"), "model": content("model", "gpt_oss_120b"), "engine": engine}

    def _apart(self) -> dict[str, Any]:
        """Prompts and answers on replicas of their own: the schema allows it without losses, tiers and tokenizers."""
        engine = content("engine", "vllm") | {
            "max_num_seqs": self.one(2, 8, 24),
            "kv_cache_blocks": self.one(None, 2000),
        }
        plain = {key: composed()[key] for key in ("gpu", "model", "kv_tiers", "scaling", "reliability")}
        return plain | {
            "disaggregation": {"prefill_replicas": self.one(1, 2), "link_gb_per_s": 25.0, "latency_s": 0.01},
            "engine": engine,
        }

    def _reliability(self) -> dict[str, Any]:
        reliability, one = self.of("reliability"), self.one
        if reliability.get("gpu_mtbf_hours"):
            reliability["gpu_mtbf_hours"] = one(0.01, 0.2)
        if reliability.get("spot"):
            spot = {"mean_lifetime_s": one(30, 300), "notice_s": one(0, 5, 30), "zone_outage_s": one(0, 30)}
            reliability["spot"] = reliability["spot"] | spot | {"on_demand_fallback": one(False, True)}
        reliability |= {"lost_requests": one("restart", "resume", "fail"), "max_retries": one(0, 1, 5)}
        return reliability | {"drain_limit_s": one(None, 5)}

    def _pool(self, reliability: dict[str, Any]) -> dict[str, Any]:
        one, of = self.one, self.of
        spill = {"queue_per_replica": one(0, 2), "predicted_wait_s": None, "stay_with_task": one(True, False)}
        return {
            "gpu": content("gpu", "a100_80gb_pcie"), "scaling": of("scaling"), "cold_start": of("cold_start"),
            "reliability": reliability, "spill": spill,
        }  # fmt: skip


def valid_scenario(number: int) -> Scenario:
    """The first valid draw of a stream of its own; pools without a meaning lose their price first."""
    rng = np.random.default_rng([20_261_128, number])
    for _ in range(200):
        scenario = _parsed(Draw(rng).config())
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


LOTS = [pytest.param(n, marks=pytest.mark.slow if n >= N_FAST else ()) for n in range(0, N_SCENARIOS, PER_TEST)]


@pytest.mark.parametrize("first", LOTS)
def test_books_balance_and_fractions_are_fractions(first):
    for number in range(first, first + PER_TEST):
        scenario = valid_scenario(number)
        # Measuring the saturated rate of a mix, whose batches have to fill, costs more than a short run.
        measure_peak = number % 3 == 0 and scenario.engine.most_running <= 24
        run = simulate(scenario, scenario.seed, measure_peak=measure_peak)
        audit(run.facts)
        usage = Usage.from_facts(run.facts)
        own = {number: application.slo for number, application in enumerate(scenario.application_list)}
        figures = money(bill(usage, *priced(scenario)), usage) | money_by_application(usage, *priced(scenario))
        summary = summarize(run.facts, usage, figures, scenario.slo, own)
        where = f"scenario {number}: {scenario.name}"
        check_values(summary, where)
        check_sums(summary, usage, scenario, where)
        check_prefixes(summary, run.facts, where)
        bound = hindsight(run, figures)
        if bound is not None:
            assert bound.usd <= summary["usd_gpu"] * (1 + 1e-9) + 1e-9, f"{where}: {bound}"


def priced(scenario: Scenario) -> tuple[Prices, str | None, str | None]:
    return scenario.prices, *priced_names(scenario)


def check_values(summary: dict[str, Any], where: str) -> None:
    for key, value in summary.items():
        if is_fraction(key):
            assert value is None or 0 <= value <= 1 + 1e-9, f"{where}: {key} = {value}"
        assert value is None or not math.isnan(value), f"{where}: {key} is not a number"
        if key.startswith(("usd_", "gpu_hours", "requests", "tasks")):
            assert value is None or value >= 0, f"{where}: {key} = {value}"


def check_sums(summary: dict[str, Any], usage: Usage, scenario: Scenario, where: str) -> None:
    def adds_up(parts: Iterable[float], whole: str) -> None:
        assert math.isclose(math.fsum(parts), summary[whole], rel_tol=1e-9, abs_tol=1e-9), f"{where}: {whole}"

    adds_up((summary[f"requests_{outcome.name.lower()}"] for outcome in Outcome), "requests")
    adds_up((summary[f"usd_{part}"] for part in ("gpu", "api", "overhead")), "usd_total")
    for parts in (bill_by_hour, bill_by_application):
        adds_up(parts(usage, *priced(scenario))["usd"], "usd_total")
    if scenario.application_list:
        for whole in ("requests", "requests_never_sent", "tasks", "input_tokens", "output_tokens"):
            adds_up((summary[f"application_{name}_{whole}"] for name in scenario.applications), whole)
        each = [summary[f"application_{name}_usd"] for name in scenario.applications]
        if None not in each:
            adds_up(each, "usd_total")


def check_prefixes(summary: dict[str, Any], facts: Facts, where: str) -> None:
    """What KV tiers and GPUs gave is what the fleet's finished requests found cached; an API's cache is none of them,
    whether a call finished or was aborted."""
    if not facts.kv_tiers or not summary["input_tokens"]:
        return
    requests = facts.requests
    rows = of_window(requests, facts.window) & is_served(requests["outcome"]) & (requests["backend"] == Backend.FLEET)
    found = math.fsum(summary[f"kv_{name}_hit_fraction"] for name in (*facts.kv_tiers, "gpu"))
    cached_tokens = float(requests["cached_input_tokens"][rows].sum())
    assert math.isclose(found * summary["input_tokens"], cached_tokens, rel_tol=1e-9, abs_tol=1e-6), where
