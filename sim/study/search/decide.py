"""`llm-traffic-sim decide LOG`: which fleet should serve this log within its SLO, from the log alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from sim.composition import Composition, text_of
from sim.report.formatting import number, usd
from sim.report.slo import Slo
from sim.scenarios import Scenario
from sim.schema import ConfigError, parse_config
from sim.study.folder import digest, files_named_in, plain, write_json
from sim.study.hardware_error import hardware_error
from sim.study.search.evidence import Candidate, Evidence
from sim.study.search.family import Came
from sim.study.search.flip import Billed, Flip, flips
from sim.study.search.lab import Lab, Progress
from sim.study.search.paper import Load
from sim.study.search.plan import command
from sim.study.search.portfolio import Portfolio, portfolio
from sim.study.search.race import FRESH_REPLICATIONS, Answer, Final, search
from sim.study.search.relaxation import Relaxation, relaxations
from sim.study.search.scenarios_played import scenarios_played
from sim.study.search.winner_run import play_winner
from sim.study.search.wording import (
    answer_data,
    answer_lines,
    attained,
    costs,
    interval_data,
    relaxation_lines,
    wrapped,
)
from sim.units import DAY_S, HOUR_S, MONTH_S
from sim.workload.arrivals.replay import Replay
from sim.workload.description.calls import DescribedLog
from sim.workload.description.card import Card, card_of
from sim.workload.logs.receipt import Receipt

JSON_NAME, DESCRIPTION = "decision.json", "description.json"
MOST = 20
"""Replications of one fleet at most in the search."""
_TODAY = "today.usd_per_month"
_FLIPS_SHOWN = 4


@dataclass(frozen=True, eq=False)
class Question:
    """A log, and what is fixed beside it."""

    base: Composition
    card: Card
    receipt: Receipt
    load: Load
    slo: Slo
    today_usd_per_month: float | None
    n_days: int
    """Whole days of the log."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What `decide` found. As text: what the command line prints."""

    question: Question
    answer: Answer
    evidence: Evidence
    portfolio: Portfolio
    lab: Lab
    relaxed: tuple[Relaxation, ...]
    folder: Path

    @property
    def feasible(self) -> bool:
        return self.answer.winner is not None

    def name_of(self, candidate: Candidate) -> str:
        return self.portfolio.names[candidate]

    @cached_property
    def flips(self) -> list[Flip]:
        """The distance of each price to where the runner-up wins; [] without a runner-up."""
        if self.answer.winner is None or self.answer.runner_up is None:
            return []
        return flips(self._billed(self.answer.winner), self._billed(self.answer.runner_up))

    def _billed(self, final: Final) -> Billed:
        scenario, prices = self.lab.scenario(final.candidate), self.lab.config(final.candidate)["prices"]
        return Billed(prices, scenario.gpu.name, scenario.model.name, final.samples)

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Families that were not played or given up, and what does not fit, each with the reason."""
        given_up = [(s.family.name, str(s.came)) for s in self.answer.searched if s.came is not Came.MEETS]
        return [*given_up, *self.portfolio.left_out]

    @property
    def commands(self) -> list[str]:
        """Command lines that play the finalists on the fresh seeds."""
        return [
            command(self.question.base, final.candidate, 1 if final.repeats else FRESH_REPLICATIONS)
            for final in self.answer.finals
            if isinstance(final.candidate, tuple)
        ]

    def __str__(self) -> str:
        return wrapped(list(_lines(self)))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data: what decision.json holds."""
        question = self.question
        relaxed = [{"what": r.what, "words": r.candidate, "usd_per_month": interval_data(r.cost)} for r in self.relaxed]
        found = answer_data(self.answer, self.evidence, self.name_of) | {
            "sentence": _sentence(self), "today_usd_per_month": question.today_usd_per_month,
            "saves_usd_per_month": _saves(self), "relaxations": relaxed,
            "flips": [flip._asdict() | {"change_fraction": flip.change} for flip in self.flips],
            "left_out": [{"name": name, "reason": reason} for name, reason in self.left_out],
            "commands": self.commands, "rests_on": list(_rests_on(self)),
            "scenarios": scenarios_played(question.base, self.answer, self.evidence, self.name_of),
            "slo_target_fraction": question.slo.attainment_fraction,
            "log": question.receipt.as_dict(), "words": list(question.base.words.values()),
        }  # fmt: skip
        data: dict[str, Any] = plain(found)
        return data


def question(log: str, words: Sequence[str]) -> Question:
    """Read the log and fix what the words say. Raises ConfigError and TraceError.

    Words are those of `run`; keys that say how to read the log may go without their `arrivals.`. A log of two whole
    days or more is drawn anew by days in each replication, unless `arrivals.bootstrap` says otherwise.
    """
    told, today = [], None
    for word, override in zip(words, OverridesParser.create().parse_overrides(list(words)), strict=True):
        key = override.get_key_element().lstrip("+")
        if override.is_sweep_override() or override.is_delete():
            raise ConfigError(f"{word}: must be key=value, with one value")
        if key == _TODAY:
            today = _dollars(word, override.value())
        else:
            first = key.partition(".")[0]
            told.append(
                f"arrivals.{word}" if first in Replay.model_fields and first not in Scenario.model_fields else word
            )
    composition = Composition().changed(["arrivals=replay", text_of("arrivals.path", log), *told], {})
    for name in files_named_in(composition.config):
        if not Path(name).exists() and not any(sign in name for sign in "*?["):
            raise ConfigError(f"{name}: cannot be read: no such file")
    replay = parse_config(Replay, composition.config["arrivals"])
    n_days = len(replay.days)
    if n_days >= 2 and "arrivals.bootstrap" not in composition.words:
        composition = composition.changed(["arrivals.bootstrap=days"], {})
    options = DescribedLog.model_validate({name: getattr(replay, name) for name in DescribedLog.model_fields})
    calls = options.calls()
    card, receipt = card_of(calls), calls.log.receipt
    assert receipt is not None, "every log that is read from a file has one"
    slo = parse_config(Slo, composition.config["slo"])
    return Question(composition, card, receipt, Load.of(card, replay.scale), slo, today, n_days)


def _dollars(word: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(f"{word}: must be a number of US dollars, such as {_TODAY}=31900")
    return float(value)


def folder_of(asked: Question) -> Path:
    """Where what is played and decision.json go: below output.dir, named after the log and the question."""
    config = asked.base.config
    stem = Path(config["arrivals"]["path"]).stem or "log"
    return Path(config["output"]["dir"]) / "decide" / f"{stem}-{digest(config)}"


def decide(asked: Question, n_jobs: int = -1, most: int = MOST) -> Decision:
    """Search the portfolio for the cheapest fleet that meets the SLO. What is played is kept. Raises SimError."""
    folder = folder_of(asked)
    lab, fresh = (Lab(asked.base, folder, n_jobs, is_fresh) for is_fresh in (False, True))
    families = portfolio(lab, asked.card, asked.load)
    evidence = Evidence(lab, asked.slo.attainment_fraction, most)
    progress = Progress(len(families.families), lambda: evidence.n_played)
    answer = search(families.families, evidence, fresh, progress.family)
    relaxed = () if answer.winner else tuple(relaxations(evidence))
    found = Decision(asked, answer, evidence, families, lab, relaxed, folder)
    write_json(folder / DESCRIPTION, {"log": asked.receipt.as_dict(), "traffic": asked.card.as_dict()})
    if answer.winner is not None:
        play_winner(fresh.config(answer.winner.candidate), folder)
    write_json(folder / JSON_NAME, found.as_dict())
    return found


def _sentence(found: Decision) -> str:
    winner = found.answer.winner
    model = found.question.base.config["model"]["name"]
    if winner is None:
        return f"Nothing that was looked at serves {model} for this log within the SLO."
    error = hardware_error(found.lab.scenario(winner.candidate))
    unproven = " No server with this card was measured: its speed is borrowed." if error and error.is_borrowed else ""
    name = found.name_of(winner.candidate)
    return f"Serve {model} with {name}: {costs(winner.cost)}; {attained(winner.judgement)}.{unproven}"


def _saves(found: Decision) -> float | None:
    winner, today = found.answer.winner, found.question.today_usd_per_month
    return None if winner is None or today is None else today - (winner.cost.mean or 0.0)


def _lines(found: Decision) -> Iterator[str]:
    yield _sentence(found)
    yield from list(answer_lines(found.answer, found.name_of))[2:]
    if not found.feasible:
        yield from relaxation_lines(found.relaxed, found.name_of)
    saves = _saves(found)
    if saves is not None:
        verb = "saves" if saves >= 0 else "costs more by"
        yield f"beside today's {usd(found.question.today_usd_per_month)} a month it {verb} {usd(abs(saves))} a month"
    yield from _flip_lines(found)
    if found.answer.open:
        yield f"NOT resolved whether they meet the SLO: {'; '.join(map(found.name_of, found.answer.open))}"
    yield from _left_out_lines(found)
    yield "it rests on:"
    yield from (f"  {line}" for line in _rests_on(found))
    for line in found.commands:
        yield f"again, on fresh seeds: {line}"


def _flip_lines(found: Decision) -> Iterator[str]:
    turning = [flip for flip in found.flips if flip.change is not None]
    if found.answer.runner_up is not None:
        yield "what would change the answer to the runner-up, one price at a time:"
        if not turning:
            yield "  no price alone"
    for flip in turning[:_FLIPS_SHOWN]:
        change = f"{'+' if (flip.change or 0) >= 0 else '-'}{number(100 * abs(flip.change or 0.0), 3)} %"
        yield f"  {flip.key}: {number(flip.usd)} -> {number(flip.flips_at_usd, 4)} ({change})"


def _left_out_lines(found: Decision) -> Iterator[str]:
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


def _rests_on(found: Decision) -> Iterator[str]:
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
        yield "traffic: less than two whole days, so the month repeats this log; no interval says how far others differ"
    else:
        yield f"traffic: each replication draws its {asked.n_days} days anew, so intervals hold days like these"
    limits = {key: value for key, value in config["slo"].items() if value is not None and "deadline" not in key}
    yield "SLO: " + ", ".join(f"{key}={value}" for key, value in limits.items())
    listed = [f"{of['provider']}, {of['as_of']}" for of in (gpu, api)]
    yield f"GPU prices: {listed[0]}; API prices: {listed[1]}"
    if found.answer.winner is not None:
        scenario = found.lab.scenario(found.answer.winner.candidate)
        served = (
            f"{scenario.model.name} on {scenario.gpu.name}" if scenario.has_fleet else f"{scenario.model.name} by API"
        )
        seeds = "played once" if found.answer.winner.repeats else f"{FRESH_REPLICATIONS} fresh replications"
        yield f"winner: {served}, seed {found.lab.seed + 1}, {seeds}"
        error = hardware_error(scenario)
        yield from error.lines() if error is not None else ()
    families = found.answer.searched
    played = sum(s.came is not Came.BOUND for s in families)
    ruled_out = f"{played} of {len(families)} families were played, the rest ruled out on paper"
    yield f"{found.answer.n_played} simulations; {ruled_out}"
