"""A decision in words, within 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from sim.report.formatting import number, usd
from sim.study.hardware_error import hardware_error
from sim.study.search.after_the_end import WORTH_SAYING, fraction_after_the_end
from sim.study.search.break_even import BreakEven
from sim.study.search.budget import Budget, Part, age_in_words
from sim.study.search.family import Came
from sim.study.search.flip import Flip
from sim.study.search.found import Found
from sim.study.search.question import JSON_NAME
from sim.study.search.tune import INSTALL
from sim.study.search.wording import answer_lines, attained, costs, relaxation_lines, tuned_lines
from sim.units import DAY_S, HOUR_S, MONTH_S

_FLIPS_SHOWN = 8
_EXACT = 1e-4
"""A half-width below this fraction is none."""


def sentence(found: Found) -> str:
    """The answer in one sentence, with its interval."""
    winner = found.answer.winner
    model = found.question.base.config["model"]["name"]
    if winner is None:
        return f"Nothing that was looked at serves {model} for this log within the SLO."
    error = hardware_error(found.lab.scenario(winner.candidate))
    unproven = " No server with this card was measured: its speed is borrowed." if error and error.is_borrowed else ""
    name = found.name_of(winner.candidate)
    return f"Serve {model} with {name}: {costs(winner.cost)}; {attained(winner.judgement)}.{unproven}"


def saves(found: Found) -> float | None:
    """US dollars a month that the winner costs less than what is paid today; None: one of the two is not known."""
    winner, today = found.answer.winner, found.question.today_usd_per_month
    return None if winner is None or today is None else today - (winner.cost.mean or 0.0)


def lines(found: Found) -> Iterator[str]:
    """The whole answer, a line for each thing, not yet broken at 80 columns."""
    yield sentence(found)
    yield from list(answer_lines(found.answer, found.name_of))[2:]
    if not found.feasible:
        yield from relaxation_lines(found.relaxed, found.name_of)
    yield from tuned_lines(found.answer, found.name_of)
    if found.not_tuned:
        yield f"thresholds and timeouts are not searched ({', '.join(found.not_tuned)}): {INSTALL}"
    saved = saves(found)
    if saved is not None:
        verb = "saves" if saved >= 0 else "costs more by"
        yield f"beside today's {usd(found.question.today_usd_per_month)} a month it {verb} {usd(abs(saved))} a month"
    if found.robustness is not None:
        yield from budget_lines(found.robustness.budget)
    yield from _flip_lines(found)
    if found.answer.open:
        yield f"NOT resolved whether they meet the SLO: {'; '.join(map(found.name_of, found.answer.open))}"
    yield from _left_out_lines(found)
    yield "it rests on:"
    yield from (f"  {line}" for line in rests_on(found))
    for line in found.commands:
        yield f"again, on fresh seeds: {line}"


def _flip_lines(found: Found) -> Iterator[str]:
    if found.robustness is None:
        return
    flips = found.robustness.flips
    turning = [flip for flip in flips if flip.change is not None]
    yield "what would change the answer, one input at a time, the nearest first:"
    if not turning:
        yield "  nothing that was looked at"
    for flip in turning[:_FLIPS_SHOWN]:
        yield f"  {_flip_words(flip)}"
    if len(turning) > _FLIPS_SHOWN:
        yield f"  {len(turning) - _FLIPS_SHOWN} that lie farther off: decision.json"
    stays = [f"{flip.name} ({_range(flip)})" if flip.searched else flip.name
             for flip in flips if flip.change is None and not flip.why_not]  # fmt: skip
    if stays:
        yield f"  alone they do not: {', '.join(stays)}"
    for flip in flips:
        if flip.why_not:
            yield f"  {flip.name}: not searched: {flip.why_not}"
    yield "cheapest fleet by volume (across) and burstiness (down), see decision.json:"
    yield from map_lines(found.robustness.map)


def _flip_words(flip: Flip) -> str:
    key = flip.key if flip.how == "priced" else flip.name
    to = f"{flip.to} wins ({flip.because})" if flip.to else flip.because
    return f"{key}: {number(flip.value)} -> {number(flip.flips_at, 4)} ({_signed(flip.change)}{_between(flip)}): {to}"


def _between(flip: Flip) -> str:
    if flip.low is None or flip.flips_at is None or number(flip.low, 4) == number(flip.high, 4):
        return ""
    if flip.high is None:
        return f"; from {number(flip.low)} on"
    return f"; {number(min(flip.low, flip.high))} to {number(max(flip.low, flip.high))}"


def _range(flip: Flip) -> str:
    return f"{number(min(flip.searched))} to {number(max(flip.searched))}"


def _signed(fraction: float | None) -> str:
    return f"{'+' if (fraction or 0) >= 0 else '-'}{number(100 * abs(fraction or 0.0), 3)} %"


def map_lines(table: BreakEven) -> Iterator[str]:
    """The map as rows of letters, and what each letter stands for."""
    names = list(dict.fromkeys(name for row in table.winners for name in row))
    letters = {name: "-" if name is None else chr(ord("A") + place) for place, name in enumerate(names)}
    yield "  volume x      " + "".join(f"{number(volume):>6}" for volume in table.volumes)
    for exponent, row in zip(table.bursts, table.winners, strict=True):
        yield f"  bursts ^ {number(exponent):<5} " + "".join(f"{letters[name]:>6}" for name in row)
    for name, letter in letters.items():
        yield f"  {letter}: {name or 'no finalist meets the SLO'}"


def budget_lines(budget: Budget) -> Iterator[str]:
    """The error budget: each part with what it rests on, and together."""
    yield "error budget, 95 % ranges: " + "  ".join(f"{_wide(part)} {part.name}" for part in budget.parts)
    yield f"  together {_wide(budget.together)}: {budget.together.basis}"
    for part in budget.parts:
        verdict = {True: "survives", False: "does NOT survive", None: "unknown"}[part.survives]
        yield f"  {verdict} {part.name}: {part.basis}"


def _wide(part: Part) -> str:
    """A range as ± per cent, or with two signs where its sides differ."""
    low, high = part.low_fraction, part.high_fraction
    if low is None or high is None:
        return "±?"
    if max(-low, high) < _EXACT:
        return "±0 %"
    down, up = number(-100 * low, 2), number(100 * high, 2)
    return f"±{up} %" if down == up else f"-{down}/+{up} %"


def _left_out_lines(found: Found) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in found.left_out:
        by_reason.setdefault(reason.partition(": use ")[0], []).append(name)
    yield f"left out or given up (each by name in {found.folder / JSON_NAME}):"
    for came in (Came.BOUND, Came.DEARER, Came.SHORT):
        if names := by_reason.pop(str(came), []):
            yield f"  {len(names)} families: {came}"
    too_big = [name for reason, names in by_reason.items() if " GB of weights" in reason for name in names]
    if too_big:
        yield f"  {len(too_big)} choices of hardware: the model does not fit ({'; '.join(too_big)})"
    for reason, names in by_reason.items():
        if " GB of weights" not in reason:
            yield f"  {'; '.join(names)}: {reason}"


def rests_on(found: Found) -> Iterator[str]:
    """What the answer rests on: log, traffic, SLO, prices, winner, card, windows, simulations."""
    asked, config = found.question, found.question.base.config
    card, gpu, api = asked.card, config["prices"]["gpu"], config["prices"]["api"]
    long = (
        f"{number(card.span_s / DAY_S)} days" if card.span_s >= 2 * DAY_S else f"{number(card.span_s / HOUR_S)} hours"
    )
    yield (
        f"log: {card.requests:,} requests in {long}, {number(card.lengths.input.mean)} tokens in and "
        f"{number(card.lengths.output.mean)} out on average; a month is {number(MONTH_S / card.span_s)} times as long"
    )
    if asked.n_days < 2:
        yield (
            "traffic: less than two whole days, so the month repeats this log; the error budget draws twelfths of it "
            "anew, and says nothing of hours that it does not hold"
        )
    else:
        yield f"traffic: each replication draws its {asked.n_days} days anew, so intervals hold days like these"
    limits = {key: value for key, value in config["slo"].items() if value is not None and "deadline" not in key}
    yield "SLO: " + ", ".join(f"{key}={value}" for key, value in limits.items())
    listed = [f"{of['provider']}, {of['as_of']}{_age(of['as_of'], asked.today)}" for of in (gpu, api)]
    yield f"GPU prices: {listed[0]}; API prices: {listed[1]}"
    if found.answer.winner is not None:
        scenario = found.lab.scenario(found.answer.winner.candidate)
        served = (
            f"{scenario.model.name} on {scenario.gpu.name}" if scenario.has_fleet else f"{scenario.model.name} by API"
        )
        seeds = "played once" if found.answer.winner.repeats else f"{found.answer.n_fresh} fresh replications"
        yield f"winner: {served}, seed {found.lab.seed + 1}, {seeds}"
        after = fraction_after_the_end(found.answer.winner.samples)
        if after >= WORTH_SAYING:
            yield (
                f"bill: {number(100 * after, 2)} % of it is GPU time after the log's end, until its last answers are "
                "done; the longer the log, the smaller this part"
            )
        if spot := scenario.reliability.spot or next(
            (p.scenario.reliability.spot for p in scenario.pool_list if p.scenario.reliability.spot), None
        ):
            yield (
                f"spot: lives of {number(spot.mean_lifetime_s / HOUR_S)} h on average in {spot.n_zones} zones, some of "
                "them taken back together: assumed, ask your provider (conf/reliability/spot.yaml)"
            )
        error = hardware_error(scenario)
        yield from error.lines() if error is not None else ()
    if found.windows is not None:
        yield str(found.windows)
    robust = found.robustness.n_played if found.robustness else 0
    families = found.answer.searched
    played = sum(s.came is not Came.BOUND for s in families)
    ruled_out = f"{played} of {len(families)} families were played, the rest ruled out on paper"
    further = f", {robust} more for what would change the answer" if robust else ""
    yield f"{found.answer.n_played} simulations{further}; {ruled_out}"


def _age(as_of: str, today: date) -> str:
    """How old a list is, where an answer on it must say so."""
    age = age_in_words(as_of, today)
    return f" ({age})" if age and age not in as_of else ""
