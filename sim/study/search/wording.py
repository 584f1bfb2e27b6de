"""A search's answer in words, within 80 columns, and as plain data."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sim.knob import text
from sim.report.attainment import Judgement, Verdict
from sim.report.estimators import Interval, Sureness
from sim.report.formatting import number, percent, usd
from sim.study.search.evidence import Candidate, Evidence
from sim.study.search.race import Answer, Final
from sim.study.search.relaxation import Relaxation

WIDTH = 80
NOT_TAKEN = "; that it is the cheaper one within the SLO does not stand there, so it stays as configured"
_CENT_USD, _EXACT = 0.01, 1e-4


def wrapped(lines: Sequence[str]) -> str:
    """The lines, broken at 80 columns where they are longer; further lines are indented."""
    return "\n".join(
        part for line in lines for part in textwrap.wrap(
            line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        ) or [""]
    )  # fmt: skip


def costs(cost: Interval) -> str:
    """Dollars a month with their half-width; '(no chance in it)' is said elsewhere."""
    return f"{usd(cost.mean)}{_width(cost)} a month"


def _width(cost: Interval) -> str:
    """' ±$12'; '' where it is not known, below a cent, or below 0.01 % of the cost; the bounds where the half-width is
    no less than the cost itself."""
    if cost.sureness is Sureness.UNKNOWN and cost.low is not None:
        return f" ({usd(cost.low)} to {usd(cost.high)})"
    width = cost.half_width
    return "" if width is None or width < max(_CENT_USD, _EXACT * abs(cost.mean or 0.0)) else f" ±{usd(width)}"


def attained(judgement: Judgement) -> str:
    """The share of calls that attain the SLO, its interval, and its verdict where that is not 'meets'."""
    found = judgement.attainment
    share = f"{percent(found.mean)} % of calls attain the SLO"
    if judgement.verdict is Verdict.NOT_TESTED:
        return f"{share} (every replication is the same run)"
    bounds = f"{percent(found.low)} to {percent(found.high)} % by {found.replications} replications"
    doubt = "" if judgement.verdict is Verdict.MEETS else f"; {judgement.verdict}"
    return f"{share} ({bounds}{doubt})"


def answer_lines(answer: Answer, name_of: Callable[[Candidate], str]) -> Iterator[str]:
    """The winner, the runner-up with its difference, and how sure the choice is."""
    winner, second = answer.winner, answer.runner_up
    if winner is None:
        return
    yield f"cheapest that meets the SLO: {name_of(winner.candidate)}"
    yield f"  {costs(winner.cost)}; {attained(winner.judgement)}"
    if second is None or answer.difference is None:
        yield "runner-up: none, nothing else that was asked for meets the SLO"
    else:
        yield f"runner-up: {name_of(second.candidate)}"
        yield f"  {usd(answer.difference.mean)} a month more ({_resolved(answer)})"
    if answer.probability_best is not None:
        yield f"the cheapest of the finalists with a probability of {percent(answer.probability_best)} %"
    if not winner.repeats:
        yield f"winner's curse: {_curse(winner)}"


def _resolved(answer: Answer) -> str:
    if all(final.repeats for final in answer.finals[:2]):
        return "the same in every replication"
    difference = answer.difference
    assert difference is not None, "asked for only with a runner-up"
    if not difference.excludes_zero:
        return f"NOT resolved: ±{usd(difference.half_width)}, paired"
    return f"resolved:{_width(difference)}, paired" if _width(difference) else "resolved: exact, paired"


def _curse(winner: Final) -> str:
    gap = (winner.cost.mean or 0.0) - (winner.search_cost.mean or 0.0)
    is_same = abs(gap) < max(_CENT_USD, _EXACT * (winner.cost.mean or 0.0))
    apart = "the same" if is_same else f"{usd(abs(gap))} {'more' if gap >= 0 else 'less'}"
    return f"the search saw {costs(winner.search_cost)}, fresh seeds {apart}"


def tuned_lines(answer: Answer, name_of: Callable[[Candidate], str]) -> Iterator[str]:
    """Which thresholds and timeouts were tuned, from what to what, and what that saves."""
    for tuned in answer.tuned:
        tuning, saves = tuned.tuning, tuned.saves
        name = name_of(tuning.before)
        if saves is None:
            ranges = ", ".join(f"{key} from {number(low)} to {number(high)}" for key, _, low, high in tuning.ranges)
            yield (
                f"tuning {name}: none of {len(tuning.trials)} trials of {ranges} is shown to cost less within the SLO "
                "than as configured"
            )
            continue
        turned = ", ".join(f"{key} {text(was)} -> {text(tuning.values[key])}" for key, was, _, _ in tuning.ranges)
        yield f"tuned {name}: {turned}"
        yield f"  {saving(saves)}{'' if tuned.is_taken else NOT_TAKEN}"


def saving(saves: Interval) -> str:
    """What tuning saves on fresh seeds, and whether that is resolved."""
    verb = "saves" if (saves.mean or 0.0) >= 0 else "costs more by"
    if saves.half_width is None or not _width(saves):
        sure = "exact, paired"
    elif saves.excludes_zero:
        sure = f"resolved:{_width(saves)}, paired"
    else:
        sure = f"NOT resolved:{_width(saves)}, paired"
    return f"{verb} {usd(abs(saves.mean or 0.0))} a month on fresh seeds ({sure})"


def tuned_data(answer: Answer, name_of: Callable[[Candidate], str]) -> list[dict[str, Any]]:
    """What was tuned as plain data."""
    return [
        {
            "name": name_of(tuned.tuning.before), "words": tuned.tuning.after, "trials": len(tuned.tuning.trials),
            "knobs": [
                {"key": key, "configured": was, "tuned": tuned.tuning.values.get(key), "low": low, "high": high}
                for key, was, low, high in tuned.tuning.ranges
            ],
            "saves_usd_per_month": None if tuned.saves is None else interval_data(tuned.saves),
            "is_taken": tuned.is_taken,
        }
        for tuned in answer.tuned
    ]  # fmt: skip


def relaxation_lines(found: Sequence[Relaxation], name_of: Callable[[Candidate], str]) -> Iterator[str]:
    """What would have to give, where nothing meets the SLO."""
    yield "nothing that was asked for meets the SLO; the smallest relaxations found:"
    for relaxation in found:
        yield f"  {relaxation.what}: {name_of(relaxation.candidate)}, {costs(relaxation.cost)}"


def final_data(final: Final, name_of: Callable[[Candidate], str]) -> dict[str, Any]:
    """A finalist as plain data."""
    judged = final.judgement
    return {
        "name": name_of(final.candidate), "words": final.candidate, "usd_per_month": interval_data(final.cost),
        "search_usd_per_month": interval_data(final.search_cost), "slo_judgement": str(judged.verdict),
        "slo_attainment_fraction": interval_data(judged.attainment), "repeats": final.repeats,
    }  # fmt: skip


def answer_data(answer: Answer, evidence: Evidence, name_of: Callable[[Candidate], str]) -> dict[str, Any]:
    """The whole answer as plain data."""
    finals = [final_data(final, name_of) for final in answer.finals]
    return {
        "winner": finals[0] if finals else None,
        "runner_up": finals[1] if len(finals) > 1 else None,
        "difference_usd_per_month": None if answer.difference is None else interval_data(answer.difference),
        "probability_best": answer.probability_best,
        "finalists": finals,
        "not_resolved": [name_of(candidate) for candidate in answer.open],
        "simulations": answer.n_played,
        "families": [
            {"name": s.family.name, "came": str(s.came), "best": None if s.best is None else name_of(s.best),
             "usd_per_month": None if s.best is None else interval_data(evidence.cost(s.best)),
             "scanned": s.scanned}
            for s in answer.searched
        ],
    }  # fmt: skip


def interval_data(interval: Interval) -> dict[str, Any]:
    """An interval as plain data."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "replications": interval.replications}


def count_line(answer: Answer, n_grid: int, n_scenarios: int) -> str:
    """How many simulations were run of how many a full grid would need."""
    share = number(100 * answer.n_played / n_grid, 2) if n_grid else "–"
    return f"{answer.n_played} simulations of {n_grid:,} that the full grid of {n_scenarios} would need ({share} %)"
