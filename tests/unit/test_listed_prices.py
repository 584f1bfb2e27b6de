"""API prices from a package: its own arithmetic agrees, what it lacks is one line, an old list is called old."""

from __future__ import annotations

from datetime import date, datetime

import pytest

import sim
from sim.ledger.prices import Prices, old_lists
from sim.ledger.tariffs import listed
from sim.ledger.tariffs.listed import listed_tariff
from sim.ledger.tariffs.rates import TokenRates
from sim.schema import ConfigError, parse_config

genai_prices = pytest.importorskip("genai_prices", reason="make hot-path installs it")

PLAN = {
    "kind": "on_demand", "provider": "a", "as_of": "2026-03 to 2026-06", "usd_per_gpu_hour": {"l4": 1.0},
}  # fmt: skip


def tariff(**api):
    return parse_config(Prices, {"gpu": PLAN, "api": {"kind": "model_tariff", "models": {}} | api}).api


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(
    "provider, model, day",
    [
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", None),
        ("anthropic", "claude-opus-4-6", "2026-03-01"),
        ("anthropic", "claude-opus-4-6", "2026-04-01"),
    ],
)
def test_a_call_costs_what_the_package_itself_says(provider, model, day, over):
    input_tokens, cached, output = (250_000 if over else 10_000), 8_000, 500
    found = tariff(provider=provider, model=model, date=day)
    rates = found.rates("any").at(200_000 if over else 0)
    read = rates.usd_per_mtok_input if rates.usd_per_mtok_cached_input is None else rates.usd_per_mtok_cached_input
    usd = (
        (input_tokens - cached) * rates.usd_per_mtok_input + cached * read + output * rates.usd_per_mtok_output
    ) / 1e6
    usage = genai_prices.Usage(input_tokens=input_tokens, cache_read_tokens=cached, output_tokens=output)
    when = datetime.fromisoformat(f"{day or '2026-11-29'}T12:00:00+00:00")
    asked = genai_prices.calc_price(usage, model, provider_id=provider, genai_request_timestamp=when)
    assert usd == pytest.approx(float(asked.total_price))


def test_words_of_the_command_line_choose_them_and_a_run_is_billed():
    words = ("fleet=api_only", "model=llama_3_3_70b", "lengths=fixed", "prices.api.provider=together",
             "prices.api.model=meta-llama/Llama-3.3-70B-Instruct-Turbo")  # fmt: skip
    run = sim.simulate(sim.scenario(*words, horizon_s=60))
    assert set(run.bill["payee"]) == {"Together AI"} and run.summary["usd_api"] > 0
    assert run.scenario.prices.api.as_of.startswith("genai-prices ")


def test_without_a_model_the_list_of_conf_prices_is_what_counts():
    api = sim.scenario("prices=market_2026").prices.api
    assert api.kind == "model_tariff" and api.provider == "open-model APIs"


@pytest.mark.parametrize(
    "api, law",
    [
        ({"provider": "togethr", "model": "x"}, "prices.api.provider = togethr: is not in .* near are together"),
        ({"provider": "together", "model": "llama-3.3"}, "near are meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ({"provider": "deepseek", "model": "deepseek-chat"}, "its price depends on the hour; use prices=deepseek"),
        ({"provider": "openai", "model": "gpt-4o", "date": "soon"}, "prices.api.date = soon: must be a day"),
    ],
)
def test_what_it_lacks_is_said_in_one_line(api, law):
    with pytest.raises(ConfigError, match=law):
        listed_tariff(api)


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(listed, "package_version", lambda: None)
    with pytest.raises(ConfigError, match="needs the package genai-prices: pip install genai-prices"):
        tariff(provider="together", model="x")


def test_every_model_of_some_providers_is_read_or_refused_in_one_line():
    for provider in genai_prices.data.providers:
        for model in provider.models[:3]:
            try:
                TokenRates.model_validate(
                    {k: v for k, v in listed_tariff({"provider": provider.id, "model": model.id}).items()
                     if k in TokenRates.model_fields and k != "context_tiers"}
                )  # fmt: skip
            except ConfigError as error:
                assert "\n" not in str(error)


def test_a_list_older_than_ninety_days_is_called_old():
    prices = parse_config(Prices, {"gpu": PLAN, "api": {
        "kind": "token_tariff", "provider": "b", "as_of": "undated", "usd_per_mtok_input": 1, "usd_per_mtok_output": 1,
    }})  # fmt: skip
    (line,) = old_lists(prices, date(2026, 11, 29))
    assert line == "prices.gpu: a, list of 2026-03 to 2026-06, is 273 days old"
    assert not list(old_lists(prices, date(2026, 5, 1)))
