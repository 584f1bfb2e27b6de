"""The record of a sweep in its folder: which scenarios it has, and of what they were composed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter

from sim.schema import ConfigError
from sim.study.folder import (
    MANIFEST,
    ROW,
    SHARD_MANIFESTS,
    files_hash,
    is_finished,
    program_hash,
    program_name,
    write_json,
)
from sim.study.planned import Planned
from sim.study.saved import checked
from sim.study.scenario_folders import folders_in
from sim.study.shard import Shard


def _digest(name: str) -> str:
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"{name!r} is not the digest of a scenario")
    return name


Digests = list[Annotated[str, AfterValidator(_digest)]]


class Manifest(BaseModel):
    """What a study.json holds of the last sweep into its folder, or a shard's own file of the shard."""

    model_config = ConfigDict(strict=True)

    digests: Digests
    """All its scenarios, or those of the shard, in the order of the sweep."""
    n_points: int | None = None
    """Of a shard: the scenarios of the whole sweep, counted before any two are found to be the same."""
    sweep: str | None = None
    """Of a shard: the digest of the whole sweep, but for the files and classes that scenarios name."""
    refused: Digests = []
    """Those of the digests that cannot be played; their rows say why."""
    files: list[str] = []
    """The files that their configurations name."""
    rests_on: dict[str, str] = {}
    """Of a shard: a digest of each of these files, and of each class of the user's, by name."""
    made_of: str | None = None
    """The digest of what they were composed of (see `Source`); None if that is not all there is to them."""
    program: str | None = None
    """The digest of the program that played them, and of the packages that its numbers depend on."""
    n_unknown: int = 0
    """Scenarios whose digests are not known, as their shards have not begun."""


_MANIFEST = TypeAdapter(Manifest)


def read_manifest(study: Path) -> Manifest | None:
    """The record of a study's last sweep, put together from whichever of its shards have begun; None if there is none.

    Raises ConfigError for one of another form, and for shards of different sweeps.
    """
    shards = {path: found for path in _of_shards(study) if (found := checked(_MANIFEST, path)) is not None}
    if not shards:
        return checked(_MANIFEST, study / MANIFEST)
    first_path, first = next(iter(shards.items()))
    for path, other in shards.items():
        if law := _difference(first, other):
            raise ConfigError(f"{path}: {law} {first_path.name}; give the same command to each shard")
    own = {_shard_of(path): found.digests for path, found in shards.items()}
    every: list[str | None] = [None] * (first.n_points or 0)
    for shard, names in own.items():
        if len(shard.own(every)) != len(names):
            raise ConfigError(f"{_path(study, shard)}: has {len(names)} scenarios, not those of the shard {shard}")
        every[shard.number - 1 :: shard.of] = names
    known = list(dict.fromkeys(name for name in every if name is not None))
    return first.model_copy(update={"digests": known, "n_unknown": every.count(None)})


def _difference(first: Manifest, other: Manifest) -> str:
    if other.program != first.program:
        return f"is of another version of the program or its packages ({other.program}, not {first.program}) than"
    if other.sweep != first.sweep or other.n_points != first.n_points:
        return "is of another sweep (other words or configuration files) than"
    unlike = [name for name, found in other.rests_on.items() if first.rests_on.get(name, found) != found]
    return f"was played with another {unlike[0]} than" if unlike else ""


def read_manifest_of(study: Path, shard: Shard | None) -> Manifest | None:
    """The record that a sweep, or one shard of it, left; None if it left none. Raises ConfigError."""
    return checked(_MANIFEST, _path(study, shard))


def write_manifest(study: Path, manifest: Manifest, shard: Shard | None = None) -> None:
    """Write the record of a sweep, or of one shard of it, into its folder, in place of all but its other shards'."""
    path = _path(study, shard)
    write_json(path, manifest.model_dump(exclude_defaults=True))
    same_number = () if shard is None else study.glob(f"study.*_of_{shard.of}.json")
    for old in {study / MANIFEST, *_of_shards(study)} - {path, *same_number}:
        old.unlink(missing_ok=True)


def unfinished_shards(study: Path, lacking: Collection[str]) -> list[Shard]:
    """The shards that have not begun, or that these scenarios of a study fall to; [] if it was not played in shards."""
    found = {_shard_of(path): checked(_MANIFEST, path) for path in _of_shards(study)}
    of = max((shard.of for shard in found), default=0)
    missing, every = set(lacking), [Shard(number, of) for number in range(1, of + 1)]
    return [shard for shard in every if (own := found.get(shard)) is None or not missing.isdisjoint(own.digests)]


def _path(study: Path, shard: Shard | None) -> Path:
    return study / (MANIFEST if shard is None else f"study.{shard.number}_of_{shard.of}.json")


def _of_shards(study: Path) -> list[Path]:
    return sorted(path for path in study.glob(SHARD_MANIFESTS) if re.fullmatch(r"study\.\d+_of_\d+\.json", path.name))


def _shard_of(path: Path) -> Shard:
    number, of = path.stem.removeprefix("study.").split("_of_")
    return Shard(int(number), int(of))


@dataclass(frozen=True)
class Source:
    """All that the scenarios of a sweep are composed of, but for the program and the files that they name."""

    points: Sequence[Mapping[str, str]]
    """The values of each scenario by key, in Hydra's grammar."""
    words: Sequence[str]
    """Overrides that all scenarios have beside."""
    configs: str
    """The digest of the configuration files."""

    def digest(self, files: Sequence[str]) -> str:
        """Sixteen hex digits that differ if any scenario may; `files` are those that the configurations name."""
        content = {
            "points": [dict(point) for point in self.points],
            "words": list(self.words),
            "configs": self.configs,
            "program": program_hash(),
            "files": {name: files_hash(name) for name in sorted(files)},
        }
        return _short(content)


def is_done(study: Path, manifest: Manifest, source: Source) -> bool:
    """Whether a sweep or shard on record had this source and has played everything that can be."""
    if manifest.made_of is None or manifest.made_of != source.digest(manifest.files):
        return False
    refused, folders = set(manifest.refused), folders_in(study)
    return all(
        name in folders and ((folders[name] / ROW).is_file() if name in refused else is_finished(folders[name]))
        for name in manifest.digests
    )


def manifest_of(planned: Sequence[Planned], source: Source | None = None) -> Manifest:
    """The record of a sweep with these scenarios."""
    refused = [p.digest for p in planned if p.error]
    files = sorted({name for p in planned for name in p.files})
    has_code = any(p.code for p in planned)  # The code of a user's own classes is not in a source.
    made_of = None if source is None or has_code else source.digest(files)
    names = [p.digest for p in planned]
    return Manifest(digests=names, refused=refused, files=files, made_of=made_of, program=program_name())


def manifest_of_shard(own: Sequence[Planned], source: Source | None, n_points: int, sweep: str) -> Manifest:
    """The record of a shard with these scenarios of the `n_points` that the whole sweep has; `sweep` is its digest."""
    found = manifest_of(own, source)
    rests_on = {name: _short(files_hash(name)) for name in found.files}
    rests_on |= {name: _short(code) for p in own for name, code in p.code.items()}
    return found.model_copy(update={"n_points": n_points, "sweep": sweep, "rests_on": rests_on})


def digest_of_names(planned: Sequence[Planned]) -> str:
    """The digest of a sweep of which nothing is known but its scenarios."""
    return _short([p.digest for p in planned])


def _short(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
