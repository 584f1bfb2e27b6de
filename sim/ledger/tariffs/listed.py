"""API prices from genai-prices, a list of a package that is kept up to date by others: no network, its data is inside.

`prices.api.provider=together prices.api.model=<the provider's name of it>` takes the place of the tariff of a price
list. The result is a `token_tariff`, with cached reads, cache writes, tiers of long prompts, and prices per request.
Multipliers of batch work stay those of the replaced tariff.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sim.schema import ConfigError

PACKAGE = "genai-prices"
_CLASSES = {
    "input_mtok": "usd_per_mtok_input",
    "output_mtok": "usd_per_mtok_output",
    "cache_read_mtok": "usd_per_mtok_cached_input",
    "cache_write_mtok": "usd_per_mtok_cache_write",
}
_KEPT = ("batch_multiplier", "batch_tier_multiplier")


def package_version() -> str | None:
    """The installed version of the list; None without one."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def listed_tariff(api: Mapping[str, Any]) -> dict[str, Any]:
    """The tariff of `api["provider"]`'s `api["model"]` as plain data: a `token_tariff`. Raises ConfigError.

    `api["date"]`: the day whose prices count, as 2026-06-01; None: the newest of the list, so that an answer does not
    change with the day of the run, only with the version of the list.
    """
    if package_version() is None:
        raise ConfigError(f"prices.api.model = {api['model']}: needs the package {PACKAGE}: pip install {PACKAGE}")
    from genai_prices.data import providers  # loads slowly, with the data in it

    known = {provider.id: provider for provider in providers}
    provider = _found("prices.api.provider", str(api.get("provider")), known)
    model = _found("prices.api.model", str(api["model"]), {model.id: model for model in provider.models})
    day = _day(api.get("date"))
    prices, since = _prices_on(model, day)
    found: dict[str, Any] = {
        "kind": "token_tariff", "provider": provider.name or provider.id,
        "as_of": f"{PACKAGE} {package_version()}, prices {f'of {day}' if day else 'newest there'}{since}",
        **_rates(prices, 0), **{key: api[key] for key in _KEPT if key in api},
    }  # fmt: skip
    if "usd_per_mtok_input" not in found or "usd_per_mtok_output" not in found:
        raise ConfigError(f"prices.api.model = {model.id}: {provider.id} does not sell its tokens by the million")
    starts = sorted({tier.start for name in _CLASSES for tier in getattr(getattr(prices, name, None), "tiers", ())})
    found["context_tiers"] = [{"above_input_tokens": start, **_rates(prices, start)} for start in starts]
    if prices.requests_kcount is not None:
        found["usd_per_request"] = float(prices.requests_kcount) / 1000
    return found


def _rates(prices: Any, over_tokens: int) -> dict[str, float]:
    """USD per million tokens of each class, for prompts longer than `over_tokens`."""
    found = {}
    for name, key in _CLASSES.items():
        price = getattr(prices, name, None)
        if price is None:
            continue
        passed = [tier for tier in getattr(price, "tiers", ()) if tier.start <= over_tokens and over_tokens]
        base = getattr(price, "base", price)
        found[key] = float(max(passed, key=lambda tier: tier.start).price if passed else base)
    return found


def _prices_on(model: Any, day: date | None) -> tuple[Any, str]:
    """The prices of a model on a day (None: the newest), and since when they hold, in words."""
    if not isinstance(model.prices, list):
        return model.prices, ""
    best, since = model.prices[0].prices, None
    for entry in model.prices:
        if entry.constraint is None:
            continue
        start = getattr(entry.constraint, "start_date", None)
        if start is None:
            raise ConfigError(
                f"prices.api.model = {model.id}: its price depends on the hour; use prices=deepseek_time_of_day, or "
                "prices.api.timed of a list of your own"
            )
        if (day is None or start <= day) and (since is None or start >= since):
            best, since = entry.prices, start
    return best, f", since {since}" if since else ""


def _day(text: Any) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        raise ConfigError(f"prices.api.date = {text}: must be a day, such as 2026-06-01") from None


def _found(key: str, name: str, known: Mapping[str, Any]) -> Any:
    if name in known:
        return known[name]
    tail = name.rpartition("/")[2].lower()
    near = [other for other in known if tail and tail in other.lower()][:3] or difflib.get_close_matches(name, known, 3)
    hint = f"; near are {', '.join(near)}" if near else f"; it has {', '.join(sorted(known)[:12])}, ..."
    raise ConfigError(f"{key} = {name}: is not in {PACKAGE} {package_version()}{hint}")
