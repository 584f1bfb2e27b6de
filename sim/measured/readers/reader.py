"""What every reader of measured servers is, and what it hands over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sim.measured.measured_run import MeasuredRun
from sim.measured.points import Point
from sim.schema import SimError


@dataclass
class Results:
    """What was read: operating points of a server that the file does not describe, runs of servers that it does
    describe, what was left out and why, and the models that the files name."""

    points: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    model_ids: list[str] = field(default_factory=list)
    runs: list[MeasuredRun] = field(default_factory=list)

    def add(self, other: Results) -> None:
        """Append what another document held."""
        self.points += other.points
        self.notes += other.notes
        self.model_ids += other.model_ids
        self.runs += other.runs

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
    content: Any  # parsed JSON; of a file that is no JSON, its text


class ResultsReader(ABC):
    """Reads one format. A class derived from it, in a file of its own in this folder, is found without any list.

    Readers are asked in alphabetical order of their modules, and the first that recognises a document reads it.
    """

    format: str
    """The name of the format and the keys or columns it is told by, for the message about an unknown file."""

    @abstractmethod
    def recognises(self, document: Document) -> bool:
        """Whether the document is of this format, from its keys or columns alone; never raises."""

    @abstractmethod
    def read(self, document: Document) -> Results:
        """The operating points or runs of a document that was recognised, with a note on each one that is left out.

        Lengths are in tokens, times in seconds. Raises TraceError naming file, place and key for a value that is no
        number; requests that failed are left out.
        """
