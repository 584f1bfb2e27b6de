"""The files that request logs come in: CSV, JSON lines or Parquet in, one raw table out, nothing yet understood."""

from __future__ import annotations

import csv
import io
import json
import warnings
from codecs import BOM_UTF8
from typing import Literal

import pandas as pd

from sim.schema import TraceError

LogFormat = Literal["auto", "azure", "mooncake", "plain"]
AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MOONCAKE_KEYS = ("timestamp", "input_length", "output_length")


def raw_table(path: str, file: str, content: bytes, format: LogFormat) -> tuple[LogFormat, pd.DataFrame]:
    """The format found and the raw table, its index the line in the file (Parquet: the row, and named so).

    `path` is what the user calls the `file` that holds `content`. Raises TraceError.
    """
    if file.endswith(".parquet") or content[:4] == b"PAR1":
        try:
            frame = pd.read_parquet(file)
        except Exception as error:  # pyarrow has many ways to say that a file is broken
            raise TraceError(f"{path}: is not a readable Parquet file: {str(error).splitlines()[0]}") from None
        return "plain", frame.set_axis(pd.RangeIndex(1, len(frame) + 1, name="row"))
    content = content.removeprefix(BOM_UTF8)
    if not content.strip():
        raise TraceError(f"{path}: is empty")
    if format == "mooncake" or (format == "auto" and content.lstrip()[:1] == b"{"):
        return "mooncake", _json_lines(path, content)
    frame = _csv(path, content)
    if format == "auto":
        format = "azure" if AZURE_COLUMNS[1] in frame or AZURE_COLUMNS[2] in frame else "plain"
    return format, frame


def _csv(path: str, content: bytes) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # "loss of data": it would cut rows off
            frame = pd.read_csv(
                io.BytesIO(content), skip_blank_lines=False, low_memory=False, index_col=False, skipinitialspace=True
            )
    except pd.errors.ParserWarning:
        raise TraceError(f"{path}{_longer_than_its_header(content)}") from None
    except pd.errors.ParserError as error:
        said = str(error).strip().splitlines()[-1].removeprefix("Error tokenizing data. C error: ")
        raise TraceError(f"{path}: {said}") from None
    except UnicodeDecodeError:
        raise TraceError(f"{path}: is not a text file") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    frame.index = range(2, len(frame) + 2)
    return frame.dropna(how="all")  # blank lines


def _longer_than_its_header(content: bytes) -> str:
    """Where the first row stands that has more fields than the header, and what it is."""
    rows = csv.reader(io.StringIO(content.decode(errors="replace"), newline=""), skipinitialspace=True)
    names = next(rows)
    for row in rows:
        if any(field.strip() for field in row[len(names) :]):
            law = f"has {len(row)} fields, but the header names {len(names)}: {','.join(names)[:60]}"
            return f", line {rows.line_num}: {law} (a decimal comma?)"
    return ": has rows with more fields than the header"


def _json_lines(path: str, content: bytes) -> pd.DataFrame:
    rows, lines = [], []
    for line, text in enumerate(content.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise TraceError(f"{path}, line {line}: is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise TraceError(f"{path}, line {line}: is not a JSON object")
        missing = [key for key in MOONCAKE_KEYS if key not in row]
        if missing:
            raise TraceError(f"{path}, line {line}, column {missing[0]!r}: is missing; found {', '.join(row)}")
        rows.append((*(row[key] for key in MOONCAKE_KEYS), row.get("hash_ids")))
        lines.append(line)
    return pd.DataFrame(rows, columns=[*MOONCAKE_KEYS, "hash_ids"], index=lines)
