"""The record of a sweep in its folder: which scenarios it has, and of what they were composed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter

from sim.study.folder import MANIFEST, ROW, files_hash, is_finished, program_hash, write_json
from sim.study.planned import Planned
from sim.study.saved import checked


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


_MANIFEST = TypeAdapter(Manifest)


def read_manifest(study: Path) -> Manifest | None:
    """The record of a study's last sweep; None if there is none. Raises ConfigError for one of another form."""
    return checked(_MANIFEST, study / MANIFEST)


def write_manifest(study: Path, manifest: Manifest) -> None:
    """Write the record of a sweep into its folder, in place of an earlier one."""
    write_json(study / MANIFEST, manifest.model_dump())


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


def is_done(study: Path, manifest: Manifest, source: Source) -> bool:
    """Whether a sweep that is on record in its folder had this source and has played everything that can be."""
    if manifest.made_of is None or manifest.made_of != source.digest(manifest.files):
        return False
    refused = set(manifest.refused)
    return all((study / n / ROW).is_file() if n in refused else is_finished(study / n) for n in manifest.digests)


def manifest_of(planned: Sequence[Planned], source: Source | None) -> Manifest:
    """The record of a sweep with these scenarios."""
    refused = [p.digest for p in planned if p.error]
    files = sorted({name for p in planned for name in p.files})
    has_code = any(p.code for p in planned)  # The code of a user's own classes is not in a source.
    made_of = None if source is None or has_code else source.digest(files)
    return Manifest(digests=[p.digest for p in planned], refused=refused, files=files, made_of=made_of)
