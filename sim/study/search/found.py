"""What a decision consists of, before it is put into words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sim.study.search.evidence import Candidate, Evidence
from sim.study.search.family import Came
from sim.study.search.lab import Lab
from sim.study.search.plan import command
from sim.study.search.portfolio import Portfolio
from sim.study.search.question import Question
from sim.study.search.race import Answer
from sim.study.search.relaxation import Relaxation
from sim.study.search.robustness import Robustness
from sim.study.search.windows import Windows


@dataclass(frozen=True, eq=False)
class Found:
    """The parts of a decision."""

    question: Question
    answer: Answer
    evidence: Evidence
    portfolio: Portfolio
    lab: Lab
    relaxed: tuple[Relaxation, ...]
    robustness: Robustness | None
    """None where nothing meets the SLO, or where it was not asked for."""
    windows: Windows | None
    """What the search played of the log; None: all of it."""
    folder: Path
    not_tuned: tuple[str, ...] = ()
    """Keys of the finalists' knobs that stayed as configured, as Optuna is not installed."""

    @property
    def feasible(self) -> bool:
        return self.answer.winner is not None

    def name_of(self, candidate: Candidate) -> str:
        return self.portfolio.names[candidate]

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Families that were not played or given up, and what does not fit, each with the reason."""
        given_up = [(s.family.name, str(s.came)) for s in self.answer.searched if s.came is not Came.MEETS]
        return [*given_up, *self.portfolio.left_out]

    @property
    def commands(self) -> list[str]:
        """Command lines that play the finalists on the fresh seeds."""
        return [
            command(self.question.base, final.candidate, 1 if final.repeats else self.answer.n_fresh)
            for final in self.answer.finals
            if isinstance(final.candidate, tuple)
        ]
