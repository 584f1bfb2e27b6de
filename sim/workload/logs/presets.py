"""Presets: what is known of the formats that request logs come in, as data (conf/log), and which one a log is."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from sim.conf_path import conf_dir
from sim.schema import Config, ConfigError, OneOf, TraceError, parse_config
from sim.workload.logs.readers.reader import LogReader, TableReader
from sim.workload.logs.roles import Columns, TimeFormat, Unit

FALLBACK = "plain"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # The C loader is ten times as fast; some builds lack it.


class SetAside(Config):
    """Rows that are no requests to replay: those whose column has (or has not) one of these values."""

    column: str
    equal: list[str] = Field([], description="set aside where the value is one of these")
    unlike: list[str] = Field([], description="set aside where the value is none of these, and not empty")
    filled: bool = Field(False, description="set aside where there is any value")
    why: str


class Preset(Config):
    """A format of request logs: which columns it has, what they mean, and by which keys it is known."""

    name: str
    title: str
    reader: OneOf[LogReader] = TableReader()
    distinctive: list[list[str]] = Field([], description="the format is known by any of these sets of keys")
    columns: Columns = Columns()
    time: TimeFormat = TimeFormat()
    units: dict[str, Unit] = Field({}, description="of the roles that are numbers of time units")
    undecided: Literal["s", "ms_if_whole"] = Field(
        "s",
        description="unit of number stamps that neither a name nor their digits tell; ms_if_whole: s with fractions",
    )
    cached: Literal["inside", "beside", "row", "total"] = Field(
        "inside", description="row: beside where it would not fit inside; total: as the column for `total` adds up"
    )
    reasoning: Literal["inside", "beside"] = Field("inside", description="of the output")
    prompts: Literal["auto", "whole", "added"] = Field("whole", description="what later inputs of a session hold")
    block_tokens: int | None = Field(None, ge=1, description="of a prefix block, where no column says it")
    set_aside: list[SetAside] = []
    wait_for: Literal["ids", "turns"] = Field(
        "ids", description="what `wait_for` lists: turns are those of its session"
    )
    origin: Literal["first", "file"] = Field("first", description="moment 0: the first row's, or the file's own")
    sums: bool = Field(False, description="rows are sums over many requests")
    notes: list[str] = Field([], description="what a reader of the receipt should know of the format")


@cache
def presets() -> dict[str, Preset]:
    """The presets of conf/log, by name."""
    return {path.stem: _load(path) for path in sorted((conf_dir() / "log").glob("*.yaml"))}


def preset_named(name: str) -> Preset:
    """The preset of conf/log, or of a YAML file, that `name` stands for. Raises ConfigError."""
    if name.endswith((".yaml", ".yml")):
        return _load(Path(name).expanduser())
    if name not in presets():
        raise ConfigError(f"arrivals.format = {name!r}: is none of auto, {', '.join(presets())}, and no YAML file")
    return presets()[name]


def _load(path: Path) -> Preset:
    try:
        raw = yaml.load(path.read_text(), Loader=_LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: is not a preset of a log")
    try:
        return parse_config(Preset, {"name": path.stem} | raw)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def detect(path: str, has: Callable[[str], bool]) -> tuple[Preset, list[str]]:
    """The preset whose distinctive keys the log has (`has(key)`), the longest set winning, and those keys.

    A log that has none of them is `plain`, known by no keys. Raises TraceError where two formats are known by as many.
    """
    found = [
        (len(keys), preset, keys)
        for preset in presets().values()
        for keys in preset.distinctive
        if all(has(key) for key in keys)
    ]
    if not found:
        return presets()[FALLBACK], []
    most = max(length for length, _, _ in found)
    best = {preset.name: (preset, keys) for length, preset, keys in found if length == most}
    if len(best) > 1:
        raise TraceError(f"{path}: may be any of {', '.join(best)}; say which with arrivals.format={next(iter(best))}")
    return next(iter(best.values()))
