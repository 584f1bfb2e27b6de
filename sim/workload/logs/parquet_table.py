"""Parquet and Arrow files, read column by column in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sim.schema import TraceError
from sim.workload.logs.files import LogFile
from sim.workload.logs.tables import BATCH_ROWS, Batch, Columnar


class ParquetTable(Columnar):
    """A Parquet or Arrow file. An index that pandas has saved is a column like any other."""

    def __init__(self, file: LogFile):
        super().__init__(file)
        try:
            if file.kind == "parquet":
                self._content = pq.ParquetFile(str(file.file))
                schema = self._content.schema_arrow
            else:
                self._content = pa.ipc.open_file(str(file.file))
                schema = self._content.schema
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = (str(error).splitlines() or ["unknown"])[0]
            raise TraceError(f"{file.shown}: is not a readable {self.description} file: {reason}") from None
        self._fields = list(schema.names)
        self._names = ["index" if name.startswith("__index_level_") else name for name in self._fields]
        self._ranges = {}  # {name: (start, step)} of evenly spaced indexes: pandas stores no values for them
        for index in (schema.pandas_metadata or {}).get("index_columns", []):
            if isinstance(index, dict) and index.get("name") and index["name"] not in self._names:
                self._ranges[index["name"]] = (index["start"], index["step"])
        self._names += self._ranges

    @property
    def description(self) -> str:
        return "Parquet" if self.file.kind == "parquet" else "Arrow"

    @property
    def names(self) -> Sequence[str]:
        return self._names

    def batches(self, paths: Sequence[str]) -> Iterator[Batch]:
        wanted = {column for column in map(self._column_of, paths) if column is not None}
        fields = {name: field for name, field in zip(self._names, self._fields, strict=False) if name in wanted}
        row = 1
        try:
            for batch in self._record_batches(list(fields.values())):
                lines = np.arange(row, row + batch.num_rows)
                row += batch.num_rows
                columns = {name: _to_pandas(batch.column(field)) for name, field in fields.items()}
                for name in wanted & self._ranges.keys():
                    start, step = self._ranges[name]
                    columns[name] = pd.Series(start + step * (lines - 1))
                yield Batch(lines, self._picked(columns, paths))
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = (str(error).splitlines() or ["unknown"])[0]
            raise TraceError(f"{self.file.shown}: is not a readable {self.description} file: {reason}") from None

    def _record_batches(self, fields: list[str]) -> Iterator[pa.RecordBatch]:
        if self.file.kind == "parquet":
            yield from self._content.iter_batches(batch_size=BATCH_ROWS, columns=fields)
            return
        for i in range(self._content.num_record_batches):
            yield self._content.get_batch(i).select(fields)


def _to_pandas(column: pa.Array) -> pd.Series:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_integer(column.type) and column.null_count:
        return column.to_pandas(integer_object_nulls=True)  # Floats would lose digits of large integers.
    return column.to_pandas()
