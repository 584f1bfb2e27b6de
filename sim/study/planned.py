"""One scenario of a sweep, checked and named before anything is played."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from hydra.errors import MissingConfigException

from sim.effort import expected_cpu_s
from sim.errors import REFUSABLE, one_line
from sim.schema import Config, ConfigError, LackedKey
from sim.study.folder import digest, files_named_in
from sim.study.job import code_or_unique, parsed
from sim.study.progress import progress
from sim.study.scenario_folders import folder_name

V = TypeVar("V")


@dataclass(frozen=True)
class Planned:
    """One scenario of a sweep. `overrides` are all the arguments that make it; `error` says why it cannot run."""

    overrides: dict[str, str]
    digest: str
    output: dict[str, Any]
    error: str | None
    config: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Config] = field(default_factory=dict)
    """Objects in place of configuration, by dotted key."""
    code: Mapping[str, str] = field(default_factory=dict)
    """What it runs beside the program (see `policy_code`)."""
    cpu_s: float | None = None
    """What playing it takes, roughly; None if that is not known."""
    folder: str = ""
    """The name of its folder in the study; "" if that is the digest alone."""

    def place(self, study: Path) -> Path:
        """Its folder in the folder of a study."""
        return study / (self.folder or self.digest)

    @property
    def files(self) -> list[str]:
        """The files that its configuration names."""
        return list(files_named_in(self.config))


def plan(overrides: dict[str, str], config: Mapping[str, Any], parts: Mapping[str, Config] | None = None) -> Planned:
    """Check one scenario of a sweep, given as plain data, and name its folder."""
    error, code, cpu_s = None, {}, None
    try:
        scenario = parsed(dict(config), parts)
        code, cpu_s = code_or_unique(scenario), expected_cpu_s(scenario)
        for name in files_named_in(config):
            _require_file(name)
    except ConfigError as refused:
        error = one_line(refused).removeprefix("error: ")
    return Planned(overrides, digest(config, code), config["output"], error, config, parts or {}, code, cpu_s)


def _require_file(name: str) -> None:
    try:
        os.stat(name)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not Path(name).is_file():
        raise ConfigError(f"{name}: cannot be read: is not a file")


def plan_all(
    points: Sequence[dict[str, V]],
    planned: Callable[[dict[str, V]], Planned],
    output: Mapping[str, Any],
    only: Collection[int] | None = None,
) -> list[Planned]:
    """Plan every point of a grid, given as values by key, or `only` those at these places; `planned` composes one.

    A folder is called after the keys that vary in the grid. A key that a point varies and that its other choices do not
    have, such as `scaling.n_replicas` of a fleet at zero, is left out of it. A point that cannot be composed is planned
    as one that cannot run; `output` says where its results go. Raises ConfigError for a key that no point has, and what
    Hydra raises for a choice that does not exist: both are typing errors.
    """
    varied = {key for key in points[0] if len({str(point[key]) for point in points}) > 1}
    found: list[Planned] = []
    refused: dict[str, LackedKey] = {}
    had: set[str] = set()
    wanted = points if only is None else [points[place] for place in only]
    with progress([None] * len(wanted), lambda: [None] * (len(wanted) - len(found)), "checking scenarios", quiet_s=3.0):
        for point in wanted:
            found.append(_plan_one(point, planned, output, varied, refused, had))
    if nowhere := [key for key in refused if key not in had]:
        if only is None:
            raise refused[nowhere[0]]
        plan_all(points, planned, output)  # Another point may have it; if none has, this says so.
    names = {key.lstrip("+") for key in varied}
    return [replace(p, folder=folder_name(p.overrides, names, p.digest)) for p in found]


def _plan_one(
    point: dict[str, V], planned: Callable[[dict[str, V]], Planned], output: Mapping[str, Any], varied: set[str],
    refused: dict[str, LackedKey], had: set[str],
) -> Planned:  # fmt: skip
    """Plan a point without the varied keys that its choices lack, which join `refused`; the others join `had`."""
    left = dict(point)
    while True:
        try:
            found = planned(left)
        except LackedKey as lacked:
            key = next((key for key in left if key.lstrip("+") == lacked.key and key in varied), None)
            if key is None:
                return _not_composed(left, lacked, output)
            refused[key] = lacked
            del left[key]
        except MissingConfigException:
            raise
        except REFUSABLE as error:
            return _not_composed(left, error, output)
        else:
            had.update(left)
            return found


def _not_composed(point: Mapping[str, Any], error: Exception, output: Mapping[str, Any]) -> Planned:
    overrides = {key: str(value) for key, value in point.items()}
    text = one_line(error).removeprefix("error: ")
    return Planned(overrides, digest({"not_composed": overrides}), dict(output), text)
