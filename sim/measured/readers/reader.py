"""What every reader of measured servers is, and what it hands over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sim.measured.measured_run import MeasuredRun
from sim.measured.points import Point, of_one_replica
from sim.measured.readers.receipt import Receipt
from sim.schema import SimError

_TOLERATED, _TOO_MANY = 0.01, 0.5
"""Fractions of the requests that failed: up to the first, throughput is believed; from the second, nothing is."""


@dataclass
class Results:
    """What was read: operating points of a server that the file does not describe, runs of servers that it does
    describe, what was left out and why, the models that the files name, and a receipt for each file and format.

    `unused` holds the keys of a document that could change a figure and that nothing plays, with their values.
    """

    points: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    model_ids: list[str] = field(default_factory=list)
    runs: list[MeasuredRun] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unused: dict[str, Any] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)

    def add(self, other: Results) -> None:
        """Append what another document held."""
        self.points += other.points
        self.notes += other.notes
        self.model_ids += other.model_ids
        self.runs += other.runs

    def leave_out(self, place: str, why: str) -> None:
        """Note that the load at `place` is no operating point, and why; `why` begins with "left out, "."""
        self.notes.append(f"{place}: {why}")
        self.left_out[why] += 1

    def add_point(self, point: Point, n_failed: int = 0) -> None:
        """Append a point of which `n_failed` requests were not answered besides those measured.

        Figures are of the requests that were answered, so with more than `_TOLERATED` of failures the throughput says
        less than the server can do and is dropped; with more than `_TOO_MANY` the load was another one.
        """
        if not n_failed:
            self.points.append(point)
            return
        n_sent = (point.requests or 0) + n_failed
        share = n_failed / n_sent
        failures = f"{n_failed} of {n_sent} requests failed ({share:.1%})"
        if share > _TOO_MANY:
            self.leave_out(point.source, f"left out, {failures}")
        elif share <= _TOLERATED:
            self.notes.append(f"{point.source}: {failures}; the figures are of those that were answered")
            self.points.append(point)
        else:
            measured = point.measured._replace(output_tokens_per_s=None)
            self.notes.append(f"{point.source}: {failures}; latencies are of those answered, throughput is not used")
            if any(measured):
                self.points.append(replace(point, measured=measured))
            else:
                self.leave_out(point.source, "left out, it gives nothing but the throughput of a run with failures")

    def add_share(self, point: Point, replicas: int, n_failed: int = 0) -> None:
        """Append the point of one of `replicas` that shared the load of `point`, if its clients can be shared."""
        shared = of_one_replica(point, replicas)
        if shared is None:
            self.leave_out(
                point.source, f"left out, {point.concurrency} clients cannot be shared by {replicas} replicas"
            )
        else:
            self.add_point(shared, n_failed // replicas)

    def add_receipt(self, path: str, format: str, document: Results) -> None:
        """Enter one document in the receipt of its file and format."""
        receipt = next((r for r in self.receipts if (r.path, r.format) == (path, format)), None)
        if receipt is None:
            receipt = Receipt(path, format)
            self.receipts.append(receipt)
        receipt.points += document.points
        receipt.n_runs += len(document.runs)
        receipt.models += document.model_ids
        receipt.left_out += document.left_out
        receipt.unused |= document.unused

    def receipt_lines(self) -> list[str]:
        """The receipts of files that do not describe their servers wholly."""
        return [str(receipt) for receipt in self.receipts if receipt.points or receipt.left_out]

    def all_points(self) -> tuple[list[Point], list[str]]:
        """Every operating point, those of the runs among them, and every note. A run that is wrong becomes a note."""
        points, notes = list(self.points), list(self.notes)
        for run in self.runs:
            try:
                further, left_out = run.points()
            except SimError as error:
                left_out = [f"{run.name}: left out, {'; '.join(str(error).splitlines())}"]
            else:
                points += further
            notes += left_out
        return points, notes


class Document(NamedTuple):
    """One document of a result file: a whole file, an entry of a JSON list, or a line of JSON lines."""

    path: str
    place: str  # the file and the place in it, for messages
    content: Any  # parsed JSON; of a file that is no JSON, its text; of one request after the other, all of them


class ResultsReader(ABC):
    """Reads one format. A class derived from it, in a file of its own in this folder, is found without any list.

    Readers are asked in alphabetical order of their modules, and the first that recognises a document reads it.
    """

    format: str
    """The name of the format and the keys or columns it is told by, for the message about an unknown file."""

    @abstractmethod
    def recognises(self, document: Document) -> bool:
        """Whether the document is of this format, from its keys or columns alone; never raises."""

    def is_request(self, content: Any) -> bool:
        """Whether parsed JSON is one request: then all of its file are one document, whose content is their list."""
        return False

    @abstractmethod
    def read(self, document: Document) -> Results:
        """The operating points or runs of a document that was recognised, with a note on each one that is left out.

        Lengths are in tokens, times in seconds. Raises TraceError naming file, place and key for a value that is no
        number; requests that failed are left out.
        """
