"""Which column plays which role: those that the user names, else those that the preset knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sim.schema import TraceError
from sim.workload.logs.paths import nearest, normal
from sim.workload.logs.presets import Preset, detect, preset_named
from sim.workload.logs.roles import DURATIONS, MOMENTS, ROLES, Columns, LogOptions
from sim.workload.logs.tables import Table

_UNITS = (
    (r"(?:^|_)(?:ns|nanos?|nanoseconds)$", "ns"),
    (r"(?:^|_)(?:us|micros?|microseconds)$", "us"),
    (r"(?:^|_)(?:ms|millis?|milliseconds|msec)$", "ms"),
    (r"(?:^|_)(?:s|secs?|seconds)$", "s"),
)
_SINGLE = (*MOMENTS, *DURATIONS)  # the first name found alone counts: others may have other units


class Understood(NamedTuple):
    """How a log was understood: its preset, the keys that it was known by, and the columns by role, in order of
    preference."""

    preset: Preset
    keys: list[str]
    columns: dict[str, list[str]]

    @property
    def watched(self) -> frozenset[str]:
        """Top keys of columns that this log might still come to have."""
        names = (name for role in ROLES for name in self.preset.columns.of(role))
        return frozenset(name.split(".")[0] for name in names)


def understand(table: Table, options: LogOptions, shown: str) -> Understood:
    """The preset and the columns of a log. Raises TraceError for a column that is missing, naming the nearest."""
    keys: list[str] = []
    if options.format == "auto":
        preset, keys = detect(shown, table.has)
    else:
        preset = preset_named(options.format)
    columns = {}
    for role in ROLES:
        names = options.columns.of(role)
        if names == ["none"]:
            continue
        found = [name for name in names if table.has(name)]
        if names and not found:
            raise TraceError(
                f"{shown}: arrivals.columns.{role}={names[0]}: no such column; found {_shown(table.names)}"
            )
        found = found or _of_preset(table, preset.columns, role)
        if found:
            columns[role] = found[:1] if role in _SINGLE else found
    return Understood(preset, keys, columns)


def _of_preset(table: Table, columns: Columns, role: str) -> list[str]:
    names = columns.of(role)
    found = [name for name in names if table.has(name)]
    if found:
        return found
    plain = {normal(name): name for name in reversed(table.names)}
    return [plain[normal(name)] for name in names if normal(name) in plain]


def require(understood: Understood, table: Table, shown: str) -> None:
    """Raise TraceError unless there are moments and token counts."""
    columns = understood.columns
    if "arrived" not in columns and not ("ended" in columns and "duration" in columns):
        _missing("arrived", understood, table, shown)
    for role in ("input", "output"):
        if role not in columns:
            _missing(role, understood, table, shown)


def _missing(role: str, understood: Understood, table: Table, shown: str) -> None:
    names = understood.preset.columns.of(role) or [role]
    taken = {name for found in understood.columns.values() for name in found}
    free = [name for name in table.names if name not in taken]
    column = nearest([*names, role], free) or (free[0] if len(free) == 1 else None)
    where = f"{shown}, {table.place} 1" if table.place != "entry" else f"{shown}, entry 1"
    if re.search(r"chunk-\w+-(trace\.csv|dataset\.json)", shown):
        raise TraceError(
            f"{shown}: is one of ServeGen's client files: rates, not requests: arrivals=client_mix "
            "arrivals.path=FOLDER plays all of a folder"
        )
    law = f"column {names[0]!r}: is missing; found {_shown(table.names)}"
    if all(re.fullmatch(r"[\d.:\-+TZ ]+", name) for name in table.names):
        law += " (has the file no header line?)"
    if column is None:
        raise TraceError(f"{where}, {law}; say which column it is: arrivals.columns.{role}=NAME")
    raise TraceError(f"{where}, {law}; if {column!r} is it: arrivals.columns.{role}={quoted(column)}")


def quoted(name: str) -> str:
    """A name as it can be typed after `=` on a command line."""
    return name if re.fullmatch(r"[\w.\-/]+", name) else f"\"'{name}'\""


def _shown(names: Sequence[str]) -> str:
    text = ", ".join(map(str, names))
    return text if len(text) <= 300 else text[:297] + "..."


def unit_in_name(name: str) -> str | None:
    """The unit that a column's name ends with.

    >>> [unit_in_name(name) for name in ("arrived_s", "startTimeUnixNano", "duration_e2e_ms", "timestamp")]
    ['s', 'ns', 'ms', None]
    """
    last = normal(name).rpartition(".")[2]
    return next((unit for pattern, unit in _UNITS if re.search(pattern, last)), None)


def unit_of(role: str, understood: Understood, options: LogOptions) -> tuple[str, str]:
    """The unit of a role's numbers (`auto` if nothing says it) and what says so."""
    name, preset = understood.columns[role][0], understood.preset
    if role in MOMENTS and options.time.unit != "auto":
        return options.time.unit, "as told"
    # The units of a preset are those of its own columns, not of a column that the user names.
    by_hand = name in options.columns.of(role)
    if not by_hand and role in preset.units:
        return preset.units[role], f"as {preset.name} has it"
    if not by_hand and role in MOMENTS and preset.time.unit != "auto":
        return preset.time.unit, f"as {preset.name} has it"
    unit = unit_in_name(name)
    return (unit, "by its name") if unit else ("auto", "assumed")
