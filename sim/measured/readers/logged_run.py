"""JSON of one run beside a CSV of its requests, of the same name."""

from __future__ import annotations

from pathlib import Path

from sim.measured.logged_runs import Log
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.schema import TraceError


class LoggedRuns(ResultsReader):
    """One run with its server, and its requests one by one."""

    format = "a run beside a CSV of its requests (id, model, gpu)"

    def recognises(self, document: Document) -> bool:
        return isinstance(document.content, dict) and {"id", "model", "gpu"} <= document.content.keys()

    def read(self, document: Document) -> Results:
        requests_csv = Path(document.path).with_suffix(".csv")
        if not requests_csv.is_file():
            raise TraceError(f"{document.place}: needs a CSV of its requests, {requests_csv.name}, beside it")
        return Results(runs=[Log(document.content, requests_csv)])
