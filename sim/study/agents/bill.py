"""`llm-traffic-sim bill-agents LOG`: the same recorded sessions played in every way, and what a task costs in each."""

from __future__ import annotations

import sys
import time
from typing import Any

from sim.report.attainment import judge
from sim.report.formatting import percent
from sim.schema import ConfigError
from sim.study.agents.asked import Asked, folder_of
from sim.study.agents.found import JSON_NAME, Found, Line, figures_of
from sim.study.agents.rows import Row, Rows
from sim.study.agents.text import as_many_seats, as_text, doubts, rests_on, sentence, times
from sim.study.folder import plain, write_json
from sim.study.search.evidence import Evidence
from sim.study.search.family import Came, search_family
from sim.study.search.lab import Lab, Words
from sim.study.search.wording import interval_data

DESCRIPTION = "description.json"
REPLICATIONS = 10
"""Of every row, where they differ: the fewest that an SLO can be judged by."""
_SAY_EVERY_S = 15.0


class AgentsBill(Found):
    """What `bill-agents` found. As text: what the command line prints."""

    def __str__(self) -> str:
        return as_text(self)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data: what agents.json holds."""
        seats = self.seats
        found: dict[str, Any] = plain({
            "sentence": sentence(self), "below": list(as_many_seats(self)),
            "seats": None if seats is None else seats[0],
            "tasks_per_month": self.tasks_per_month, "hours_per_month": self.asked.told.month.hours,
            "rows": [self._row(line) for line in self.lines],
            "left_out": [{"name": name, "reason": reason} for name, reason in self.left_out],
            "rests_on": list(rests_on(self)), "slo_target_fraction": self.asked.question.slo.attainment_fraction,
            "log": self.asked.question.receipt.as_dict(), "words": list(self.asked.question.base.words.values()),
        })  # fmt: skip
        return found

    def _row(self, line: Line) -> dict[str, Any]:
        seat, difference, per_task = self.usd_per_seat(line), self.difference(line), line.usd_per_task
        return {
            "what": line.row.what, "name": line.name, "kind": line.row.name, "n_replicas": line.n_replicas,
            "usd_per_task": interval_data(per_task), "usd_per_month": interval_data(line.usd_per_month),
            "usd_per_seat_and_month": None if seat is None else interval_data(seat),
            "difference_usd_per_task": None if difference is None else interval_data(difference),
            "times_the_first": times(self, line), "doubts": list(doubts(self, line)),
            **{name: line.mean_of(name) for name in ("ttft_p50_s", "ttft_p95_s", "task_mean_s", "task_p95_s")},
            **{f"{name}_per_task": line.of_task(name)
               for name in ("requests", "input_tokens", "cached_input_tokens", "output_tokens")},
            "tasks_finished_fraction": line.finished_fraction, "slo_judgement": str(line.verdict),
            "slo_attainment_fraction": interval_data(line.judgement.attainment), "repeats": line.repeats,
            "command": self.command(line),
        }  # fmt: skip


def bill_agents(asked: Asked, n_jobs: int = -1) -> AgentsBill:
    """Play every row and keep what is played; write agents.json. Raises SimError, and ConfigError if no row can be."""
    folder = folder_of(asked)
    lab = Lab(asked.question.base, folder, n_jobs)
    rows = Rows(asked, lab)
    if not rows.rows:
        raise ConfigError(rows.left_out[0][1])
    evidence = Evidence(lab, asked.question.slo.attainment_fraction, REPLICATIONS)
    progress, lines, left_out = _Progress(len(rows.rows)), [], list(rows.left_out)
    for row in rows.rows:
        progress.row(row)
        line = _played(row, evidence, asked.told.month.hours)
        if line is None:
            left_out.append((f"{row.what}: {row.name}", _short(row, evidence)))
        else:
            lines.append(line)
    if not lines:
        raise ConfigError(left_out[0][1])
    found = AgentsBill(asked, tuple(lines), tuple(left_out), lab, folder)
    question = asked.question
    write_json(folder / DESCRIPTION, {"log": question.receipt.as_dict(), "traffic": question.card.as_dict()})
    write_json(folder / JSON_NAME, found.as_dict())
    return found


def _played(row: Row, evidence: Evidence, hours: float) -> Line | None:
    """The row, with the fewest replicas within the SLO; None if none of its sizes is."""
    words: Any = row.ladder[0]
    if len(row.ladder) > 1:
        searched = search_family(row.family, evidence)
        if searched.came is not Came.MEETS:
            return None
        words = searched.best
    evidence.reach({words: 2})
    evidence.reach({words: REPLICATIONS})
    repeats = evidence.repeats(words)
    samples = tuple(evidence.samples[words][: 1 if repeats else None])
    judgement = evidence.settle(words)
    n = int(words[-1].partition("=")[2]) if row.unit else None
    return Line(row, words, samples, judgement, repeats, hours, n)


def _short(row: Row, evidence: Evidence) -> str:
    """Why no size of a fleet will do, and what to type."""
    words: Words = row.ladder[-1]
    samples = evidence.samples[words]
    refused, n = figures_of(samples[0], "requests_refused_over_context", "requests")
    found = judge([s.attained for s in samples], [s.calls for s in samples], evidence.target).attainment
    why = f"of no number up to {len(row.ladder)} x {row.unit} enough calls are within the SLO: {percent(found.mean)} %"
    if refused:
        return f"{why}; {refused:.0f} of {n:.0f} are longer than the model's context"
    return f"{why}; slo.ttft_s=N allows more, scaling.n_replicas=N states a fleet"


class _Progress:
    """Says on standard error, every 15 s, which row is played."""

    def __init__(self, n_rows: int):
        self._n_rows, self._n_begun = n_rows, 0
        self._began_s = self._said_s = time.monotonic()

    def row(self, row: Row) -> None:
        """A row begins."""
        self._n_begun += 1
        now_s = time.monotonic()
        if now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            what = f"row {self._n_begun} of {self._n_rows}, after {now_s - self._began_s:.0f} s"
            print(f"{what}: {row.what}, {row.name}", file=sys.stderr, flush=True)
