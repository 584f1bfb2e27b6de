"""The files of a log, opened and read once, batch by batch, by the reader and the columns that they need."""

from __future__ import annotations

from collections.abc import Iterator

from sim.schema import TraceError
from sim.workload.logs.columns import require, understand
from sim.workload.logs.csv_table import CsvTable
from sim.workload.logs.documents import JsonTable, NewKeys
from sim.workload.logs.files import LogFile, files_of, look_into
from sim.workload.logs.gathering import Gathered, Rows
from sim.workload.logs.parquet_table import ParquetTable
from sim.workload.logs.readers.reader import TableReader
from sim.workload.logs.roles import LogOptions
from sim.workload.logs.tables import Batch, Table
from sim.workload.logs.values import Place

MOST_ROWS = 50_000_000
"""A log of more rows is refused: it would take more than 4 GB."""

A_RATE = (
    "a rate, not requests: arrivals=rate_profile plays it as one (or export one row per request; if each row is one "
    "request: arrivals.allow=[sums])"
)


def read_rows(shown: str, options: LogOptions) -> Rows:
    """Every row of the files of a log. Raises TraceError."""
    files = files_of(options.path)
    if len(files) == 1:
        return _Reading(shown, options, [look_into(files[0], shown)]).rows()
    return _Reading(shown, options, [look_into(file, f"{shown}: {file.name}") for file in files]).rows()


class _Reading:
    """One reading of a log's files. `rows` begins again if rows of JSON have columns that the first rows lacked."""

    def __init__(self, shown: str, options: LogOptions, files: list[LogFile]):
        self.shown, self.options, self.files = shown, options, files
        first = _table(files[0], options)
        self.understood = understand(first, options, files[0].shown)
        if self.understood.preset.sums and "sums" not in options.allow:
            raise TraceError(
                f"{shown}: is {self.understood.preset.title}: its rows are sums over many requests: {A_RATE}"
            )
        self.unfold = None
        reader = self.understood.preset.reader
        if not isinstance(reader, TableReader):
            self.unfold = reader.rows
            first = self._opened(files[0])
            self.understood = self.understood._replace(columns=understand(first, self._as_found, shown).columns)
        require(self.understood, first, files[0].shown)
        self.first = first

    @property
    def _as_found(self) -> LogOptions:
        return self.options.model_copy(update={"format": self.understood.preset.name})

    def _opened(self, file: LogFile) -> Table:
        table = _table(file, self.options)
        if self.unfold is None:
            return table
        if not isinstance(table, JsonTable):
            raise TraceError(f"{file.shown}: {self.understood.preset.title} comes as JSON, not as {table.description}")
        return table.unfolded_by(self.unfold)

    def rows(self) -> Rows:
        for _ in range(50):
            try:
                return self._once()
            except NewKeys:
                self.understood = self.understood._replace(
                    columns=understand(self.first, self._as_found, self.files[0].shown).columns
                )
        raise TraceError(f"{self.shown}: its rows have too many different keys")

    def _once(self) -> Rows:
        gathered = Gathered(self.options, self.understood)
        for i, file in enumerate(self.files):
            table = self.first if i == 0 else self._opened(file)
            for batch in self._batches(table, i, gathered.paths):
                gathered.add(batch, Place(file.shown, table.place, batch.lines), table)
                if gathered.n_read > MOST_ROWS:
                    raise TraceError(f"{self.shown}: has more than {MOST_ROWS:,} rows; take a part of it")
        packed = f", {self.files[0].compression}" if self.files[0].compression else ""
        parts = f", {len(self.files)} files" if len(self.files) > 1 else ""
        return gathered.rows(self.first.place, f"{self.first.description}{packed}{parts}")

    def _batches(self, table: Table, i: int, paths: list[str]) -> Iterator[Batch]:
        if isinstance(table, JsonTable):
            return table.batches(paths, self.understood.watched if i == 0 else frozenset())
        return table.batches(paths)


def _table(file: LogFile, options: LogOptions) -> Table:
    if file.kind == "json":
        return JsonTable(file, options.encoding)
    if file.kind == "csv":
        return CsvTable(file, options.encoding, options.delimiter)
    return ParquetTable(file)
