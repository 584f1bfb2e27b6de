"""From the paths of result files to operating points; the format of each is told from its content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from sim.measured.readers.llmperf import summary_beside
from sim.measured.readers.plain_csv import PlainCsv
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.schema import TraceError


def read_results(paths: Iterable[str]) -> Results:
    """Operating points and measured runs of result files. Raises TraceError naming file, row and column."""
    results, paths = Results(), list(paths)
    summaries = {beside for path in paths if (beside := summary_beside(path)) != path}
    for path in paths:
        if path in summaries:
            results.notes.append(f"{path}: the run is read from its requests, in the file beside it")
            continue
        for document in _together(path, list(_documents(path, _text(path)))):
            reader = _reader_of(document)
            found = reader.read(document)
            results.add(found)
            results.add_receipt(path, reader.format.partition(" (")[0], found)
    if not results.points and not results.runs:
        raise TraceError("no operating point to learn from: " + ("; ".join(results.notes) or "the files hold none"))
    return results


@cache
def result_readers() -> tuple[ResultsReader, ...]:
    """One of every class derived from ResultsReader in the modules of this folder, in alphabetical order of these."""
    package = __name__.rpartition(".")[0]
    modules = [import_module(f"{package}.{found.name}") for found in iter_modules([str(Path(__file__).parent)])]
    found = [value for module in modules for value in vars(module).values() if _is_reader_of(value, module.__name__)]
    return tuple(reader() for reader in found)


def _together(path: str, documents: list[Document]) -> list[Document]:
    """The documents, or one of them all where each is a request of a run."""
    if any(reader.is_request(documents[0].content) for reader in result_readers() if documents):
        return [Document(path, path, [document.content for document in documents])]
    return documents


def _is_reader_of(value: Any, module: str) -> bool:
    is_reader = isinstance(value, type) and issubclass(value, ResultsReader)
    return is_reader and value is not ResultsReader and value.__module__ == module


def _reader_of(document: Document) -> ResultsReader:
    for reader in result_readers():
        if reader.recognises(document):
            return reader
    if isinstance(document.content, str):
        return PlainCsv()  # its message names the column that is missing
    known = [reader.format for reader in result_readers() if not isinstance(reader, PlainCsv)]
    raise TraceError(f"{document.place}: is none of: {'; '.join(known)}")


def _text(path: str) -> str:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TraceError(f"{path}: is not a text file") from None
    if not text.strip():
        raise TraceError(f"{path}: is empty")
    return text


def _documents(path: str, text: str) -> Iterator[Document]:
    """The documents of a file: its text, one JSON value, each entry of a JSON list, or each line of JSON lines."""
    if text.lstrip()[0] not in "{[":
        yield Document(path, path, text)
        return
    try:
        whole_file = json.loads(text)
    except RecursionError:
        raise TraceError(f"{path}: is nested too deeply") from None
    except json.JSONDecodeError as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2 or error.msg != "Extra data":
            raise TraceError(f"{path}, line {error.lineno}, column {error.colno}: is not JSON: {error.msg}") from None
        yield from [Document(path, f"{path}, line {number}", _line(path, number, line)) for number, line in lines]
        return
    if isinstance(whole_file, list):
        yield from (Document(path, f"{path}, entry {i}", entry) for i, entry in enumerate(whole_file, 1))
    else:
        yield Document(path, path, whole_file)


def _line(path: str, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise TraceError(f"{path}, line {number}, column {error.colno}: is not JSON: {error.msg}") from None
