"""What the GPUs of a finished run had to cost at least, and so how much of the bill the policy is to blame for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sim.columns import Columns, n_rows, select
from sim.hardware.fits import kv_blocks_of, weight_bytes_per_gpu
from sim.hardware.least_work import LeastWork, least_work
from sim.ledger.plans.base import GpuPlan
from sim.ledger.plans.committed import CommittedPlan
from sim.ledger.plans.metered import MeteredPlan
from sim.ledger.replica_path import Jobs, Path, Terms, cheapest_path, most_replicas, replicas_beyond_s
from sim.ledger.usage import of_window
from sim.records import Backend, Facts, Outcome, ReplicaState, Window
from sim.report.by_application import attained_by_application
from sim.report.slo import Slo
from sim.report.tables import hindsight_line
from sim.scenarios import Scenario
from sim.simulation import Run
from sim.units import HOUR_S


class Hindsight(NamedTuple):
    """The GPU part of a bill beside the least that any policy could have paid for the same service. US dollars.

    `usd` is a lower bound, so `regret_usd` = bill - `usd` is the most that a better policy could have saved. `usd` is
    `work_usd`, what the requests take in the fullest batches whenever that suits, and what their times force beyond
    that: peaks, whole replicas, and `cold_start_usd` of starts. Regret is first the cold starts beyond those, then idle
    time, and the rest: replicas that were busy with fewer requests than they could serve, rounding, and commitments.
    """

    usd: float
    work_usd: float
    cold_start_usd: float
    regret_usd: float
    regret_cold_start_usd: float
    regret_idle_usd: float

    def figures(self) -> dict[str, float | None]:
        """The keys of summary.json."""
        return dict(zip(KEYS, self, strict=True))

    def __str__(self) -> str:
        return hindsight_line(self.figures())


KEYS = (
    "hindsight_usd", "hindsight_work_usd", "hindsight_cold_start_usd", "regret_usd", "regret_cold_start_usd",
    "regret_idle_usd",
)  # fmt: skip
"""Keys of summary.json, one for each field of a Hindsight."""


def hindsight(run: Run, figures: Mapping[str, float | None]) -> Hindsight | None:
    """The bound on the GPU part of a run's bill, of which `figures` are `sim.ledger.bill.money`.

    None where it is not covered (see `least_gpu_usd`).
    """
    scenario, facts = run.scenario, run.facts
    if len(facts.pools) != 1 or scenario.disaggregation is not None:
        return None
    rows = of_window(facts.requests, facts.window)
    rows &= (facts.requests["outcome"] == Outcome.FINISHED) & (facts.requests["backend"] == Backend.FLEET)
    requests = facts.requests if rows.all() else select(facts.requests, rows)
    found = least_gpu_usd(scenario, requests, facts.window, _shortest_start_s(scenario, facts))
    if found is None:
        return None
    paid, cold, idle = (float(figures[key] or 0.0) for key in ("usd_gpu", "usd_cold_start", "usd_idle"))
    regret = max(paid - found.usd, 0.0)
    regret_cold = min(max(cold - found.cold_start_usd, 0.0), regret)
    return Hindsight(
        found.usd, found.work_usd, found.cold_start_usd, regret, regret_cold, min(idle, regret - regret_cold)
    )


def repriced(figures: Mapping[str, Any], old: GpuPlan, new: GpuPlan, gpu: str) -> dict[str, Any]:
    """The KEYS of a run under another plan, from those under its own: by the price of a GPU-second, where nothing else
    differs. None otherwise: other terms of billing may make another path the cheapest."""
    known = {key: figures[key] for key in KEYS if key in figures}
    price = {old.priced_by: None, new.priced_by: None, "provider": None, "as_of": None}
    if old == new:
        return known
    is_scaled = isinstance(old, MeteredPlan) and old.model_dump() | price == new.model_dump() | price
    factor = new.usd_per_gpu_s(gpu) / old.usd_per_gpu_s(gpu) if is_scaled else None
    return {key: None if usd is None or factor is None else factor * usd for key, usd in known.items()}


class LeastUsd(NamedTuple):
    """A lower bound on the GPU part of a bill, its part for the bare work, and its part for cold starts. USD."""

    usd: float
    work_usd: float
    cold_start_usd: float


def least_gpu_usd(scenario: Scenario, requests: Columns, window: Window, start_s: float) -> LeastUsd | None:
    """What replicas of the scenario cost at least to finish these requests, by any policy, from the first to the last.

    `requests`: columns of REQUEST_COLUMNS, of finished requests. Those that attain the SLO must do so again; the others
    must finish at any time. Moments of arrival are taken as given: where calls wait for answers, another policy has
    others. Prompt tokens that were found cached are free, and no others are. `start_s`: seconds of the shortest start.

    None where nothing is known: several pools, prefill and decode apart, or a plan that is neither metered by the life
    of replicas nor a commitment. Metered power of owned GPUs is left out, so a bound of theirs is lower than it could
    be. Search may leave out whatever costs more than a bound of the same requests allows.
    """
    if scenario.disaggregation is not None or len(scenario.pool_list) != 1:
        return None
    plan, gpus = scenario.prices.gpu, scenario.engine.tensor_parallel
    works = _Works(scenario, requests, window)
    usd_per_replica_s = plan.usd_per_gpu_s(scenario.gpu.name) * gpus
    work_s = works.work_s
    if isinstance(plan, MeteredPlan):
        billed_start_s = start_s if plan.bills_cold_start else 0.0
        terms = Terms(billed_start_s, plan.minimum_s, plan.billing_granularity_s)
        path = max(cheapest_path(works, terms, window), Path(work_s, 0.0))
        return LeastUsd(*(seconds * usd_per_replica_s for seconds in (path.replica_s, work_s, path.start_s)))
    if isinstance(plan, CommittedPlan):
        held_usd = _committed_usd(plan, scenario.gpu.name, gpus, works, window, start_s)
        return LeastUsd(held_usd, min(work_s * usd_per_replica_s, held_usd), 0.0)
    return None


def _committed_usd(
    plan: CommittedPlan, gpu: str, gpus_per_replica: int, works: _Works, window: Window, start_s: float
) -> float:
    """What a commitment costs at least: its GPUs for the whole window, and replicas beyond it while they are needed."""
    gpus = plan.gpus if plan.gpus is not None else most_replicas(works, window) * gpus_per_replica
    held = -(-gpus // plan.gpus_per_node) * plan.gpus_per_node
    found = held * window.length_s * plan.usd_per_gpu_s(gpu)
    if gpu not in plan.usd_per_gpu_hour_beyond:
        return found
    beyond = plan.usd_per_gpu_hour_beyond[gpu] / HOUR_S
    replicas_held, spare = divmod(held, gpus_per_replica)
    seconds = replicas_beyond_s(works, Terms(start_s), window, replicas_held)
    own = [gpus_per_replica - (spare if number == 0 else 0) for number in range(len(seconds))]
    return found + beyond * sum(s * n for s, n in zip(seconds, own, strict=True))


class _Works:
    """The jobs of the requests that lie in the window, as prompts and as answers: a bound each, since one step may do
    both. They are made anew whenever they are gone through, as each takes as much memory as a run has requests.

    `work_s`: the larger of the replica-seconds that the prompts and the answers of all the requests take at least.
    """

    def __init__(self, scenario: Scenario, requests: Columns, window: Window):
        self._scenario = scenario
        self._requests = requests
        self._window = window
        self.work_s = 0.0
        if n_rows(requests):
            bounds = _bounds(scenario, bool(requests["cached_input_tokens"].any()))
            sums_s = [float(self._answers_s(least).sum()) for least in bounds]
            self._answers = bounds[sums_s.index(max(sums_s))]
            self._prompts = bounds[-1]
            self.work_s = max(float(self._prompts_s().sum()), max(sums_s))

    def __iter__(self) -> Iterator[Jobs]:
        if n_rows(self._requests):
            yield self._jobs(0, self._prompts_s, lambda: np.zeros(n_rows(self._requests)))
            yield self._jobs(1, partial(self._answers_s, self._answers), self._alone_s)

    def _jobs(self, last_token: int, work_s: Callable[[], np.ndarray], fastest_s: Callable[[], np.ndarray]) -> Jobs:
        """Jobs from arrival to the first token (0), or to the last one (1)."""
        released_s, deadline_s = self._requests["arrived_s"], _deadlines(self._scenario, self._requests)[last_token]
        inside = (released_s >= self._window.start_s) & (deadline_s <= self._window.end_s)
        released_s = released_s[inside]
        deadline_s = deadline_s[inside]
        return Jobs(released_s, deadline_s, fastest_s()[inside], work_s()[inside])

    def _prompts_s(self) -> np.ndarray:
        """Replica-seconds that each prompt takes at least, float64[n]."""
        new_tokens = self._requests["input_tokens"] - self._requests["cached_input_tokens"]
        found: np.ndarray = new_tokens * self._prompts.per_prompt_token_s
        return found

    def _answers_s(self, least: LeastWork) -> np.ndarray:
        """Replica-seconds that each answer takes at least, float64[n]."""
        return np.maximum(self._requests["output_tokens"] - 1, 0) * _own_s(least, self._requests)

    def _alone_s(self) -> np.ndarray:
        """Seconds that each answer takes at least on a replica that does nothing else, float64[n]."""
        least = self._answers
        alone_s: np.ndarray = least.alone_s + least.alone_context_s * self._requests["input_tokens"]
        return np.maximum(self._requests["output_tokens"] - 1, 0) * alone_s


def _own_s(least: LeastWork, requests: Columns) -> np.ndarray:
    """The part of a step that each generated token of a request takes at least, float64[n]."""
    own_s: np.ndarray = least.per_token_s + least.per_context_token_s * requests["input_tokens"]
    return own_s


def _deadlines(scenario: Scenario, requests: Columns) -> tuple[np.ndarray, np.ndarray]:
    """When the first and the last token is due, float64[n] each: infinite without a limit, or if it was late anyway."""
    own = {number: application.slo for number, application in enumerate(scenario.application_list)}
    attained = attained_by_application(requests, scenario.slo, own)
    first_s, done_s = _limits(scenario.slo, requests)
    for number, slo in own.items():
        rows = requests["application"] == number
        own_first_s, own_done_s = _limits(slo, requests)
        first_s, done_s = np.where(rows, own_first_s, first_s), np.where(rows, own_done_s, done_s)
    due = [np.where(attained, requests["arrived_s"] + limit_s, np.inf) for limit_s in (first_s, done_s)]
    return due[0], due[1]


def _limits(slo: Slo, requests: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Seconds from arrival to the first and to the last token that the SLO allows, float64[n]; infinite if it does not
    say."""
    later_tokens = np.maximum(requests["output_tokens"] - 1, 0)
    done_s = np.full(len(later_tokens), np.inf if slo.e2e_s is None else slo.e2e_s)
    for gap_s in (slo.tpot_s, slo.itl_max_s):
        if gap_s is not None:
            done_s = np.minimum(done_s, slo.ttft_s + later_tokens * gap_s)
    first_s = np.minimum(slo.ttft_s, done_s)
    if slo.deadline_from_priority is not None:
        can_wait = requests["priority"] >= slo.deadline_from_priority
        first_s, done_s = np.where(can_wait, np.inf, first_s), np.where(can_wait, slo.deadline_s, done_s)
    return first_s, done_s


_known: dict[tuple[str, bool], list[LeastWork]] = {}


def _bounds(scenario: Scenario, shares_memory: bool) -> list[LeastWork]:
    """The bounds of this hardware, model and engine, computed once in a process."""
    gpu, model, engine = scenario.gpu, scenario.model, scenario.engine
    key = json.dumps([part.model_dump() for part in (gpu, model, engine)], sort_keys=True, default=str)
    if (key, shares_memory) not in _known:
        kv_tokens = None if shares_memory else kv_blocks_of(gpu, model, engine) * engine.block_tokens
        ranks = engine.attention_data_parallel
        of_a_rank = least_work(
            engine.step_time.rank(gpu, model, engine), engine.max_num_seqs, engine.max_num_batched_tokens, kv_tokens,
            engine.speculative is not None,
        )  # fmt: skip
        _known[key, shares_memory] = [bound.over_ranks(ranks) for bound in of_a_rank]
    return _known[key, shares_memory]


def _shortest_start_s(scenario: Scenario, facts: Facts) -> float:
    """Seconds of the shortest start of the run; without one, the mean of the cold-start model. A luckier start than all
    of these is not thought of."""
    spans = facts.spans
    ready = np.unique(spans["replica_id"][np.isin(spans["state"], (ReplicaState.IDLE, ReplicaState.BUSY))])
    cold = (spans["state"] <= ReplicaState.ENGINE_START) & np.isin(spans["replica_id"], ready)
    if not cold.any():
        engine = scenario.engine
        return scenario.cold_start.mean_s(weight_bytes_per_gpu(scenario.model, engine) * engine.tensor_parallel)
    begun = np.lexsort((spans["start_s"][cold], spans["replica_id"][cold]))
    replica, start_s, end_s = (spans[name][cold][begun] for name in ("replica_id", "start_s", "end_s"))
    fresh = np.ones(len(replica), bool)
    fresh[1:] = (replica[1:] != replica[:-1]) | (start_s[1:] > end_s[:-1] + 1e-6)
    return float(np.add.reduceat(end_s - start_s, np.flatnonzero(fresh)).min())
