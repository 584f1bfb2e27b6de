"""CSV files: the delimiter is found in the header, and rows are read in batches of bounded size."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from sim.schema import TraceError
from sim.workload.logs.files import LogFile
from sim.workload.logs.tables import Batch, Columnar

_BLOCK_BYTES = 1 << 22
_EMPTY = ["", "null", "NULL", "None", "NaN", "nan", "NA", "N/A", "n/a", "\\N", "<NA>", "NaT", "(null)"]


class CsvTable(Columnar):
    """Text with a delimiter and a header. Every cell is read as text; blank lines are skipped."""

    place = "line"

    def __init__(self, file: LogFile, encoding: str | None, delimiter: str | None):
        super().__init__(file)
        self.encoding = encoding or file.encoding or "utf-8"
        self.was_guessed = False
        header = self._header()
        self.delimiter = delimiter or max(",;\t|", key=lambda sign: _outside_quotes(header, sign))
        names = next(csv.reader([header], delimiter=self.delimiter, skipinitialspace=True))
        self._names = [name.strip() for name in names]
        if self._names and self._names[-1] == "" and len(self._names) > 1:
            self._names.pop()

    @property
    def description(self) -> str:
        signs = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
        return f"CSV with {signs.get(self.delimiter, repr(self.delimiter))}, {self.encoding}"

    @property
    def names(self) -> Sequence[str]:
        return self._names

    def _header(self) -> str:
        with self.file.open() as content:
            start = content.read(1 << 20)
        try:
            text = start.decode(self.encoding, errors="ignore" if len(start) == 1 << 20 else "strict")
        except (UnicodeDecodeError, LookupError):
            raise _not_text(self.file.shown, self.encoding) from None
        text = text.removeprefix("\ufeff")
        self._header_line = len(text) - len(text.lstrip("\r\n"))
        self.first_line = 1 + text[: self._header_line].count("\n")
        return re.split(r"\r\n|\n|\r", text[self._header_line :], maxsplit=1)[0]

    def batches(self, paths: Sequence[str]) -> Iterator[Batch]:
        wanted = {column for column in map(self._column_of, paths) if column is not None}
        keys = {name: f"c{i}" for i, name in enumerate(self._names) if name in wanted}
        line = self.first_line + 1
        wrong: list[pa_csv.InvalidRow] = []
        for batch in self._read(list(keys.values()) or ["c0"], wrong):
            n = batch.num_rows
            lines = np.arange(line, line + n)
            line += n
            columns = {name: batch.column(key).to_pandas() for name, key in keys.items()}
            filled = np.zeros(n, bool)
            for values in columns.values():
                filled |= values.notna().to_numpy()
            if not filled.all():
                lines, columns = lines[filled], {k: v[filled].reset_index(drop=True) for k, v in columns.items()}
            yield Batch(lines, self._picked(columns, paths))

    def _read(self, keys: list[str], wrong: list[pa_csv.InvalidRow]) -> Iterator[pa.RecordBatch]:
        names = [f"c{i}" for i in range(len(self._names))]
        trailing = self._rows_end_with_a_delimiter()
        if trailing:
            names.append("beyond")
            keys = [*keys, "beyond"]

        def refuse(row: pa_csv.InvalidRow) -> str:
            wrong.append(row)
            return "error"

        read = pa_csv.ReadOptions(
            use_threads=False, column_names=names, skip_rows=self.first_line, block_size=_BLOCK_BYTES,
            encoding=self.encoding,
        )  # fmt: skip
        parse = pa_csv.ParseOptions(
            delimiter=self.delimiter, ignore_empty_lines=False, newlines_in_values=True, invalid_row_handler=refuse
        )
        convert = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), include_columns=keys, strings_can_be_null=True,
            quoted_strings_can_be_null=True, null_values=_EMPTY,
        )  # fmt: skip
        try:
            with self.file.open() as content:
                line = self.first_line + 1
                for batch in pa_csv.open_csv(content, read, parse, convert):
                    if trailing:
                        self._refuse_beyond(batch, line)
                    line += batch.num_rows
                    yield batch
        except pa.ArrowInvalid as error:
            raise self._refusal(wrong, str(error)) from None
        except (UnicodeError, LookupError):
            raise _not_text(self.file.shown, self.encoding) from None
        except StopIteration:
            return

    def _refusal(self, wrong: list[pa_csv.InvalidRow], message: str) -> TraceError:
        if wrong:
            return self._too_many(wrong[0].number, wrong[0].actual_columns)
        if "Empty CSV" in message:
            return TraceError(f"{self.file.shown}: holds no request")
        if "UTF8" in message or "UTF-8" in message:
            return _not_text(self.file.shown, self.encoding)
        return TraceError(f"{self.file.shown}: {' '.join(message.split())[:160]}")

    def _too_many(self, line: int, n_fields: int) -> TraceError:
        header = self.delimiter.join(self._names)[:60]
        hint = " (a decimal comma?)" if n_fields > len(self._names) else ""
        law = f"has {n_fields} fields, but the header names {len(self._names)}: {header}{hint}"
        return TraceError(f"{self.file.shown}, line {line}: {law}")

    def _rows_end_with_a_delimiter(self) -> bool:
        """Whether the first row has one field more than the header, an empty one."""
        with self.file.open() as content:
            text = io.TextIOWrapper(content, encoding=self.encoding, errors="replace", newline="")
            rows = csv.reader(text, delimiter=self.delimiter, skipinitialspace=True)
            try:
                filled = (row for row in rows if row)
                next(filled)
                first = next(filled, [])
            except (csv.Error, StopIteration):
                return False
        return len(first) == len(self._names) + 1 and not first[-1].strip()

    def _refuse_beyond(self, batch: pa.RecordBatch, line: int) -> None:
        column = batch.column("beyond")
        if column.null_count < batch.num_rows:
            line += int(np.flatnonzero(~column.is_null().to_numpy(zero_copy_only=False))[0])
            raise self._too_many(line, len(self._names) + 1)


def _outside_quotes(header: str, sign: str) -> int:
    return re.sub(r'"[^"]*"', "", header).count(sign)


def _not_text(shown: str, encoding: str) -> TraceError:
    return TraceError(
        f"{shown}: is not text in {encoding}; if it is in another encoding, say which: arrivals.encoding=latin-1"
    )
