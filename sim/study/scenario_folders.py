"""The folders of a study's scenarios: what they are called, and which there are.

A name begins with the values that the sweep varies, for people who look into the study. Behind its last hyphen stands
the digest, by which the program finds a scenario: two sweeps that vary different keys may both have it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from sim.study.folder import ROW

_LONGEST = 80  # characters, so that a path of several folders still fits into the 260 of Windows
_NAME_THEMSELVES = ("arrivals", "fleet")
"""Keys whose values say what they are of; they come first, so that the folders of a fleet stand together."""


def folder_name(overrides: Mapping[str, str], varied: Collection[str], digest: str) -> str:
    """The name of a scenario's folder: its values of the varied keys, or of all keys where none varies; its digest.

    >>> folder_name({"fleet": "always_on", "+scaling.n_replicas": "2", "seed": "7"}, ["fleet", "scaling.n_replicas"],
    ...             "11d68fbd7eb4")
    'always_on-scaling.n_replicas=2-11d68fbd7eb4'
    """
    given = {key.lstrip("+"): str(value) for key, value in overrides.items() if not key.startswith("output.")}
    shown = {key: value for key, value in given.items() if key in varied} or given
    parts = [shown[key] for key in _NAME_THEMSELVES if key in shown]
    parts += [f"{key}={value}" for key, value in shown.items() if key not in _NAME_THEMSELVES]
    readable = re.sub(r"[^A-Za-z0-9_.=+-]+", "_", "-".join(parts))[:_LONGEST].strip("._-")
    return f"{readable}-{digest}" if readable else digest


def digest_in(name: str) -> str:
    """The digest in the name of a scenario's folder."""
    return name.rpartition("-")[2]


def by_number(name: str) -> list[str | int]:
    """A key to sort names by, for which 10 comes after 9.

    >>> sorted(["seed=10-0a", "seed=9-ff"], key=by_number)
    ['seed=9-ff', 'seed=10-0a']
    """
    parts = re.split(r"(\d+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def folders_in(study: Path) -> dict[str, Path]:
    """The folders in a study by the digest in their names, ordered by name; {} if there is no such folder.

    Of two with one digest, as two sweeps at the same moment may leave, it is the first that has a row.
    """
    try:
        with os.scandir(study) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[str, Path] = {}
    for name in names:
        digest = digest_in(name)
        if digest not in found or not (found[digest] / ROW).is_file():
            found[digest] = study / name
    return found
