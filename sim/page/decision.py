"""The page of a decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sim.page.downloads import saved_if_small
from sim.page.model import Page, Section
from sim.page.saved.decision import JSON_NAME, Decision, Scenario, Span, read_decision
from sim.page.saved.description import JSON_NAME as DESCRIPTION
from sim.page.saved.description import read_description
from sim.page.saved.run import read_run
from sim.page.sections.bill import bill
from sim.page.sections.break_even import break_even
from sim.page.sections.cells import costs
from sim.page.sections.error_budget import error_budget
from sim.page.sections.flips import flips
from sim.page.sections.frontier import Fleet, frontier, state_of
from sim.page.sections.regret import regret
from sim.page.sections.rests_on import of_a_decision
from sim.page.sections.scenarios import scenarios
from sim.page.sections.timeline import timeline
from sim.page.sections.traffic import traffic
from sim.page.sections.tuning import tuning
from sim.page.sections.use import use
from sim.page.sections.worst_hour import worst_hour
from sim.report.formatting import percent, usd
from sim.study.folder import CONFIG
from sim.study.search.winner_run import FOLDER as WINNER


def decision_page(folder: Path) -> Page:
    """Raises ConfigError for results that cannot be read."""
    found = read_decision(folder)
    run = read_run(folder / WINNER) if (folder / WINNER / CONFIG).is_file() else None
    played = (
        ()
        if run is None
        else (bill(run), use(run), regret(run), worst_hour(run), replace(timeline(run), is_on_paper=False))
    )
    log = (traffic(read_description(folder).traffic),) if (folder / DESCRIPTION).is_file() else ()
    listed = scenarios(found)
    sections = (
        _relaxations(found), flips(found), error_budget(found.error_budget), _costs(found),
        tuning(found), break_even(found.break_even_map), *played, *log, listed,
        of_a_decision(found, run),
    )  # fmt: skip
    files = tuple(saved_if_small(folder / JSON_NAME))
    title = "Decision: which fleet should serve this log"
    return Page("Decision", title, found.sentence, tuple(_below(found)), sections, files)


def _below(found: Decision) -> Iterator[str]:
    second, difference = found.runner_up, found.difference_usd_per_month
    if second is not None and difference is not None and difference.mean is not None:
        sure = "the same in every replication" if difference.low == difference.high else _resolved(difference)
        yield f"The runner-up, {second.name}, costs {usd(difference.mean)} a month more ({sure})."
    if found.probability_best is not None:
        yield f"The winner is the cheapest of the finalists with a probability of {percent(found.probability_best)} %."
    if found.saves_usd_per_month is not None and found.today_usd_per_month is not None:
        verb = "saves" if found.saves_usd_per_month >= 0 else "costs more by"
        amount = usd(abs(found.saves_usd_per_month))
        yield f"Beside today's {usd(found.today_usd_per_month)} a month it {verb} {amount} a month."
    if found.not_resolved:
        yield f"NOT resolved whether they meet the SLO: {'; '.join(found.not_resolved)}."


def _resolved(difference: Span) -> str:
    assert difference.low is not None and difference.high is not None, "has an interval"
    sure = "resolved" if difference.low > 0 or difference.high < 0 else "NOT resolved"
    return f"{sure}: {usd(difference.low)} to {usd(difference.high)}"


def _relaxations(found: Decision) -> Section:
    """What would have to give, where nothing meets the SLO."""
    sentences = tuple(f"{r.what}: {costs(r.usd_per_month)} a month." for r in found.relaxations)
    return Section("relaxations", "The smallest relaxations that some fleet meets", sentences)


def _costs(found: Decision) -> Section:
    fleets = [fleet for one in found.scenarios if (fleet := _fleet(one, found)) is not None]
    title = "Cost against attainment"
    if not fleets:
        return Section("frontier", title)
    meeting = sum(fleet.state == "meets" for fleet in fleets)
    drawn = frontier(
        f"{meeting} of {len(fleets)} fleets that were played meet the SLO", "USD a month", fleets,
        found.slo_target_fraction,
    )  # fmt: skip
    return Section("frontier", title, figures=(drawn,))


def _fleet(one: Scenario, found: Decision) -> Fleet | None:
    cost, attained = one.usd_per_month, one.slo_attainment_fraction
    if cost.mean is None or attained.mean is None:
        return None
    target = found.slo_target_fraction or 0.0
    labels = {final.name: final.name for final in found.finalists}
    return Fleet(
        one.name, cost.mean, _range(cost), attained.mean, _range(attained), one.kind or "fleet",
        state_of(one.slo_judgement, attained.mean >= target), labels.get(one.name, ""),
    )  # fmt: skip


def _range(span: Span) -> tuple[float, float] | None:
    return None if span.low is None or span.high is None else (span.low, span.high)
