"""The typed door for folders of results: what is read back is checked, and nothing in a folder leads out of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pandas as pd
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sim.schema import ConfigError
from sim.study.folder import BILL, CONFIG, REPLICATIONS, ROW, SUMMARY, USAGE, read_json
from sim.study.one_file import WITHIN, content_within, with_half_widths

T = TypeVar("T")

BESIDE = ("log", "moment_zero", "model_error")
"""What summary.json holds beside the figures."""
JUDGEMENT = "slo_judgement"
_MOST_NODES = 1_000_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # The C loader is ten times as fast; some builds lack it.


def _figures(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a mapping of figures")
    for key, figure in value.items():
        if not isinstance(key, str) or not (
            figure is None or isinstance(figure, int | float) or figure == "inf" or key.endswith(JUDGEMENT)
        ):
            raise ValueError(f"{key} = {str(figure)[:40]!r}: must be a number, true, false, null or 'inf'")
    return {sys.intern(key): figure for key, figure in value.items()}  # one text for the rows of ten thousand files


Figures = Annotated[dict[str, Any], BeforeValidator(_figures)]
"""Figures of a summary by name: numbers, true or false, None, "inf", and the judgement of the SLO in words."""


DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What a library raises for a file that it cannot make sense of."""


class Row(BaseModel):
    """What a row.json holds: how a scenario of a sweep ended, and its figures."""

    model_config = ConfigDict(strict=True)

    status: Literal["ok", "failed"]
    digest: str
    overrides: dict[str, str] = {}
    error: str | None = None
    notes: list[str] = []
    hardware: list[str] = []
    """What the constants of the least known card rest on, then the model error; [] without a fleet."""
    question: str | None = None
    """Scenarios with the same one compete (see `competitors`); None in rows of versions that did not write it."""
    slo_ttft_s: float | None = None
    program: str | None = None
    """The digest of the program that played it (as of a manifest); None in rows of versions that did not write it."""
    setting: dict[str, str] = {}
    """What it rests on in short words (see `setting`); {} in rows of versions that did not write it."""
    summary: Figures = {}
    before: Figures = {}

    @model_validator(mode="before")
    @classmethod
    def _restore(cls, row: Any) -> Any:
        """A scenario in one file leaves out half-widths that are unknown."""
        if isinstance(row, dict) and WITHIN in row and isinstance(row.get("summary"), dict):
            return row | {"summary": with_half_widths(row["summary"])}
        return row


_ROW = TypeAdapter(Row)
_FIGURES: TypeAdapter[dict[str, Any]] = TypeAdapter(Figures)
_MODEL_ERROR: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, float | str | dict[str, str]])
_EACH: TypeAdapter[list[dict[str, Any]]] = TypeAdapter(Annotated[list[Figures], Field(min_length=1)])


def read_row(folder: Path) -> Row | None:
    """The row of a scenario; None if there is none that can be read, as where a process was killed.

    Raises ConfigError for one of another form.
    """
    path = folder / ROW
    try:
        state = path.stat()
    except OSError:
        return None
    return _row(path, state.st_ino, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=20_000)
def _row(path: Path, *_state: int) -> Row | None:
    """Kept, as all that is told of a study is read off its rows. A row is replaced as a whole; its state tells."""
    return checked(_ROW, path)


def read_replications(folder: Path) -> list[dict[str, Any]] | None:
    """The figures of each replication; None if they cannot be read. Raises ConfigError if they are of another form."""
    content = content_of(folder, REPLICATIONS)
    return None if content is None else _valid(_EACH, content, folder / REPLICATIONS)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a finished run or scenario, with files of its own or in one."""
    return (folder / USAGE).is_file() or content_within(folder, USAGE) is not None


def content_of(folder: Path, name: str) -> Any:
    """The content of a JSON file of a run, or of the row that holds it; None if it cannot be read."""
    content = content_within(folder, name)
    return read_json(folder / name) if content is None else content


def read_figures(folder: Path) -> dict[str, Any] | None:
    """The figures of a summary; None if they cannot be read. Raises ConfigError if they are of another form."""
    if content_within(folder, SUMMARY) is not None and (row := read_row(folder)) is not None:
        return {key: None if value == "inf" else value for key, value in row.summary.items()}
    content = read_json(folder / SUMMARY)
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in BESIDE}
    return None if content is None else _valid(_FIGURES, content, folder / SUMMARY)


def read_beside(folder: Path) -> dict[str, Any]:
    """What a summary holds beside the figures (BESIDE); {} if it cannot be read."""
    content = content_of(folder, SUMMARY)
    return {key: content[key] for key in BESIDE if key in content} if isinstance(content, dict) else {}


def read_model_error(folder: Path) -> dict[str, Any] | None:
    """The `model_error` of a summary; None if it has none. Raises ConfigError for one of another form."""
    error = read_beside(folder).get("model_error")
    return None if error is None else _valid(_MODEL_ERROR, error, folder / SUMMARY)


def read_bill(folder: Path) -> pd.DataFrame:
    """bill.csv as it was written. Raises ConfigError if it cannot be read."""
    text = content_within(folder, BILL)
    if text is None:
        return readable("the bill", folder / BILL, pd.read_csv)
    return readable("the bill", folder / ROW, lambda _: pd.read_csv(StringIO(text)))


def read_config(folder: Path) -> dict[str, Any] | None:
    """The resolved configuration of a scenario; None if it left none that can be read.

    Raises ConfigError for one that is no mapping.
    """
    path, content = folder / CONFIG, content_within(folder, CONFIG)
    if content is not None:
        return _require_mapping(content, folder / ROW, "the configuration of a finished run")
    try:
        if path.is_symlink():
            return None
        return _mapping(path, "the configuration of a finished run")
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML file that a user names. Raises ConfigError if it cannot be read, or holds none."""
    try:
        return _mapping(path, what)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: is not {what} in YAML ({in_short(error)})") from None


def _mapping(path: Path, what: str) -> dict[str, Any]:
    return _require_mapping(yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER), path, what)


def _require_mapping(content: Any, path: Path, what: str) -> dict[str, Any]:
    if not isinstance(content, dict) or _is_larger(content, _MOST_NODES):
        raise ConfigError(f"{path}: is not {what}: it must be a mapping of keys to values")
    return content


def _is_larger(content: Any, most: int) -> bool:
    """Whether plain data has more nodes, counted wherever an alias of YAML repeats them, than a configuration has."""
    nodes, n = [content], 0
    while nodes and n <= most:
        node = nodes.pop()
        n += 1
        nodes.extend(node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
    return n > most


def within(folder: Path, *names: str) -> Path:
    """A folder below a folder of results. Raises ConfigError if a link stands in its way: it might lead anywhere."""
    for name in names:
        folder = folder / name
        if folder.is_symlink():
            raise ConfigError(f"{folder}: is a link; nothing is read or written through a link in a folder of results")
    return folder


def readable(what: str, path: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of a file. Raises ConfigError if it makes nothing of it, or if it is a link."""
    if path.is_symlink() or not path.is_file():
        raise ConfigError(f"{path}: is not a file")
    try:
        return read(path)
    except DAMAGED as error:
        raise ConfigError(f"{path}: is not {what} of a finished run ({in_short(error)})") from None


def in_short(error: Exception) -> str:
    """An error of a library, short enough for a place in a line of our own."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:120]


def checked(adapter: TypeAdapter[T], path: Path, key: str | None = None) -> T | None:
    """The content of a JSON file, or what stands in it under `key`, in its type; None if it cannot be read.

    Raises ConfigError for content of another form.
    """
    content = read_json(path)
    if key is not None:
        content = content.get(key) if isinstance(content, dict) else None
    return None if content is None else _valid(adapter, content, path)


def _valid(adapter: TypeAdapter[T], content: Any, path: Path) -> T:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        law = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise ConfigError(f"{path}: {key}{': ' if key else ''}{law[:1].lower()}{law[1:]}") from None
