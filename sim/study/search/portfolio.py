"""The fleets that a decision looks at: every card with a price that holds the model, and the ways to run each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sim.composition import Composition
from sim.conf_path import conf_dir
from sim.errors import one_line
from sim.ledger.prices import Prices
from sim.scenarios import Scenario
from sim.schema import ConfigError
from sim.study.search.evidence import Candidate
from sim.study.search.family import Family
from sim.study.search.lab import Lab, Words
from sim.study.search.paper import ALLOWANCE, Load, OnPaper, api_usd_per_request, first_token_s
from sim.units import DAY_S
from sim.workload.description.card import Card

TENSOR_PARALLEL = (1, 2, 4, 8)
API_ALONE: Words = ("fleet=api_only",)
_DAYS = "[mon,tue,wed,thu,fri,sat,sun]"


_API, _ALWAYS_ON, _WITH_AN_API, _SCALED = range(4)
"""When families have their turn."""


_SPOT_PAID = 0.8
"""Part of the time that a spot replica is there, and paid for, at the least: with lives of hours and outages of minutes
it is about 0.95."""
_AROUND_THE_CLOCK = ("runpod_serverless_active",)
"""Serverless lists whose prices hold for workers that never stop: no fleet that scales to zero pays them."""


class _Card(NamedTuple):
    """One replica's hardware: a card, how many of it, and the type of its weights."""

    words: Words
    name: str


@dataclass
class Portfolio:
    """Families to search, those that may be cheapest on paper first, and what was left out, with the reason."""

    families: list[Family] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    names: dict[Candidate, str] = field(default_factory=dict)
    """What each candidate is called."""
    turns: dict[str, int] = field(default_factory=dict)
    """By family, when it is played: those first that make the best known, so that more is ruled out by its cost."""

    def add(self, name: str, ladder: list[tuple[Words, str, float]], turn: int = _SCALED) -> None:
        """A family of (words, name, floor in USD a month) from the smallest size to the largest."""
        self.names |= {words: label for words, label, _ in ladder}
        words, floors = tuple(w for w, _, _ in ladder), tuple(floor for _, _, floor in ladder)
        self.families.append(Family(name, words, cost_rises=turn == _ALWAYS_ON, floors_usd=floors))
        self.turns[name] = turn


def portfolio(lab: Lab, card: Card, load: Load) -> Portfolio:
    """Every fleet for the composition's model. Raises ConfigError if neither a card nor an API can serve it."""
    found = Portfolio()
    api_usd = _api_alone(found, lab, load)
    for hardware in _hardware(lab.base):
        try:
            one = lab.scenario((*hardware.words, "fleet=always_on"))
        except ConfigError as error:
            found.left_out.append((hardware.name, one_line(error).removeprefix("error: ")))
            continue
        paper = OnPaper.of(one, load, one.prices.gpu)
        _own_fleets(found, hardware, paper, lab, load, card)
        if api_usd is not None:
            _with_an_api(found, hardware, paper, api_usd)
            _reserved(found, hardware, lab, load, api_usd)
            _spot(found, hardware, lab, load)
    if not found.families:
        raise ConfigError(found.left_out[0][1])
    found.families.sort(key=lambda family: (found.turns[family.name], min(family.floors_usd)))
    found.left_out += _without_a_price(lab.base)
    return found


def always_on_of_any_card(lab: Lab, load: Load) -> Portfolio:
    """Every card with a price, always on, if it gives a mean prompt its first token in time. Raises ConfigError."""
    found = Portfolio()
    for hardware in _hardware(lab.base):
        try:
            one = lab.scenario((*hardware.words, "fleet=always_on"))
        except ConfigError:
            continue
        paper = OnPaper.of(one, load, one.prices.gpu)
        if first_token_s(one, load) <= ALLOWANCE * one.slo.ttft_s:
            _always_on(found, hardware, paper)
    found.families.sort(key=lambda family: min(family.floors_usd))
    return found


def _api_alone(found: Portfolio, lab: Lab, load: Load) -> float | None:
    """USD per request at the least; None where no API has a price for the model."""
    try:
        scenario = lab.scenario(API_ALONE)
    except ConfigError as error:
        found.left_out.append(("API alone, or behind a fleet", one_line(error).removeprefix("error: ")))
        return None
    found.add("API alone", [(API_ALONE, "the API alone", 0.0)], _API)
    return api_usd_per_request(scenario, load)


def _hardware(base: Composition) -> Iterator[_Card]:
    """Every card with a price, by tensor parallelism and type of weights; of what the user has chosen, only that."""
    prices = _prices(base.config["prices"])
    cards = [base.config["gpu"]["name"]] if "gpu" in base.words else [c for c in prices.gpu.table if _is_known(c)]
    chosen = base.words
    degrees = [None] if "engine.tensor_parallel" in chosen else TENSOR_PARALLEL
    dtypes = [None] if "engine.weight_dtype" in chosen or not _may_be_fp8(base) else [None, "fp8"]
    for name in cards:
        for degree in degrees:
            for dtype in dtypes:
                words: Words = () if "gpu" in chosen else (f"gpu={name}",)
                words += () if degree is None else (f"engine.tensor_parallel={degree}",)
                words += () if dtype is None else (f"engine.weight_dtype={dtype}",)
                label = name if degree in (None, 1) else f"{degree} {name}"
                yield _Card(words, f"{label}{' in fp8' if dtype else ''}")


def _may_be_fp8(base: Composition) -> bool:
    """Whether fp8 weights are narrower than the published ones."""
    model = base.config["model"]
    return {model.get("weight_dtype") or "bf16", model.get("expert_dtype") or "bf16"} == {"bf16"}


def _is_known(card: str) -> bool:
    return (conf_dir() / "gpu" / f"{card}.yaml").is_file()


def _without_a_price(base: Composition) -> Iterator[tuple[str, str]]:
    if "gpu" in base.words:
        return
    priced = _prices(base.config["prices"]).gpu
    lacking = sorted(path.stem for path in (conf_dir() / "gpu").glob("*.yaml") if path.stem not in priced.table)
    if lacking:
        key = f"+prices.gpu.{priced.priced_by}.{lacking[0]}=<USD>"
        yield ", ".join(lacking), f"no price in {priced.provider}'s list; a price of your own: {key}"


def _always_on(found: Portfolio, hardware: _Card, paper: OnPaper) -> None:
    found.add(
        f"always on, {hardware.name}",
        [((*hardware.words, "fleet=always_on", f"scaling.n_replicas={n}"), f"{_n(n, hardware)} always on",
          paper.held_usd(n)) for n in range(1, paper.most_replicas + 1)],
        _ALWAYS_ON,
    )  # fmt: skip


def _own_fleets(found: Portfolio, hardware: _Card, paper: OnPaper, lab: Lab, load: Load, card: Card) -> None:
    most, words = paper.most_replicas, hardware.words
    sizes = range(1, most + 1)
    _always_on(found, hardware, paper)
    found.add(
        f"warm floor, {hardware.name}",
        [((*words, "fleet=warm_floor", f"scaling.max_replicas={most}", f"scaling.min_replicas={n}"),
          f"{_n(n, hardware)} warm, up to {most}", paper.scaled_usd(n)) for n in range(1, most)],
    )  # fmt: skip
    for price_word in ("", *_lists(lab.base, "serverless")):
        to_zero = (*words, *filter(None, [price_word]), "fleet=scale_to_zero", f"scaling.max_replicas={most}")
        floor = _priced_anew(lab, to_zero, load)
        if floor is not None:
            where = f" ({price_word.partition('=')[2]})" if price_word else ""
            label = f"scale to zero, up to {_n(most, hardware)}{where}"
            found.add(label, [(to_zero, label, floor.scaled_usd(0))])
    if hours := _busy_hours(card):
        ladder = [_timetabled(n, hours, hardware, paper) for n in sizes]
        found.add(f"timetable, {hardware.name}", ladder)


def _with_an_api(found: Portfolio, hardware: _Card, paper: OnPaper, api_usd: float) -> None:
    found.add(
        f"overflow to the API, {hardware.name}",
        [((*hardware.words, "fleet=hybrid_overflow", f"scaling.n_replicas={n}"),
          f"{_n(n, hardware)} always on, overflow to the API", paper.overflow_usd(n, api_usd))
         for n in range(1, paper.most_replicas + 1)],
        _WITH_AN_API,
    )  # fmt: skip


def _reserved(found: Portfolio, hardware: _Card, lab: Lab, load: Load, api_usd: float) -> None:
    """A reserved baseline with the API behind, on every list with a reserved price of the card; on a list that prices a
    spot pool, with that between the two."""
    for price_word in _lists(lab.base, "reserved"):
        listed = price_word.partition("=")[2]
        for fleet, behind in (("hybrid_overflow", ""), ("baseline_spot_api", "spot and ")):
            if behind and "spot" not in _pools_of(listed):
                continue
            words = (*hardware.words, price_word, f"fleet={fleet}")
            paper = _priced_anew(lab, words, load)
            if paper is None:
                continue
            usd = 0.0 if behind else min(api_usd, api_usd_per_request(lab.scenario(words), load))
            found.add(
                f"reserved ({listed}) with {behind}the API behind, {hardware.name}",
                [((*words, f"scaling.n_replicas={n}"),
                  f"{_n(n, hardware)} reserved ({listed}), overflow to {behind}the API", paper.overflow_usd(n, usd))
                 for n in range(1, paper.most_replicas + 1)],
                _WITH_AN_API,
            )  # fmt: skip


def _spot(found: Portfolio, hardware: _Card, lab: Lab, load: Load) -> None:
    """Spot replicas, taken back now and then, with the API behind; on a list that prices on-demand GPUs for those that
    are missing, with these. The floor is a part of the price, as a missing replica is not paid for."""
    if "reliability" in lab.base.words:
        return
    for price_word in _lists(lab.base, "spot"):
        listed = price_word.partition("=")[2]
        has_stand_ins = "on_demand" in _pools_of(listed)
        words = (*hardware.words, price_word, "reliability=spot", "fleet=hybrid_overflow")
        words += ("reliability.spot.on_demand_fallback=true",) if has_stand_ins else ()
        paper = _priced_anew(lab, words, load)
        if paper is None:
            continue
        what = f"spot ({listed}){' or on demand' if has_stand_ins else ''}"
        found.add(
            f"{what} with the API behind, {hardware.name}",
            [
                (
                    (*words, f"scaling.n_replicas={n}"), f"{_n(n, hardware)} {what}, overflow to the API",
                    _SPOT_PAID * n * paper.replica_usd_per_month,
                )
                for n in range(1, paper.most_replicas + 1)
            ],
            _WITH_AN_API,
        )  # fmt: skip


def _priced_anew(lab: Lab, words: Words, load: Load) -> OnPaper | None:
    """The replica on paper at the prices that the words choose; None if that list has no price for it."""
    try:
        scenario: Scenario = lab.scenario(words)
    except ConfigError:
        return None
    return OnPaper.of(scenario, load, scenario.prices.gpu)


def _lists(base: Composition, kind: str) -> list[str]:
    """Lists of conf/prices with GPU prices of this kind and no fixed number of GPUs; none if one was chosen."""
    if "prices" in base.words:
        return []
    return [
        f"prices={name}"
        for name, gpu in _gpu_plans()
        if gpu.get("kind") == kind and gpu.get("gpus") is None and name not in _AROUND_THE_CLOCK
    ]


@cache
def _gpu_plans() -> tuple[tuple[str, dict], ...]:
    return tuple((path.stem, _read(path).get("gpu") or {}) for path in sorted((conf_dir() / "prices").glob("*.yaml")))


def _pools_of(name: str) -> Mapping[str, Any]:
    """The further pools that a list of conf/prices has prices for."""
    return dict(_pool_plans())[name]


@cache
def _pool_plans() -> tuple[tuple[str, dict], ...]:
    return tuple((path.stem, _read(path).get("pools") or {}) for path in sorted((conf_dir() / "prices").glob("*.yaml")))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def _n(n: int, hardware: _Card) -> str:
    return f"{n} x {hardware.name}"


class _BusyHours(NamedTuple):
    start: int
    end: int
    quiet_share: float
    """The mean rate of the other hours over the highest."""


def _busy_hours(card: Card) -> _BusyHours | None:
    """From the first to the last hour of the day above its mean rate; None for less than a day, or without dates."""
    profile = card.day
    if profile is None or not profile.is_local or card.span_s < DAY_S or None in profile.hours:
        return None
    rates = [float(rate or 0.0) for rate in profile.hours]
    busy = [hour for hour, rate in enumerate(rates) if rate > 1]
    quiet = [rate for hour, rate in enumerate(rates) if not busy or not busy[0] <= hour <= busy[-1]]
    if not busy or not quiet:
        return None
    return _BusyHours(busy[0], busy[-1] + 1, sum(quiet) / len(quiet) / max(rates))


def _timetabled(n: int, hours: _BusyHours, hardware: _Card, paper: OnPaper) -> tuple[Words, str, float]:
    fewer = math.ceil(n * hours.quiet_share)
    bounds = f"min_replicas:{n},max_replicas:{n}"
    period = f"{{days:{_DAYS},start:'{hours.start:02}:00',end:'{hours.end:02}:00',{bounds}}}"
    words = (
        *hardware.words, "fleet=always_on", "scaling=business_hours", "scaling.time_zone=null",
        f"scaling.periods=[{period}]", f"scaling.otherwise={{min_replicas:{fewer},max_replicas:{fewer}}}",
        "scaling.target_requests_per_replica=null",
    )  # fmt: skip
    label = f"{_n(n, hardware)} from {hours.start}:00 to {hours.end}:00, {fewer} at other hours"
    return words, label, paper.scaled_usd(fewer)


def _prices(config: object) -> Prices:
    return Prices.model_validate(config)
