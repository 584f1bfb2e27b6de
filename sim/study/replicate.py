"""Play one or all replications of a scenario: simulate, audit, sum up, price, summarize; then take the intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from sim.ledger.audit import audit
from sim.ledger.bill import bill, money, money_by_application
from sim.ledger.usage import Usage
from sim.report.metrics import summarize
from sim.scenarios import Scenario
from sim.simulation import simulate as play
from sim.study.enough import Enough, few_requests
from sim.study.hardware_error import hardware_error
from sim.study.hindsight import KEYS, hindsight
from sim.study.played import PlayedRun, Result
from sim.study.setting import setting_of
from sim.study.steadiness import Steadiness

if TYPE_CHECKING:
    from sim.workload.logs.receipt import Receipt


def simulate(scenario: Scenario, replication: int = 0) -> PlayedRun:
    """Play one replication of a scenario and keep everything. Raises SimError.

    The same scenario, seed and replication give the same numbers on every machine.

    >>> import sim
    >>> run = sim.simulate(sim.scenario("lengths=fixed", horizon_s=60, **{"arrivals.rate_per_s": 0.5}))
    >>> len(run.requests) == run.summary["requests"], float(run.bill["usd"].sum()) > 0
    (True, True)
    """
    run = play(scenario, scenario.seed, replication)
    audit(run.facts)
    usage = Usage.from_facts(run.facts)
    lines = bill(usage, scenario.prices, *priced_names(scenario))
    figures = money(lines, usage) | money_by_application(usage, scenario.prices, *priced_names(scenario))
    bound = hindsight(run, figures)
    figures |= bound.figures() if bound else dict.fromkeys(KEYS)
    own = {number: application.slo for number, application in enumerate(scenario.application_list)}
    return PlayedRun(run, usage, lines, summarize(run.facts, usage, figures, scenario.slo, own), bound)


def replicate(
    scenario: Scenario,
    replications: int | Literal["auto"] | None = None,
    keep_runs: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Play every replication of a scenario, each with its own random streams. Raises SimError.

    `replications` defaults to the scenario's; "auto" adds as many as its `study.precision` needs, and a note says which
    metric was the last. A run holds every request; `keep_runs` keeps them for `Result.requests` and `Result.spans`.
    `on_progress(done, of)` is called after each replication; `of` is the number planned so far.

    >>> import sim
    >>> base = sim.scenario("lengths=fixed", horizon_s=60, **{"arrivals.rate_per_s": 0.5})
    >>> result = sim.replicate(base, replications=3)
    >>> result["ttft_p99_s"].mean > 0, result["ttft_p99_s"].half_width > 0
    (True, True)
    """
    summaries: list[dict[str, Any]] = []
    notes: dict[str, None] = {}
    usages, bills, runs = [], [], []
    enough, steadiness = Enough(scenario, replications), Steadiness(scenario)
    for size in enough.sizes(summaries):
        for number in range(len(summaries), size):
            played = simulate(scenario, number)
            steadiness.add(played.run.facts)
            summaries.append(played.summary)
            usages.append(played.usage)
            bills.append(played.bill)
            notes |= dict.fromkeys(played.notes)
            if keep_runs:
                runs.append(played.run)
            if on_progress is not None:
                on_progress(number + 1, size)
    notes |= dict.fromkeys(
        [*_notes_on_slos(scenario), *steadiness.notes(), *few_requests(summaries), *enough.reasons()]
    )
    error, summary = hardware_error(scenario), enough.row(summaries)
    return Result(
        summary, summaries, usages, bills, runs, tuple(notes), scenario.name, receipts_of(scenario),
        enough.confidence, model_error=error and error.as_dict(), hardware=tuple(error.lines() if error else ()),
        setting=setting_of(scenario, usages[0].moment_zero, summary["window_s"], summary["replications"]),
    )  # fmt: skip


def _notes_on_slos(scenario: Scenario) -> Iterator[str]:
    for name, own in scenario.applications.items():
        if own.slo is not None:
            yield from own.slo.notes(f"applications.{name}.slo")
    yield from scenario.slo.notes()


def receipts_of(scenario: Scenario) -> tuple[Receipt, ...]:
    """The receipt of each request log that the traffic comes from: how it was read. Raises TraceError."""
    return scenario.workload.receipts


def priced_names(scenario: Scenario) -> tuple[str, str]:
    """The names under which the price tables know this scenario's GPU and model."""
    return scenario.gpu.name, scenario.model.name
