"""The folders and files of results: folders are named after their content, files are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sim.conf_path import conf_dir
from sim.ledger.tariffs.listed import package_version
from sim.schema import ConfigError, TraceError
from sim.workload.logs.files import files_of

SUMMARY, REPLICATIONS, USAGE = "summary.json", "replications.json", "usage.json"
CONFIG, BILL = "config.yaml", "bill.csv"
REQUESTS, SPANS, TIMELINE = "requests.parquet", "spans.parquet", "timeline.png"
ALWAYS = frozenset({CONFIG, USAGE, BILL, REPLICATIONS, SUMMARY})
"""Files that every finished scenario has, unless its row holds their content (see `one_file`)."""
ROW = "row.json"
"""Written last: a folder with an `ok` row holds a finished scenario."""
MANIFEST = "study.json"
"""Lists the scenarios of the last sweep of a study. What earlier sweeps finished counts, too (see `members`)."""
SHARD_MANIFESTS = "study.*_of_*.json"
"""In place of it, one of each shard of a sweep, with the shard's own folders."""
RESULTS = "results"
APPLICATIONS = "applications.csv"
"""Of a sweep of several applications: one row per scenario and application."""
NO_RESULT = ("dir", "study", "folder", "page")
"""Keys of `output` that no file of a scenario depends on."""
_MOST_DIGITS = 20  # of a whole number: more than 64 bits hold


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary name that becomes `path` at the end, or vanishes if anything, Ctrl-C too, gets in between.

    Raises ConfigError if the disk is full, or the folder cannot be written.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[None]:
    """What the block writes into `folder` stays only if the block comes to its end; an earlier row goes first."""
    for leftover in folder.glob(".*.partial.*"):  # of a process that was killed
        leftover.unlink(missing_ok=True)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    before = set(folder.iterdir()) if folder.is_dir() else set()
    (folder / ROW).unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for path in set(folder.iterdir()) - before:
                path.unlink()
            for place in made:
                place.rmdir()
        raise


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of a scenario but its row, which promises them. Raises ConfigError if one is missing."""
    found = _sizes(folder)
    if lacking := ALWAYS - set(found):
        raise ConfigError(f"{folder}: {', '.join(sorted(lacking))} was removed while the results were written")
    return found


def _sizes(folder: Path) -> dict[str, int]:
    try:
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
        return {path.name: path.stat().st_size for path in files if path.name != ROW}
    except FileNotFoundError:
        return {}


def is_finished(folder: Path) -> bool:
    """Whether a scenario was played to its end and every file that its row lists exists with the listed size."""
    row = read_json(folder / ROW)
    if not isinstance(row, dict) or row.get("status") != "ok" or not isinstance(row.get("files"), dict):
        return False
    found = _sizes(folder)
    return all(found.get(name) == size for name, size in row["files"].items())


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Replace `path` by `value` in one step; NaN and infinity become null, numpy numbers plain ones.

    Without `indent` it is one line without blanks, for what programs read.
    """
    separators = (",", ":") if indent is None else None
    write_text(path, json.dumps(plain(value), indent=indent, separators=separators, allow_nan=False) + "\n")


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """A table of which a spreadsheet runs no cell and no column name: `'` marks what it would take for a formula."""
    texts = [key for key in table.columns if not pd.api.types.is_numeric_dtype(table[key])]
    return table.assign(**{key: table[key].map(_no_formula) for key in texts}).rename(columns=_no_formula)


def _no_formula(cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def plain(value: Any) -> Any:
    """`value` in the types that JSON has: numpy numbers as plain ones, NaN and infinity as None, others as text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if it is absent, a link, or unreadable, as with NaN in it."""
    try:
        if path.is_symlink():
            return None
        return json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite, parse_int=_whole
        )
    except (OSError, ValueError, RecursionError):
        return None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(text)
    return int(text)


def require_writable(folder: Path) -> None:
    """Raise ConfigError, before any work is done, if results cannot be written to `folder`. Leaves nothing behind."""
    parent = next((p for p in (folder, *folder.parents) if p.exists()), Path("."))
    try:
        probe = parent / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"output.dir: cannot write to {folder}: {parent} says {error.strerror or error}") from None


def digest(config: Mapping[str, Any], code: Mapping[str, str] | None = None) -> str:
    """Twelve hex digits that name a scenario: its resolved config, the program that runs it and the traces it reads.

    `code` is the code of plug-in and notebook classes in the scenario (see `policy_code`). The place of the results
    (`output.dir`, `output.study`, `output.folder`) and the page of a sweep are left out.
    """
    content = {k: v for k, v in config.items() if k != "output"}
    content["output"] = {k: v for k, v in (config.get("output") or {}).items() if k not in NO_RESULT}
    content["order_of_pools"] = list(config.get("pools") or ())  # keys are sorted below, but here order has a meaning
    content["program"] = program_hash()
    if code:
        content["code"] = dict(code)
    content["files"] = {name: files_hash(name) for name in sorted(files_named_in(config))}
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()[:12]


@lru_cache(maxsize=1)
def program_hash() -> str:
    """Hash of every source file of the program and of the versions of what its numbers depend on."""
    root = Path(__file__).resolve().parent.parent
    total = hashlib.sha256(f"{np.__version__} {package_version()}".encode())
    presets = (conf_dir() / "log").glob("*.yaml")  # These files decide how a log is read, so numbers depend on them.
    for path in sorted([*root.rglob("*.py"), *presets]):
        total.update(path.name.encode() if path.suffix == ".yaml" else str(path.relative_to(root)).encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def program_name() -> str:
    """Twelve hex digits of the hash of the program, for records that say what played a scenario."""
    return program_hash()[:12]


def files_named_in(value: Any) -> Iterator[str]:
    """Every value of a key `path` or `..._path` in a config, and formats that are files."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and (
                key == "path" or str(key).endswith("_path") or (key == "format" and inner.endswith((".yaml", ".yml")))
            ):
                yield inner
            else:
                yield from files_named_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from files_named_in(inner)


def files_hash(name: str) -> list[str]:
    """The hash of a file, or of each file of a folder or glob; empty if there is none, which its reader refuses."""
    try:
        return [_file_hash(str(file)) for file in files_of(name)]
    except (TraceError, OSError):
        return []


def _file_hash(name: str) -> str:
    stat = os.stat(name)
    return _hash_of(os.path.abspath(name), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _hash_of(path: str, _mtime_ns: int, _size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
