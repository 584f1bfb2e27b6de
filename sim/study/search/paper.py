"""What is known on paper before anything is played: what fits on which card, and below which cost a fleet cannot be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from sim.assembly import requests_per_s_on_paper
from sim.ledger.plans.base import GpuPlan
from sim.report.slo import Slo
from sim.scenarios import Scenario
from sim.units import MINUTE_S, MONTH_S, MTOK
from sim.workload.arrivals.scale import Scale
from sim.workload.description.card import Card

ALLOWANCE = 1.25
"""A replica is taken to serve at most this many times its capacity on paper, which assumes that all requests are of
mean length and none is cached beyond the log's own reuse: a bound must not be missed by a faster one."""
MOST_REPLICAS = 64
_NO_LIMIT_S = 1.0


class Load(NamedTuple):
    """The traffic of a log as the bounds need it; `input_tokens` are those that no prefix cache could hold."""

    requests_per_s: float
    peak_requests_per_s: float
    input_tokens: float
    output_tokens: float

    @classmethod
    def of(cls, card: Card, scale: Scale) -> Load:
        """The load of a described log that is played at this scale; its peak is the busiest minute."""
        factor = scale.rate_factor * scale.more_calls_per_user
        mean = factor * card.requests_per_s
        peak = 0.0 if card.busiest_minute is None else factor * card.busiest_minute.requests / MINUTE_S
        fresh = 1.0 if card.reuse is None else 1.0 - card.reuse.hit_fraction
        input_tokens = card.lengths.input.mean * scale.longer_contexts * fresh
        return cls(mean, max(mean, peak), max(1.0, input_tokens), max(1.0, card.lengths.output.mean))


@dataclass(frozen=True)
class OnPaper:
    """One replica of a scenario on paper."""

    replica_usd_per_month: float
    requests_per_s: float
    """That it serves, without ALLOWANCE."""
    load: Load
    attainment: float

    @classmethod
    def of(cls, scenario: Scenario, load: Load, plan: GpuPlan) -> OnPaper:
        """`plan` prices the GPUs."""
        slo = scenario.slo
        capacity = requests_per_s_on_paper(scenario, load.input_tokens, load.output_tokens, _itl_s(slo, load))
        usd = plan.usd_per_gpu_s(scenario.gpu.name) * scenario.engine.tensor_parallel * MONTH_S
        return cls(usd, capacity, load, slo.attainment_fraction)

    @property
    def needed_replicas(self) -> float:
        """Replicas' worth of work on average, at the least."""
        return self.attainment * self.load.requests_per_s / (ALLOWANCE * self.requests_per_s)

    @property
    def most_replicas(self) -> int:
        """More are not looked at: twice what the busiest minute needs, and two."""
        return min(MOST_REPLICAS, math.ceil(2 * self.load.peak_requests_per_s / self.requests_per_s) + 2)

    def held_usd(self, n: int) -> float:
        """USD a month of n replicas around the clock; infinite if they are too few for the work."""
        return n * self.replica_usd_per_month if n >= self.needed_replicas else math.inf

    def scaled_usd(self, floor: int) -> float:
        """USD a month, at the least, of a fleet that holds `floor` replicas and orders more as they are needed."""
        return max(float(floor), self.needed_replicas) * self.replica_usd_per_month

    def overflow_usd(self, n: int, api_usd_per_request: float) -> float:
        """USD a month, at the least, of n replicas around the clock and an API for what they cannot serve."""
        beyond_per_s = self.attainment * self.load.requests_per_s - ALLOWANCE * n * self.requests_per_s
        return n * self.replica_usd_per_month + max(0.0, beyond_per_s) * api_usd_per_request * MONTH_S


def first_token_s(scenario: Scenario, load: Load) -> float:
    """Seconds that one replica with nothing else to do takes for the prompt of a mean request."""
    step_time = scenario.engine.step_time.build(scenario.gpu, scenario.model, scenario.engine)
    return float(step_time.step_s(0, 0.0, ((int(load.input_tokens), 0, True),)))


def api_usd_per_request(scenario: Scenario, load: Load) -> float:
    """USD that the API charges for a mean request at the least: input that a cache could hold is free; 0, which is
    always a bound, where a price depends on the hour or on the length of the prompt."""
    tariff = scenario.prices.api
    rates = tariff.rates(scenario.model.name)
    if tariff.timed or rates.context_tiers:
        return 0.0
    usd_per_mtok = rates.usd_per_mtok_input * load.input_tokens + rates.usd_per_mtok_output * load.output_tokens
    return tariff.batch_multiplier * usd_per_mtok / MTOK


def _itl_s(slo: Slo, load: Load) -> float:
    """The longest mean time between tokens that the SLO allows."""
    limits = [slo.tpot_s, None if slo.e2e_s is None else slo.e2e_s / load.output_tokens]
    return min([limit for limit in limits if limit is not None], default=_NO_LIMIT_S)
