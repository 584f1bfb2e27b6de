"""`llm-traffic-sim decide LOG`: which fleet should serve this log within its SLO, from the log alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.composition import Composition
from sim.schema import ConfigError, parse_config
from sim.study.folder import plain, write_json
from sim.study.hardware_error import hardware_error
from sim.study.search.asked import Asked
from sim.study.search.decision_text import lines, rests_on, saves, sentence
from sim.study.search.evidence import Evidence, World
from sim.study.search.found import Found
from sim.study.search.lab import Lab, Progress
from sim.study.search.portfolio import Portfolio, always_on_of_any_card, portfolio
from sim.study.search.question import JSON_NAME, Question, folder_of
from sim.study.search.race import FRESH_REPLICATIONS, Answer, search
from sim.study.search.relaxation import Relaxation, relaxations
from sim.study.search.robustness import robustness
from sim.study.search.scenarios_played import scenarios_played
from sim.study.search.tuned_fleets import TunedFleets
from sim.study.search.windows import WHOLE_UP_TO, Windowed, Windows
from sim.study.search.winner_run import play_winner
from sim.study.search.wording import answer_data, interval_data, tuned_data, wrapped
from sim.workload.arrivals.replay import Replay

DESCRIPTION = "description.json"
MOST = 20
"""Replications of one fleet at most in the search."""
FRESH_OF_LONG, _LONG = 10, 300_000
"""Replications of a finalist for a log of more requests than this: as few as an SLO can be judged by."""


class Decision(Found):
    """What `decide` found. As text: what the command line prints."""

    def __str__(self) -> str:
        return wrapped(list(lines(self)))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data: what decision.json holds."""
        question, robust = self.question, self.robustness
        relaxed = [{"what": r.what, "words": r.candidate, "usd_per_month": interval_data(r.cost)} for r in self.relaxed]
        found = answer_data(self.answer, self.evidence, self.name_of) | {
            "sentence": sentence(self), "tuned": tuned_data(self.answer, self.name_of),
            "not_tuned": list(self.not_tuned), "today_usd_per_month": question.today_usd_per_month,
            "saves_usd_per_month": saves(self), "relaxations": relaxed,
            "flips": [flip.as_dict() for flip in (() if robust is None else robust.flips)],
            "error_budget": None if robust is None else robust.budget.as_dict(),
            "break_even_map": None if robust is None else robust.map.as_dict(),
            "windows": None if self.windows is None else self.windows.as_dict(),
            "simulations_for_robustness": 0 if robust is None else robust.n_played,
            "left_out": [{"name": name, "reason": reason} for name, reason in self.left_out],
            "commands": self.commands, "rests_on": list(rests_on(self)),
            "scenarios": scenarios_played(question.base, self.answer, self.evidence, self.name_of),
            "slo_target_fraction": question.slo.attainment_fraction,
            "log": question.receipt.as_dict(), "words": list(question.base.words.values()),
        }  # fmt: skip
        data: dict[str, Any] = plain(found)
        return data


def decide(asked: Question, n_jobs: int = -1, most: int = MOST, quick: bool = False) -> Decision:
    """Search the portfolio for the cheapest fleet that meets the SLO, and then for what would change the answer.

    `quick` leaves the second part out. What is played is kept. Raises SimError.
    """
    folder = folder_of(asked)
    lab, fresh = (Lab(asked.base, folder, n_jobs, is_fresh) for is_fresh in (False, True))
    families = portfolio(lab, asked.card, asked.load)
    target = asked.slo.attainment_fraction
    windows = windows_of(asked)
    world, fresh_world = (one if windows is None else Windowed(one, windows, target) for one in (lab, fresh))
    evidence = Evidence(world, target, most)
    progress = Progress(len(families.families), lambda: evidence.n_played)
    n_fresh = FRESH_REPLICATIONS if asked.card.requests <= _LONG else FRESH_OF_LONG
    fleets = TunedFleets(lab, families, evidence, progress.trial)
    answer = search(families.families, evidence, fresh, progress.family, n_fresh, fleets.tune)
    relaxed = () if answer.winner else _relaxed(asked, evidence, families, (lab, fresh), windows)
    robust = None
    if answer.winner is not None and not quick:
        robust = robustness(_asked(asked, answer, families, (fresh_world, fresh), progress.step))
    not_tuned = tuple(fleets.as_configured)
    found = Decision(asked, answer, evidence, families, lab, relaxed, robust, windows, folder, not_tuned)
    write_json(folder / DESCRIPTION, {"log": asked.receipt.as_dict(), "traffic": asked.card.as_dict()})
    if answer.winner is not None:
        play_winner(fresh.config(answer.winner.candidate), folder)
    write_json(folder / JSON_NAME, found.as_dict())
    return found


def _relaxed(
    asked: Question, evidence: Evidence, families: Portfolio, labs: tuple[Lab, Lab], windows: Windows | None
) -> tuple[Relaxation, ...]:
    """Of the SLO, by what was played, and of the hardware, by a search of its own."""
    return *relaxations(evidence), *_on_other_cards(asked, families, labs, windows, evidence.most)


_HARDWARE = ("gpu", "engine.tensor_parallel", "engine.weight_dtype", "prices")
"""Keys by which a question fixes what a fleet is made of."""


def _on_other_cards(
    asked: Question, families: Portfolio, labs: tuple[Lab, Lab], windows: Windows | None, most: int
) -> list[Relaxation]:
    """The cheapest always-on fleet of any card that meets the SLO, where the question fixes the card or the list.

    [] where it does not, or where none meets it.
    """
    fixed = [word for key, word in asked.base.words.items() if key in _HARDWARE]
    kept = [word for key, word in asked.base.words.items() if key not in _HARDWARE]
    target = asked.slo.attainment_fraction
    if not fixed:
        return []
    try:
        base = Composition().changed(kept, {})
        lab, fresh = (Lab(base, one.folder, one.n_jobs, number == 1) for number, one in enumerate(labs))
        others = always_on_of_any_card(lab, asked.load)
    except ConfigError:
        return []  # words that mean nothing without those that are left out
    world = lab if windows is None else Windowed(lab, windows, target)
    answer = search(others.families, Evidence(world, target, most), fresh)
    if answer.winner is None:
        return []
    families.names |= others.names
    return [Relaxation(f"without {' '.join(fixed)}", answer.winner.candidate, answer.winner.cost)]


def windows_of(asked: Question) -> Windows | None:
    """What a search plays of a long log; None: all of it."""
    replay = parse_config(Replay, asked.base.config["arrivals"])
    n_requests = asked.card.requests * replay.scale.rate_factor
    return None if n_requests <= WHOLE_UP_TO else Windows.of_replay(replay)


def _asked(
    asked: Question, answer: Answer, families: Portfolio, worlds: tuple[World, Lab], on_step: Callable[[str], None]
) -> Asked:
    winner, reuse = answer.winner, asked.card.reuse
    assert winner is not None
    world, fresh = worlds
    return Asked(
        answer, world, fresh, fresh.scenario, fresh.config, families.names.__getitem__, asked.slo.attainment_fraction,
        "days" if asked.n_days >= 2 else "blocks", None if reuse is None else reuse.hit_fraction,
        hardware_error(fresh.scenario(winner.candidate)), asked.today, asked.typed_prices, on_step,
    )  # fmt: skip
