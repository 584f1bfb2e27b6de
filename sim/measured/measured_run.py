"""A measured run that says what it ran on: played in one piece, and a source of operating points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from sim.measured.play import Play
from sim.measured.points import Point
from sim.measured.prediction import Prediction


class MeasuredRun(ABC):
    """One run of a file that describes its servers. What the file says of it is checked when it is used."""

    name: str
    source: str = ""  # where it was published
    model_id: str | None = None  # on Hugging Face

    @abstractmethod
    def predictions(self, play: Play) -> Iterator[Prediction]:
        """Every metric of every load of the run, simulated beside measured. Raises SimError."""

    @abstractmethod
    def points(self) -> tuple[list[Point], list[str]]:
        """The loads that are steady states, each with its server, and a note on every other load.

        Times are in seconds, lengths in tokens. Raises SimError.
        """
