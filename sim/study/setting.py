"""What a run rests on, in short words: model, cards, SLO, price lists, window and seed. Every screen restates it.

It is put into words when the scenario is played and kept in its row, so that the screen of ten thousand scenarios reads
no configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from sim.ledger.prices import Prices
from sim.moment_zero import MomentZero
from sim.report.description_text import length
from sim.report.formatting import number, usd
from sim.report.slo import Slo
from sim.scenarios import Scenario, parse
from sim.schema import ConfigError
from sim.study.saved import read_config, read_figures, read_row
from sim.units import HOUR_S, MONTH_S

Setting = dict[str, str]
"""What a scenario rests on, by what it is about (`model`, `cards`, `SLO`, ...); a key that does not apply is absent."""

_NO_REPLICAS = "none, API only"
_PRICES = ("GPU prices", "GPU-hour", "API prices", "API tokens")
_ORDER = ("model", "precision", "cards", "replicas", "SLO", *_PRICES, "window", "seed")
_LIMITS = (("ttft_s", "TTFT"), ("tpot_s", "TPOT"), ("itl_max_s", "longest ITL"), ("e2e_s", "E2E"))
_ALWAYS_TOLD, _MOST_TOLD = 3, 120
"""A line on what differs between scenarios lists up to `_ALWAYS_TOLD` different values, or more if they fit into
`_MOST_TOLD` characters. Where there are more, the labels of the scenarios tell them."""


def setting_of(
    scenario: Scenario,
    moment_zero: MomentZero | None = None,
    window_s: float | None = None,
    replications: float | None = None,
) -> Setting:
    """What a scenario rests on. `window_s`, `moment_zero` and `replications` are as played, if they were."""
    found = {"model": scenario.model.name}
    if scenario.has_fleet:
        found["precision"] = _each({name: _precision(pool) for name, pool in _pools(scenario).items()})
        found["cards"] = _each({name: _cards(pool) for name, pool in _pools(scenario).items()})
    found["replicas"] = _replicas(scenario)
    own = {application.name: _slo(application.slo) for application in scenario.application_list}
    found["SLO"] = _each(own) or _slo(scenario.slo)
    gpus = {name: pool.gpu.name for name, pool, _ in scenario.pool_list}
    lists = price_lists(scenario.prices, gpus, scenario.model.name)
    found |= {
        key: lists[key]
        for key in _PRICES
        if key in lists and (scenario.has_fleet if key.startswith("GPU") else scenario.has_api)
    }
    found["window"] = _window(scenario, moment_zero, window_s)
    n = scenario.replications if replications is None else f"{replications:g}"
    found["seed"] = f"{scenario.seed}, {n} replication{'' if n in (1, '1') else 's'}"
    return found


def price_lists(prices: Prices, gpus: Mapping[str, str], model_name: str | None) -> Setting:
    """The lists of a price list with their dates, and what they take for the GPUs of each pool, by its name, and for
    tokens of the model. What a list has no price for is left out."""
    plans = {name: prices.pools.get(name, prices.gpu) for name in gpus} or {"": prices.gpu}
    found = {
        "GPU prices": _each({name: f"{plan.provider}, {plan.as_of}" for name, plan in plans.items()}),
        "API prices": f"{prices.api.provider}, {prices.api.as_of}",
    }
    with suppress(ConfigError):
        hourly = {name: HOUR_S * plans[name].usd_per_gpu_s(gpu) for name, gpu in gpus.items()}
        found["GPU-hour"] = _each({name: f"{usd(hourly[name])} of {gpu}" for name, gpu in gpus.items()})
    with suppress(ConfigError):
        rates = prices.api.rates(model_name)
        found["API tokens"] = f"{usd(rates.usd_per_mtok_input)} in, {usd(rates.usd_per_mtok_output)} out, per Mtok"
    return found


def read_setting(folder: Path) -> Setting:
    """The setting of a finished run; of one whose row lacks it, read off its configuration. {} if that is not possible.

    Raises ConfigError for files of another form.
    """
    row = read_row(folder)
    if row is not None and row.setting:
        return row.setting
    config, summary = read_config(folder), read_figures(folder) or {}
    if config is None:
        return {}
    try:
        scenario = parse(config)
    except ConfigError:
        return {}  # The configuration of another version, or of a class that this process does not know.
    return setting_of(scenario, None, summary.get("window_s"), summary.get("replications"))


def setting_lines(setting: Mapping[str, str]) -> list[str]:
    """One line per thing: `model: llama_3_1_8b`."""
    return [f"{key}: {words}" for key, words in setting.items()]


class Shared(NamedTuple):
    """What scenarios rest on, a line for each thing."""

    common: list[str]
    """What all have in common."""
    differing: list[str]
    """What differs: which kinds there are where that is told briefly, the rest by name."""

    @property
    def lines(self) -> list[str]:
        return [*self.common, *self.differing]


def shared(settings: Sequence[Setting]) -> Shared:
    """What scenarios have in common and what differs, each once.

    Where a thing does not apply to a scenario, as GPU prices to an API, the others have it in common.
    """
    common: list[str] = []
    differing: list[str] = []
    untold: list[str] = []
    for key in _ORDER:
        kinds = dict.fromkeys(setting[key] for setting in settings if key in setting)
        words = " | ".join(kinds)
        if len(kinds) == 1:
            common.append(f"{key}: {words}")
        elif kinds and (len(kinds) <= _ALWAYS_TOLD or len(words) <= _MOST_TOLD):
            differing.append(f"{key}, by scenario: {words}")
        elif kinds:
            untold.append(f"{key} ({len(kinds)} kinds)")
    return Shared(common, [*differing, *([f"differ, as the labels say: {', '.join(untold)}"] if untold else [])])


def _each(words: Mapping[str, str]) -> str:
    """Words by name: once where all are the same, else each behind its name."""
    kinds = dict.fromkeys(words.values())
    return "; ".join(kinds) if len(kinds) < 2 else "; ".join(f"{name} {own}" for name, own in words.items())


def _precision(pool: Scenario) -> str:
    model, engine = pool.model, pool.engine
    dtype = engine.weight_dtype
    weights = dict.fromkeys([model.mlp_dtype_under(dtype), model.attention_dtype_under(dtype)])
    found = [f"{' and '.join(weights)} weights"]
    if model.experts and (experts := model.expert_dtype_under(dtype)) not in weights:
        found.append(f"{experts} experts")
    return ", ".join([*found, f"{engine.kv_dtype or model.kv_dtype} KV cache"])


def _pools(scenario: Scenario) -> dict[str, Scenario]:
    """The pools that a configuration names: without those on demand that stand in for spot ones."""
    return {name: pool for name, pool, on_demand_of in scenario.pool_list if on_demand_of is None}


def _cards(pool: Scenario) -> str:
    engine = pool.engine
    ranks = f", {engine.attention_data_parallel} attention ranks" if engine.attention_data_parallel > 1 else ""
    return f"{engine.tensor_parallel} x {pool.gpu.name} a replica (TP {engine.tensor_parallel}{ranks})"


def _replicas(scenario: Scenario) -> str:
    """Of each pool, a range where its scaler may move."""
    found = {
        name: _count(pool.scaling.min_replicas, pool.scaling.max_replicas) for name, pool in _pools(scenario).items()
    }
    if scenario.disaggregation is not None:
        found = {"prefill": str(scenario.disaggregation.prefill_replicas), "decode": _each(found)}
    if len(found) > 1:
        return "; ".join(f"{name} {count}" for name, count in found.items())
    return _each(found) or _NO_REPLICAS


def _count(least: int, most: int) -> str:
    return f"{most}" if least == most else f"{least} to {most}"


def _slo(slo: Slo) -> str:
    limits = [f"{words} ≤ {getattr(slo, key):g} s" for key, words in _LIMITS if getattr(slo, key) is not None]
    if slo.deadline_from_priority is not None:
        limits.append(f"{length(slo.deadline_s)} from priority {slo.deadline_from_priority} on")
    return f"{', '.join(limits)}, for {100 * slo.attainment_fraction:g} % of calls"


def _window(scenario: Scenario, moment_zero: MomentZero | None, window_s: float | None) -> str:
    if window_s is None and scenario.horizon_s is not None:
        window_s = scenario.horizon_s - scenario.warmup_s
    after = f" after a warm-up of {length(scenario.warmup_s)}" if scenario.warmup_s else ""
    if window_s is None:
        return f"as long as the traffic{after}, scaled to a month of 730 h"
    begins = ""
    if moment_zero is not None:
        begin = replace(moment_zero, moment=moment_zero.moment + timedelta(seconds=scenario.warmup_s))
        begins = f" from {begin.shown}"
    return f"{length(window_s)}{begins}{after}; a month of 730 h is {number(MONTH_S / window_s)} times as long"
