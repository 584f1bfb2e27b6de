"""Own GPUs or an API, on paper, as cost articles work it out: from a throughput, a rent and an assumed utilization.

What articles call utilization is here `token_fraction_of_peak`: tokens served over those that saturated replicas would
give in the time paid for. It is assumed, not measured: `llm-traffic-sim paper --realized` says what a traffic reaches.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field, model_validator

from sim.ledger.breakeven import Threshold, blended_usd_per_mtok, breakeven_fraction, usd_per_mtok
from sim.ledger.task_cost import AgentTask, Reuse, api_task_usd, crossover_calls, self_hosted_task_usd
from sim.schema import Config
from sim.units import HOUR_S, MONTH_S, MTOK

MOST_CALLS = 1_000
EASY_BELOW = 0.7
"""Up to this share of peak, articles count self-hosting as an easy win; above 1 it never wins."""
SHARES = tuple(share / 100 for share in range(30, 91, 5))
"""The shares of peak over which articles draw the cost of self-hosting."""


class Zone(StrEnum):
    """Where a break-even share of peak lies."""

    EASY = "self-hosting wins easily"
    HOT = "self-hosting wins only near its peak"
    NEVER = "self-hosting never wins"


class Regime(Config):
    """A mix of requests, and what one saturated replica serves of it."""

    input_tokens: float = Field(gt=0, description="mean tokens of a prompt")
    output_tokens: float = Field(gt=0, description="mean tokens of an answer")
    tokens_per_s: float = Field(gt=0, description="input and output tokens per second of one saturated replica")


class ApiPrice(Config):
    """What an API charges, in US dollars per million tokens."""

    usd_per_mtok_input: float = Field(ge=0)
    usd_per_mtok_output: float = Field(ge=0)
    usd_per_mtok_cached_input: float | None = Field(None, ge=0, description="null: cached reads cost as much as others")


class PaperModel(Config):
    """A model on own GPUs and at an API."""

    usd_per_hour: float = Field(gt=0, description="rent of one replica")
    api: ApiPrice
    regimes: dict[str, Regime] = Field(min_length=1)


class Paper(Config):
    """The inputs of a comparison on paper."""

    models: dict[str, PaperModel] = Field(min_length=1)
    token_fraction_of_peak: float = Field(0.7, gt=0, le=1, description="assumed, of saturated replicas")
    overhead_fraction: float = Field(0.15, ge=0, description="added to the rent")
    calls: int = Field(10, ge=1, le=MOST_CALLS, description="model calls of a task (k)")
    reuse: Reuse = Field(Reuse.AFTER_FIRST, description="which part of a repeated context is not computed again")
    task: AgentTask = AgentTask()
    tokens_per_month: float | None = Field(None, gt=0, description="null: what one replica serves in a month")

    @model_validator(mode="before")
    @classmethod
    def _reuse_by_name(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(name := data.get("reuse"), str):
            names = {kind.name.lower(): kind for kind in Reuse}
            if name not in names:
                raise ValueError(f"reuse = {name}: must be one of {', '.join(names)}")
            return data | {"reuse": names[name]}
        return data

    @property
    def times_gpu(self) -> float:
        return 1 + self.overhead_fraction


class Realized(NamedTuple):
    """What a simulated fleet reached: its share of peak, whether it met the SLO, and its whole cost per Mtok."""

    name: str
    token_fraction_of_peak: float
    meets_slo: bool
    usd_per_mtok: float


class Point(NamedTuple):
    """One model under one regime: costs per million tokens, input and output together, and the break-even."""

    model: str
    regime: str
    self_usd_per_mtok: float
    api_usd_per_mtok: float
    breakeven: Threshold

    @property
    def zone(self) -> Zone:
        needed = self.breakeven.needed
        return Zone.EASY if needed < EASY_BELOW else Zone.HOT if needed <= 1 else Zone.NEVER


def points(paper: Paper) -> list[Point]:
    """Every model under every regime, at the assumed share of peak."""
    found = []
    for name, model in paper.models.items():
        for regime_name, regime in model.regimes.items():
            api = api_usd(model, regime)
            own = usd_per_mtok(model.usd_per_hour, regime.tokens_per_s, paper.token_fraction_of_peak, paper.times_gpu)
            even = breakeven_fraction(model.usd_per_hour, regime.tokens_per_s, api, paper.times_gpu)
            found.append(Point(name, regime_name, own, api, even))
    return found


def api_usd(model: PaperModel, regime: Regime) -> float:
    """USD per million tokens of this mix at the API, nothing cached."""
    api = model.api
    return blended_usd_per_mtok(
        api.usd_per_mtok_input, api.usd_per_mtok_output, regime.input_tokens, regime.output_tokens
    )


class TaskCosts(NamedTuple):
    """USD of a task by its number of calls, from 1, in the three ways; and the calls from which self-hosting is cheaper
    for good, None if there are none."""

    api_uncached: list[float]
    api_cached: list[float]
    own: list[float]
    crossover_uncached: int | None
    crossover_cached: int | None


def task_costs(paper: Paper, model: str, regime: str) -> TaskCosts:
    """The cost of a task against its calls. `regime` prices a computed token of the own GPUs."""
    chosen = paper.models[model]
    own_usd = usd_per_mtok(
        chosen.usd_per_hour, chosen.regimes[regime].tokens_per_s, paper.token_fraction_of_peak, paper.times_gpu
    )
    api = chosen.api
    rates = (api.usd_per_mtok_input, api.usd_per_mtok_output)

    def uncached(k: int) -> float:
        return api_task_usd(paper.task, k, *rates)

    def cached(k: int) -> float:
        return api_task_usd(paper.task, k, *rates, api.usd_per_mtok_cached_input, paper.reuse)

    def own(k: int) -> float:
        return self_hosted_task_usd(paper.task, k, own_usd, paper.reuse)

    most = range(1, max(paper.calls, 10) + 1)
    return TaskCosts(
        [uncached(k) for k in most], [cached(k) for k in most], [own(k) for k in most],
        crossover_calls(own, uncached, MOST_CALLS), crossover_calls(own, cached, MOST_CALLS),
    )  # fmt: skip


class Step(NamedTuple):
    """One row of the recipe: what is asked, and the answer."""

    name: str
    value: str


def recipe(paper: Paper, model: str, regime: str) -> list[Step]:
    """The six steps from a volume to a comparison of totals, for one model and regime."""
    chosen = paper.models[model]
    mix = chosen.regimes[regime]
    per_replica = mix.tokens_per_s * paper.token_fraction_of_peak * MONTH_S
    volume = paper.tokens_per_month or per_replica
    share = mix.input_tokens / (mix.input_tokens + mix.output_tokens)
    api_month = volume * api_usd(chosen, mix) / MTOK
    replicas = max(1, math.ceil(volume / per_replica - 1e-9))
    hours = replicas * MONTH_S / HOUR_S
    rent = hours * chosen.usd_per_hour
    total = rent * paper.times_gpu
    less = "the API" if api_month < total else "self-hosting"
    return [
        Step("tokens a month, in and out", f"{volume * share / MTOK:,.0f} M and {volume * (1 - share) / MTOK:,.0f} M"),
        Step("the API at that volume", f"${api_month:,.0f}"),
        Step("replica-hours, idle ones and headroom included", f"{hours:,.0f} h of {replicas} around the clock"),
        Step("rent per million tokens really served", f"${rent / volume * MTOK:.3f}"),
        Step("with overhead", f"${total:,.0f}, {paper.overhead_fraction:.0%} on ${rent:,.0f} of rent"),
        Step("the totals", f"{less} is cheaper by ${abs(total - api_month):,.0f} a month"),
    ]
