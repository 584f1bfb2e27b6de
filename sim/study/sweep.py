"""A grid of scenarios: composed and checked first, then simulated wherever the launcher likes, then one table."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from sim.schema import ConfigError
from sim.study.collect import collect, tell
from sim.study.errors import INTERRUPTED, one_line
from sim.study.folder import MANIFEST, ROW, digest, files_named_in, read_json, require_writable, write_json
from sim.study.job import clean, failed_row, parsed, plain_config
from sim.study.progress import progress


class Planned(NamedTuple):
    """One scenario of a sweep. `overrides` are all the arguments that make it; `error` says why it cannot run."""

    overrides: dict[str, str]
    digest: str
    output: dict[str, Any]
    error: str | None


def run_sweep(
    loader: Any, config: DictConfig, params: dict[str, str], arguments: list[str], launcher: Launcher
) -> None:
    """Run every scenario of the grid once. Prints the table; raises SystemExit(1) if any scenario failed.

    `params` are the sweep's own values (of an experiment), overruled by `arguments`. Finished scenarios are
    skipped, failed ones run again. Raises ConfigError, with nothing written, if no scenario of the grid is valid.
    """
    grid = expand(loader, params, arguments)
    planned = [_plan(loader, config, overrides) for overrides in grid]
    unique = list({p.digest: p for p in planned}.values())
    if all(p.error for p in unique):
        raise ConfigError(unique[0].error)
    folder = _study_folder(unique[0].output, grid)
    require_writable(folder)
    _launch(unique, folder, launcher)
    table = collect(folder)
    tell(table, folder)
    if (table["status"] != "ok").any():
        raise SystemExit(1)


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


def _plan(loader: Any, config: DictConfig, overrides: dict[str, str]) -> Planned:
    composed = loader.load_sweep_config(config, [f"{key}={value}" for key, value in overrides.items()])
    HydraConfig.instance().set_config(composed)
    task = composed.copy()
    task._set_flag("struct", False)
    del task["hydra"]
    raw = plain_config(task)
    error = None
    try:
        parsed(raw)
        for name in files_named_in(raw):
            if not Path(name).is_file():
                raise ConfigError(f"{name}: cannot be read: no such file")
    except ConfigError as refused:
        error = one_line(refused).removeprefix("error: ")
    return Planned(overrides, digest(raw), raw["output"], error)


def _launch(planned: list[Planned], folder: Path, launcher: Launcher) -> None:
    for p in planned:
        if p.error:
            write_json(folder / p.digest / ROW, failed_row(p.digest, clean(p.overrides), p.error))
    pending = [p for p in planned if not p.error and not _finished(folder, p)]
    write_json(folder / MANIFEST, {"digests": [p.digest for p in planned]})
    n_kept = len([p for p in planned if not p.error]) - len(pending)
    if n_kept:
        print(f"{n_kept} of {len(planned)} scenarios are already done in {folder}", file=sys.stderr)
    if not pending:
        return
    for p in pending:
        (folder / p.digest / ROW).unlink(missing_ok=True)
    try:
        with progress(len(pending), lambda: len(pending) - len(_without_row(folder, pending)), "scenarios"):
            _play(pending, folder, launcher)
    except KeyboardInterrupt:
        n_done = sum(_finished(folder, p) for p in planned)
        print(f"interrupted: {n_done} of {len(planned)} scenarios are kept in {folder}; "
              "the same command goes on from there", file=sys.stderr)  # fmt: skip
        raise SystemExit(INTERRUPTED) from None


def _play(pending: list[Planned], folder: Path, launcher: Launcher) -> None:
    """Launch them all together. If a worker dies, a launcher may give up the whole batch: then the rest one by one."""
    error = _launched(pending, folder, launcher)
    for p in _without_row(folder, pending):
        if error:
            print("a worker process died; the rest is played one by one", file=sys.stderr)
            error = None
        died = _launched([p], folder, launcher) or "left no result"
        for lost in _without_row(folder, [p]):
            row = failed_row(p.digest, clean(p.overrides), f"its process died (out of memory?): {died}")
            write_json(folder / lost.digest / ROW, row)


def _launched(pending: list[Planned], folder: Path, launcher: Launcher) -> str | None:
    """Why the launcher gave up; None if it did not."""
    try:
        launcher.launch([_words(p, folder) for p in pending], initial_job_idx=0)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return None


def _without_row(folder: Path, planned: list[Planned]) -> list[Planned]:
    return [p for p in planned if not (folder / p.digest / ROW).exists()]


def _words(p: Planned, folder: Path) -> list[str]:
    words = [f"{key}={value}" for key, value in p.overrides.items() if key.lstrip("+") != "output.study"]
    return [*words, f"output.study={folder.name}", f"output.folder='{p.digest}'"]  # quoted: 12e456789012 is a number


def _finished(folder: Path, p: Planned) -> bool:
    row = read_json(folder / p.digest / ROW)
    return bool(row) and row.get("status") == "ok"


def _study_folder(output: dict[str, Any], grid: list[dict[str, str]]) -> Path:
    """The folder that was asked for, or one named after what the grid varies, in whatever order."""
    name = output.get("study")
    if name is None:
        varied = sorted(key.lstrip("+") for key in grid[0] if len({overrides[key] for overrides in grid}) > 1)
        name = re.sub(r"[^\w.]+", "_", "by_" + "_and_".join(varied or ["nothing"])).strip("_")[:80]
    if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
        raise ConfigError(f"output.study = {name!r}: must be a plain folder name of letters, digits, _, . and -")
    return Path(output["dir"]) / name
