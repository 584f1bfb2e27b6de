"""sweep and load: the grid of the command line for those who write Python, in the same folders."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sim.composer import Composer
from sim.composition import Composition, value_text
from sim.errors import REFUSABLE, one_line
from sim.scenarios import Scenario
from sim.schema import Config, ConfigError
from sim.study.collect import collect, write_table
from sim.study.enough import confidence_of
from sim.study.folder import REPLICATIONS, SUMMARY
from sim.study.grid import play_grid, study_folder
from sim.study.job import UNIQUE, clean
from sim.study.launchers import Launch, launcher_of
from sim.study.manifest import Source
from sim.study.planned import Planned, plan, plan_all
from sim.study.played import Result
from sim.study.results import read_usages
from sim.study.saved import (
    is_run,
    read_bill,
    read_config,
    read_figures,
    read_model_error,
    read_replications,
    read_row,
)
from sim.study.setting import read_setting
from sim.study.shard import WORD, split_off
from sim.study.sweep import expand, play_part
from sim.study.table import Table
from sim.study.workers import ALL_CORES, Workers

_AXES = (list, tuple, range, np.ndarray, pd.Series, pd.Index)


def sweep(
    base: Scenario,
    *,
    study: str | None = None,
    outputs: str | Path | None = None,
    n_jobs: int = ALL_CORES,
    launcher: Sequence[str] = (),
    shard: str | None = None,
    **axes: Any,
) -> Table:
    """Play every combination of the given values, in parallel, and return the table. Raises SimError.

    `axes` are keys of a scenario, each with a list of values (a single value holds for all); a dotted key is given as
    `**{"slo.ttft_s": [1, 2]}`, a list as a value as `[[1, 2, 3]]`, and a value may be an object such as a policy of
    one's own. An experiment (`sim.scenario("+experiment=shapes_by_fleets")`) brings axes of its own.

    Every scenario has a folder below `outputs`/`study` named after its content, the same as the command line gives it,
    so what is done, here or there, is not done again and an interrupted sweep goes on where it was. The table has the
    scenarios of this sweep; results.csv and `load` of the folder have what earlier sweeps into it finished, too. A
    failed scenario is a row that says why (`Table.failed`). `n_jobs` is the number of processes; -1: one per core, or
    this one alone where all scenarios together take a few seconds. `launcher` plays them on other machines instead, in
    the words of the command line: `["hydra/launcher=ray", "hydra.launcher.address=auto"]`. With `shard="3/64"` only the
    third of 64 parts is played and returned; once all parts are, `load` of their folder is the table.

    >>> import sim
    >>> base = sim.scenario("lengths=fixed", horizon_s=60, **{"arrivals.rate_per_s": 0.5})
    >>> table = sim.sweep(base, gpu=["l4", "l40s"], n_jobs=1)
    >>> list(table.frame["gpu"]), table.folder.as_posix()
    (['l4', 'l40s'], 'outputs/by_gpu')
    """
    composer = Composer()
    where = {key: str(value) for key, value in (("study", study), ("dir", outputs)) if value is not None}
    output = base.composition.config["output"] | where

    points = _points(base.composition, axes)

    def planned(only: Collection[int] | None = None) -> list[Planned]:
        return plan_all(points, lambda point: _planned(base.composition, point, composer, where), output, only)

    part = None if shard is None else split_off([f"{WORD}{shard}"])[1]
    launch = _launcher(composer, launcher) if launcher else Workers(n_jobs)
    if part is not None:
        grid = [_texts(*base.composition.given(*_words_and_keys(point))) for point in points]
        folder, own = play_part(study_folder(output, grid), Source(grid, (), composer.digest()), part, planned, launch)
        return Table(folder, _digests(own))
    own = planned()
    if undescribed := {name.removeprefix(UNIQUE) for p in own for name in p.code if name.startswith(UNIQUE)}:
        print(f"note: played anew each time: a class depends on{', '.join(sorted(undescribed))}", file=sys.stderr)
    folder = play_grid(own, launch)
    write_table(collect(folder), folder)
    return Table(folder, _digests(own))


def _digests(planned: Sequence[Planned]) -> list[str]:
    return list(dict.fromkeys(p.digest for p in planned))


def _launcher(composer: Composer, words: Sequence[str]) -> Launch:
    """What the words ask for. Raises ConfigError."""
    try:
        return launcher_of(composer.composed(words).hydra.launcher, words)
    except ConfigError:
        raise
    except REFUSABLE as error:
        raise ConfigError(one_line(error).removeprefix("error: ")) from None


def load(folder: str | Path) -> Table | Result:
    """A finished study as a Table, or a finished run as a Result. Raises ConfigError for any other folder.

    >>> import sim
    >>> base = sim.scenario("lengths=fixed", horizon_s=60, **{"arrivals.rate_per_s": 0.5})
    >>> table = sim.sweep(base, gpu=["l4"], study="small", n_jobs=1)
    >>> len(sim.load("outputs/small")), sim.load(table.folder / table.frame["folder"][0])["requests"].mean > 0
    (1, True)
    """
    folder = Path(folder)
    if is_run(folder):
        return _load_run(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder")
    return Table(folder)


def _load_run(folder: Path) -> Result:
    row, summary, each = read_row(folder), read_figures(folder), read_replications(folder)
    if summary is None or each is None:
        raise ConfigError(f"{folder}: is not the folder of a finished run: {SUMMARY} or {REPLICATIONS} is missing")
    bills = [bill.drop(columns="replication") for _, bill in read_bill(folder).groupby("replication")]
    usages = read_usages(folder)[2]
    kept = summary if row is None else row.summary  # where infinite figures are not null
    summary = {key: float("inf") if kept.get(key) == "inf" else value for key, value in summary.items()}
    config, notes = read_config(folder) or {}, () if row is None else tuple(row.notes)
    name, confidence = str(config.get("name", folder.name)), confidence_of(config.get("replications", 1))
    return Result(
        summary, each, usages, bills, [], notes, name, (), confidence, folder,
        model_error=read_model_error(folder), hardware=() if row is None else tuple(row.hardware),
        setting=read_setting(folder),
    )  # fmt: skip


def _points(composition: Composition, axes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of the axes, and of the experiment's own for keys that neither they nor the base set."""
    choices: dict[str, list[Any]] = {}
    fixed = {*composition.words, *composition.parts}
    varied = {key: texts for key, texts in composition.grid.items() if key.lstrip("+") not in fixed}
    for point in expand(None, varied, []):
        for key, text in point.items():
            values = choices.setdefault(key, [])
            if text not in values:
                values.append(Word(text))
    for key, value in axes.items():
        values = list(value) if isinstance(value, _AXES) else [value]
        if not values:
            raise ConfigError(f"{key}: has no values")
        choices[key] = values
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


class Word(str):
    """A value that is in Hydra's grammar already."""


def _words_and_keys(point: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    words = [f"{key}={value}" for key, value in point.items() if isinstance(value, Word)]
    return words, {key: value for key, value in point.items() if not isinstance(value, Word)}


def _planned(base: Composition, point: Mapping[str, Any], composer: Composer, where: Mapping[str, str]) -> Planned:
    composition = base.changed(*_words_and_keys(point), composer)
    config = {**composition.config, "output": composition.config["output"] | where}
    return plan(_texts(composition.words, composition.parts), config, composition.parts)


def _texts(words: Mapping[str, str], parts: Mapping[str, Config]) -> dict[str, str]:
    """What a scenario was given, by key, as columns of a table."""
    texts = {key: word.partition("=")[2] for key, word in words.items()}
    return clean(texts | {key: _label(part) for key, part in parts.items()})


def _label(part: Config) -> str:
    """A part in a column of the table: its kind, or its class, and the fields that are not as by default."""
    changed = part.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    name = getattr(part, "kind", None) or type(part).__name__
    return f"{name}{value_text(changed)}" if changed else name
