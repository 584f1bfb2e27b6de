"""A grid of planned scenarios: what is done is kept, the rest is played, however it is launched."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sim.schema import ConfigError
from sim.study.claims import claim
from sim.study.folder import ROW, is_finished, require_writable, write_json
from sim.study.job import PARENT_PID, clean, failed_row
from sim.study.launchers import Launch
from sim.study.manifest import (
    Manifest,
    Source,
    digest_of_names,
    is_done,
    manifest_of,
    manifest_of_shard,
    read_manifest_of,
    write_manifest,
)
from sim.study.planned import Planned
from sim.study.progress import Weights, progress
from sim.study.scenario_folders import folders_in
from sim.study.shard import Shard

_MANY_SEEDS = 3


def play_grid(
    planned: Sequence[Planned], launch: Launch, source: Source | None = None, shard: Shard | None = None
) -> Path:
    """Play every scenario once and return the folder of the study. Finished ones are skipped, failed ones run again.

    `source` is all that they were composed of, if that is known: then it is recorded (see `is_done`). With `shard`,
    only its part is played. Raises ConfigError, with nothing written, if no scenario of the grid is valid;
    KeyboardInterrupt after Ctrl-C, with what is done kept.
    """
    if all(p.error for p in planned):
        raise ConfigError(planned[0].error)
    folder = study_folder(planned[0].output, [p.overrides for p in planned])
    _tell_hints([p.overrides for p in planned])
    if shard is None:
        unique = list({p.digest: p for p in planned}.values())
        _play_recorded(unique, folder, manifest_of(unique, source), launch, None)
    else:
        sweep = source.digest([]) if source else digest_of_names(planned)
        play_shard(shard.own(planned), folder, shard, launch, source, len(planned), sweep)
    return folder


def play_shard(
    own: Sequence[Planned], folder: Path, shard: Shard, launch: Launch, source: Source | None, n_points: int, sweep: str
) -> None:
    """Play the scenarios of a shard, of the `n_points` of the sweep with the digest `sweep`."""
    _play_recorded(own, folder, manifest_of_shard(own, source, n_points, sweep), launch, shard)


def _play_recorded(
    planned: Sequence[Planned], folder: Path, manifest: Manifest, launch: Launch, shard: Shard | None
) -> None:
    require_writable(folder)
    write_manifest(folder, manifest, shard)
    known = folders_in(folder)  # A sweep that varied other keys may have called the folder of a scenario otherwise.
    unique = {p.digest: replace(p, folder=known[p.digest].name) if p.digest in known else p for p in planned}
    _run(list(unique.values()), folder, launch)


def done_already(
    output: dict[str, Any], grid: Sequence[Mapping[str, str]], source: Source | None, shard: Shard | None = None
) -> Path | None:
    """The folder of a study whose last sweep, or this shard of it, had this source and has come to its end; or None."""
    folder = study_folder(output, grid)
    manifest = read_manifest_of(folder, shard)
    if manifest is None or source is None or not is_done(folder, manifest, source):
        return None
    _tell_hints(grid)
    own, folders = set(manifest.digests), folders_in(folder)
    kept = own - set(manifest.refused)
    _ask_again([folders[name] for name in kept])
    _tell_kept(len(kept), len(own), folder)
    return folder


def _ask_again(kept: Sequence[Path]) -> None:
    """Stamp folders that are kept with the present time: of two that the same words asked for, the newest counts."""
    for folder in kept:
        with suppress(OSError):
            os.utime(folder)


def _tell_hints(grid: Sequence[Mapping[str, str]]) -> None:
    for hint in hints(grid):
        print(f"note: {hint}", file=sys.stderr)


def _tell_kept(n_kept: int, n_all: int, folder: Path) -> None:
    if n_kept:
        print(f"{n_kept} of {n_all} scenarios are already done in {folder}", file=sys.stderr)


def hints(grid: Sequence[Mapping[str, str]]) -> list[str]:
    """What may not have been meant by a grid."""
    n_seeds = len({overrides["seed"] for overrides in grid if "seed" in overrides})
    if n_seeds < _MANY_SEEDS:
        return []
    return [
        f"seed has {n_seeds} values, and each is a question with a verdict of its own; replications={n_seeds} instead "
        "gives one verdict, with intervals"
    ]


def _run(planned: list[Planned], folder: Path, launch: Launch) -> None:
    for p in planned:
        if p.error:
            write_json(p.place(folder) / ROW, failed_row(p.digest, clean(p.overrides), p.error))
    pending = [p for p in planned if not p.error and not _finished(folder, p)]
    waits = {p.digest for p in pending}
    kept = [p.place(folder) for p in planned if not p.error and p.digest not in waits]
    _ask_again(kept)
    _tell_kept(len(kept), len(planned), folder)
    if not pending:
        return
    for p in pending:
        _forget(p.place(folder))
    try:
        n_at_once = int(getattr(launch, "n_at_once", 1))
        with progress([p.cpu_s for p in pending], _left(folder, pending), "scenarios", n_at_once):
            _play(pending, folder, launch)
    except KeyboardInterrupt:
        n_done = sum(_finished(folder, p) for p in planned)
        print(f"interrupted: {n_done} of {len(planned)} scenarios are kept in {folder}; "
              "the same command goes on from there", file=sys.stderr)  # fmt: skip
        raise


def _forget(folder: Path) -> None:
    """Remove the row of a scenario that is to be played, unless another sweep has it in hand or has finished it."""
    with claim(folder, wait=False) as held:
        if held and not is_finished(folder):
            (folder / ROW).unlink(missing_ok=True)


def _play(pending: list[Planned], folder: Path, launch: Launch) -> None:
    """Launch them all together. If a worker dies, a launcher may give up the whole batch: then the rest one by one."""
    error = _launched(pending, folder, launch)
    for p in _without_row(folder, pending):
        if error:
            print("a worker process died; the rest is played one by one", file=sys.stderr)
            error = None
        died = _launched([p], folder, launch) or "left no result"
        for lost in _without_row(folder, [p]):
            row = failed_row(p.digest, clean(p.overrides), f"its process died (out of memory?): {died}")
            write_json(lost.place(folder) / ROW, row)


def _launched(pending: list[Planned], folder: Path, launch: Launch) -> str | None:
    """Why the launcher gave up; None if it did not. Raises ConfigError for machines that cannot play anything."""
    os.environ[PARENT_PID] = str(os.getpid())
    try:
        launch(pending, folder)
    except ConfigError:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return None


def _without_row(folder: Path, planned: list[Planned]) -> list[Planned]:
    return [p for p in planned if not (p.place(folder) / ROW).exists()]


def _left(folder: Path, planned: list[Planned]) -> Callable[[], Weights]:
    """What the scenarios without a row are expected to take, as a function; it looks again at none that has a row."""
    left = list(planned)

    def weights() -> Weights:
        left[:] = _without_row(folder, left)
        return [p.cpu_s for p in left]

    return weights


def _finished(folder: Path, p: Planned) -> bool:
    return is_finished(p.place(folder))


def study_folder(output: dict[str, Any], grid: Sequence[Mapping[str, str]]) -> Path:
    """The folder that was asked for, or one named after what the grid varies, in whatever order."""
    name = output.get("study")
    if name is None:
        keys = {key: None for overrides in grid for key in overrides}
        varied = sorted(key.lstrip("+") for key in keys if len({overrides.get(key) for overrides in grid}) > 1)
        name = re.sub(r"[^\w.]+", "_", "by_" + "_and_".join(varied or ["nothing"])).strip("_")[:80]
    if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
        raise ConfigError(f"output.study = {name!r}: must be a plain folder name of letters, digits, _, . and -")
    return Path(output["dir"]) / name
