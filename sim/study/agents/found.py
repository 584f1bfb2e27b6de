"""What a counterfactual bill consists of, before it is put into words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sim.report.attainment import Judgement, Verdict
from sim.report.estimators import Interval, mean, paired_ratio_difference, ratio_of_sums
from sim.study.agents.asked import Asked
from sim.study.agents.rows import Row
from sim.study.search.evidence import Sample
from sim.study.search.lab import Lab, Words
from sim.study.search.plan import command
from sim.units import HOUR_S, MONTH_S

JSON_NAME = "agents.json"


@dataclass(frozen=True, eq=False)
class Line:
    """A row of the bill, played."""

    row: Row
    words: Words
    samples: tuple[Sample, ...]
    judgement: Judgement
    repeats: bool
    """Every replication is the same run: its figures have no interval."""
    hours_per_month: float
    n_replicas: int | None

    @property
    def name(self) -> str:
        """The row, with the size of its fleet."""
        return self.row.name if self.n_replicas is None else f"{self.n_replicas} x {self.row.unit}, {self.row.name}"

    @cached_property
    def usd(self) -> list[float]:
        """US dollars a month by replication: own GPUs are paid for all of it, an API for what is asked of it."""
        found = []
        for sample in self.samples:
            window_s, api, own, more = figures_of(sample, "window_s", "usd_api", "usd_gpu", "usd_overhead")
            found.append((api * self.hours_per_month * HOUR_S + (own + more) * MONTH_S) / window_s)
        return found

    @cached_property
    def tasks(self) -> list[float]:
        """Tasks that finish in a month, by replication."""
        counts = [figures_of(sample, "tasks_finished", "window_s") for sample in self.samples]
        return [n * self.hours_per_month * HOUR_S / window_s for n, window_s in counts]

    def each(self, n: int) -> tuple[list[float], list[float]]:
        """(US dollars, tasks) a month of n replications; one that repeats stands for all."""
        return (self.usd * n, self.tasks * n) if self.repeats else (self.usd, self.tasks)

    @property
    def usd_per_task(self) -> Interval:
        return ratio_of_sums(self.usd, self.tasks)

    @property
    def usd_per_month(self) -> Interval:
        return mean(self.usd)

    def of_task(self, name: str) -> float | None:
        """A count of the summary per task that began."""
        counts = [figures_of(sample, name, "tasks") for sample in self.samples]
        n = math.fsum(tasks for _, tasks in counts)
        return math.fsum(count for count, _ in counts) / n if n else None

    def mean_of(self, name: str) -> float | None:
        """A figure of the summary, mean over replications in which anything was asked; infinite where one has none."""
        values = [(sample.figures or {}).get(name) for sample in self.samples if figures_of(sample, "requests")[0]]
        if not values:
            return None
        return math.fsum(math.inf if value is None else value for value in values) / len(values)

    @property
    def verdict(self) -> Verdict:
        """Whether the SLO is attained; that of the one run where all replications are the same."""
        found, reached = self.judgement.verdict, self.judgement.reached
        if found is Verdict.NOT_TESTED:
            return Verdict.MEETS if reached else Verdict.MISSES
        return found

    @property
    def finished_fraction(self) -> float:
        """Of the tasks that began, those that came to their end."""
        return self.of_task("tasks_finished") or 0.0


def figures_of(sample: Sample, *names: str) -> list[float]:
    """Figures of a replication; what it has none of is 0."""
    assert sample.figures is not None, "the lab keeps them"
    return [float(sample.figures[name] or 0.0) for name in names]


@dataclass(frozen=True, eq=False)
class Found:
    """Every row that was played, the first of them the one that others are set beside."""

    asked: Asked
    lines: tuple[Line, ...]
    left_out: tuple[tuple[str, str], ...]
    lab: Lab
    folder: Path

    @property
    def base(self) -> Line:
        return self.lines[0]

    @property
    def is_random(self) -> bool:
        """Whether any row differs from replication to replication."""
        return any(not line.repeats for line in self.lines)

    @cached_property
    def tasks_per_month(self) -> float:
        """Tasks that finish in a month, in the first row."""
        return math.fsum(self.base.tasks) / len(self.base.tasks)

    @cached_property
    def seats(self) -> tuple[float, str] | None:
        """How many seats there are, and how that is known."""
        return self.asked.seats(self.tasks_per_month)

    def usd_per_seat(self, line: Line) -> Interval | None:
        """US dollars a month that a seat costs; None where the number of seats is not stated."""
        seats = self.seats
        return None if seats is None else mean([usd / seats[0] for usd in line.usd])

    def difference(self, line: Line) -> Interval | None:
        """US dollars a task that a row costs more than the first, over paired replications; None for the first."""
        if line is self.base:
            return None
        n = max(len(line.usd), len(self.base.usd))
        return paired_ratio_difference(line.each(n), self.base.each(n)).difference

    def command(self, line: Line) -> str:
        """The command line that plays a row."""
        return command(self.asked.question.base, line.words, len(line.samples))
