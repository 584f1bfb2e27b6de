"""The record of a sweep in its folder: which scenarios it has, and of what they were composed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter

from sim.schema import ConfigError
from sim.study.folder import MANIFEST, ROW, SHARD_MANIFESTS, files_hash, is_finished, program_hash, write_json
from sim.study.planned import Planned
from sim.study.saved import checked
from sim.study.shard import Shard


def _name_of_a_folder(name: str) -> str:
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"{name!r} is not the name of a scenario's folder")
    return name


Names = list[Annotated[str, AfterValidator(_name_of_a_folder)]]


class Manifest(BaseModel):
    """What a study.json holds of the last sweep into its folder."""

    model_config = ConfigDict(strict=True)

    digests: Names
    """The folders of all its scenarios, in its order."""
    refused: Names = []
    """Those of them that cannot be played; their rows say why."""
    files: list[str] = []
    """The files that their configurations name."""
    made_of: str | None = None
    """The digest of what they were composed of (see `Source`); None if that is not all there is to them."""
    program: str | None = None
    """The digest of the program that played them, and of the packages that its numbers depend on."""

    def own(self, shard: Shard | None) -> set[str]:
        """The folders of a shard's scenarios; those of all without one."""
        return set(self.digests) if shard is None else shard.own(self.digests)


_MANIFEST = TypeAdapter(Manifest)


def read_manifest(study: Path) -> Manifest | None:
    """The record of a study's last sweep, whichever of its shards have begun; None if there is none.

    Raises ConfigError for one of another form, and for shards of different sweeps.
    """
    shards = {path: found for path in _of_shards(study) if (found := checked(_MANIFEST, path)) is not None}
    if not shards:
        return checked(_MANIFEST, study / MANIFEST)
    first_path, first = next(iter(shards.items()))
    for path, other in shards.items():
        if other.digests != first.digests:
            law = f"{_difference(first, other)} {first_path.name}"
            raise ConfigError(f"{path}: {law}; give the same command to each shard")
    return first


def _difference(first: Manifest, other: Manifest) -> str:
    if other.program != first.program:
        return f"is of another version of the program or its packages ({other.program}, not {first.program}) than"
    return "is of another sweep (other words, configuration files or logs) than"


def read_manifest_of(study: Path, shard: Shard | None) -> Manifest | None:
    """The record that a sweep, or one shard of it, left; None if it left none. Raises ConfigError."""
    return checked(_MANIFEST, _path(study, shard))


def same_sweep(study: Path, source: Source) -> Manifest | None:
    """The record of a sweep with this source, by any of its shards; None if there is none, or if it does not tell which
    scenario is which: some combinations of values may be one and the same."""
    for path in _of_shards(study):
        with suppress(ConfigError):  # of another form, or damaged: it is written anew
            found = checked(_MANIFEST, path)
            if found is not None and found.made_of is not None and len(found.digests) == len(source.points):
                if found.made_of == source.digest(found.files):
                    return found
    return None


def write_manifest(study: Path, manifest: Manifest, shard: Shard | None = None) -> None:
    """Write the record of a sweep, or of one shard of it, into its folder, in place of all but its other shards'."""
    path = _path(study, shard)
    write_json(path, manifest.model_dump())
    same_number = () if shard is None else study.glob(f"study.*_of_{shard.of}.json")
    for old in {study / MANIFEST, *_of_shards(study)} - {path, *same_number}:
        old.unlink(missing_ok=True)


def unfinished_shards(study: Path, lacking: Collection[str]) -> list[Shard]:
    """The shards that these scenarios of a study fall to; [] if it was not played in shards."""
    manifest, paths = read_manifest(study), _of_shards(study)
    if manifest is None or not paths:
        return []
    of = int(paths[0].stem.rpartition("_")[2])
    each = (Shard(number, of) for number in range(1, of + 1))
    return [shard for shard in each if not manifest.own(shard).isdisjoint(lacking)]


def _path(study: Path, shard: Shard | None) -> Path:
    return study / (MANIFEST if shard is None else f"study.{shard.number}_of_{shard.of}.json")


def _of_shards(study: Path) -> list[Path]:
    return sorted(path for path in study.glob(SHARD_MANIFESTS) if re.fullmatch(r"study\.\d+_of_\d+\.json", path.name))


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
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def is_done(study: Path, manifest: Manifest, source: Source, shard: Shard | None = None) -> bool:
    """Whether a sweep on record had this source and has played everything that can be, or its shard has."""
    if manifest.made_of is None or manifest.made_of != source.digest(manifest.files):
        return False
    refused, names = set(manifest.refused), manifest.own(shard)
    return all((study / n / ROW).is_file() if n in refused else is_finished(study / n) for n in names)


def manifest_of(planned: Sequence[Planned], source: Source | None) -> Manifest:
    """The record of a sweep with these scenarios."""
    refused = [p.digest for p in planned if p.error]
    files = sorted({name for p in planned for name in p.files})
    has_code = any(p.code for p in planned)  # The code of a user's own classes is not in a source.
    made_of = None if source is None or has_code else source.digest(files)
    names, program = [p.digest for p in planned], program_hash()[:12]
    return Manifest(digests=names, refused=refused, files=files, made_of=made_of, program=program)
