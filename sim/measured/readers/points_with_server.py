"""A CSV of operating points whose rows say what they were measured on; the columns are in `operating_points`."""

from __future__ import annotations

from sim.measured.operating_points import OperatingPoint, rows_of
from sim.measured.readers.reader import Document, Results, ResultsReader


class PointsWithServer(ResultsReader):
    """A table of operating points, each with its engine, card and model."""

    format = "CSV of operating points with their servers (engine, gpu, model, input_len, output_len, ...)"

    def recognises(self, document: Document) -> bool:
        if not isinstance(document.content, str):
            return False
        return "engine" in [name.strip() for name in document.content.lstrip().split("\n")[0].split(",")]

    def read(self, document: Document) -> Results:
        rows = rows_of(document.path, document.content)
        return Results(runs=[OperatingPoint(document.path, row, i) for i, row in enumerate(rows)])
