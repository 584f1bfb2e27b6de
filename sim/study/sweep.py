"""A sweep of the command line: the grid is composed, played and collected into one table, a verdict and figures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from sim.composer import Composer
from sim.errors import INTERRUPTED
from sim.printable import printable
from sim.schema import ConfigError
from sim.study.collect import write_and_print
from sim.study.grid import done_already, play_grid, play_shard, study_folder
from sim.study.job import UNIQUE, clean
from sim.study.launchers import Launch, launcher_of
from sim.study.manifest import Source, manifest_of, read_manifest_of
from sim.study.planned import Planned, plan, plan_all
from sim.study.saved import read_row
from sim.study.scenario_folders import folders_in
from sim.study.shard import Shard


def run_sweep(composer: Composer, config: DictConfig, words: Sequence[str], shard: Shard | None = None) -> int:
    """Play every scenario of the grid once and print the table. Returns the exit code, 1 if any scenario failed.

    With `shard`, only what falls to it is played, and instead of a table a line is printed.

    `config` is what the words compose to without the values to be varied; it may bring axes of its own, overruled by
    the words. Finished scenarios are skipped, failed ones run again; where all are finished, none is composed. Raises
    ConfigError, with nothing written, if no scenario of the grid is valid.
    """
    parsed = OverridesParser.create().parse_overrides(list(words))
    of_hydra = [word for word, override in zip(words, parsed, strict=True) if override.is_hydra_override()]
    given = [word for word in words if word not in of_hydra]
    params = dict(config.hydra.sweeper.get("params") or {})
    launch = launcher_of(config.hydra.launcher, of_hydra)
    points = expand(composer.loader(), params, given)
    output: Any = OmegaConf.to_container(config.output)
    source = _source(composer, points, of_hydra)
    grid = [clean(point) for point in points]
    folder = done_already(output, grid, source, shard)
    is_new, last = folder is None, None

    def planned(only: Collection[int] | None = None) -> list[Planned]:
        return plan_all(points, lambda point: _planned(composer, point, of_hydra), output, only)

    try:
        if folder is None and shard is not None:
            folder, _ = play_part(study_folder(output, grid), source, shard, planned, launch)
        elif folder is None:
            every = planned()
            folder, last = play_grid(every, launch, source), manifest_of(list({p.digest: p for p in every}.values()))
    except KeyboardInterrupt:
        return INTERRUPTED
    if shard is not None:
        return _tell_shard(folder, shard)
    figures = output.get("figures") is not False
    page = bool(output.get("page", True))
    n_failed = write_and_print(folder, redraw=is_new, page=page, figures=figures, last=last)
    return int(n_failed > 0)


def play_part(
    folder: Path, source: Source | None, shard: Shard, planned: Callable[..., list[Planned]], launch: Launch
) -> tuple[Path, Sequence[Planned]]:
    """Play what falls to a shard. Returns the folder of the study and the shard's scenarios.

    `planned` plans the grid, or the scenarios at the places given. Where the source is known, nothing but the shard's
    own scenarios is composed, unless none of them is valid: then the others decide whether the sweep is. Raises
    ConfigError if it is not, and for a scenario whose folder has another name on each machine.
    """
    if source is not None:
        n_points = len(source.points)
        own = planned(shard.own(range(n_points)))
        _require_same_names(own)
        if not all(p.error for p in own):
            play_shard(own, folder, shard, launch, source, n_points, source.digest([]))
            return folder, own
    every = planned()
    _require_same_names(every)
    return play_grid(every, launch, source, shard), shard.own(every)


def _require_same_names(planned: Sequence[Planned]) -> None:
    """Raise ConfigError for a scenario whose folder has another name on each machine."""
    for name in (name for p in planned for name in p.code if name.startswith(UNIQUE)):
        raise ConfigError(
            f"shard: another machine cannot tell this scenario, as a class depends on{name[len(UNIQUE) :]}"
        )


def _tell_shard(folder: Path, shard: Shard) -> int:
    """Print how a shard ended. Returns the exit code."""
    manifest = read_manifest_of(folder, shard)
    assert manifest is not None  # as written before anything was played
    own, folders = manifest.digests, folders_in(folder)
    n_failed = sum((row := read_row(folders.get(name, folder / name))) is None or row.status != "ok" for name in own)
    print(f"shard {shard}: {len(own)} of {manifest.n_points} scenarios, {n_failed} failed -> {printable(str(folder))}")
    print(f"once all shards are done: llm-traffic-sim collect {printable(str(folder))}")
    return int(n_failed > 0)


def _source(composer: Composer, points: list[dict[str, str]], of_hydra: Sequence[str]) -> Source | None:
    """What these points are composed of; None if files beyond the folders of the composer belong to it."""
    words = [word for word in of_hydra if not word.lstrip("+").startswith(("hydra/launcher", "hydra.launcher"))]
    return None if any("searchpath" in word for word in words) else Source(points, words, composer.digest())


def expand(loader: Any, params: dict[str, str], arguments: list[str]) -> list[dict[str, str]]:
    """Every combination of the given values, as {key: value}; the last word on a key counts.

    `arrivals=steady,bursty seed=1` becomes `[{arrivals: steady, seed: 1}, {arrivals: bursty, seed: 1}]`.
    """
    words = [f"{key}={value}" for key, value in params.items()] + list(arguments)
    choices: dict[str, list[str]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(words):
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [override.get_value_element_as_str()]
        elif override.is_discrete_sweep():
            choices[key] = list(override.sweep_string_iterator())
        else:
            raise ConfigError(f"{override.input_line}: a sweep needs a list of values or range(...)")
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def _planned(composer: Composer, point: Mapping[str, str], of_hydra: Sequence[str]) -> Planned:
    config = composer.plain([*of_hydra, *(f"{key}={value}" for key, value in point.items())])
    return plan(clean(dict(point)), config)
