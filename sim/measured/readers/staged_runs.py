"""JSON of `{schema, units, experiments}`: runs of load stages, each run with its server."""

from __future__ import annotations

from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.measured.staged_runs import Stages


class StagedRuns(ResultsReader):
    """One file of runs with load stages."""

    format = "runs with load stages (experiments)"

    def recognises(self, document: Document) -> bool:
        return isinstance(document.content, dict) and isinstance(document.content.get("experiments"), list)

    def read(self, document: Document) -> Results:
        runs = enumerate(document.content["experiments"])
        return Results(runs=[Stages(document.path, run, i) for i, run in runs])
