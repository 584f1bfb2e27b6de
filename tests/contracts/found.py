"""What contracts are asked of: every file of a config group, and every class of its room that no file shows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from sim.schema import Choice, OneOf, kinds_of
from sim.workload.logs.sample_log import write_sample_log

CONFIG_DIRS = [Path(__file__).parents[2] / "conf"]
"""The project's own config groups, and those of `pytest --config-dir`."""


def files(group: str) -> dict[str, Path]:
    """The files of a config group by name."""
    found = {path.stem: path for folder in CONFIG_DIRS for path in sorted((folder / group).glob("*.yaml"))}
    assert found, f"conf/{group} is empty"
    return found


@cache
def raw(path: Path) -> dict[str, Any]:
    """A file's keys, with those of the files of its group that its `defaults` list names put in."""
    keys = yaml.safe_load(path.read_text())
    merged: Any = {}
    for name in keys.pop("defaults", ["_self_"]):
        part = keys if name == "_self_" else raw(files(path.parent.name)[name])
        merged = OmegaConf.merge(merged, part)
    return OmegaConf.to_container(OmegaConf.create(merged))


def example(cls: type[Choice]) -> dict[str, Any]:
    """Keys that make an object of a kind: each required field with the first of the examples that it states."""
    required = {name: field for name, field in cls.model_fields.items() if field.is_required()}
    assert all(field.examples for field in required.values()), f"{cls.__name__}: a required field states no example"
    return {"kind": cls.model_fields["kind"].default} | {n: field.examples[0] for n, field in required.items()}


def names(group: str, base: type[Choice], *, but: type[Choice] | tuple = ()) -> list[str]:
    """The files of a config group and the kinds of `base` that no file shows, without those of class `but`."""
    kinds = {kind: cls for kind, cls in kinds_of(base).items() if not cls.__module__.startswith("tests.")}
    shown = {name: raw(path).get("kind", base.default_kind) for name, path in files(group).items()}
    bare = {f"kind={kind}": kind for kind in kinds if kind not in shown.values()}
    return [name for name, kind in (shown | bare).items() if not (kind in kinds and issubclass(kinds[kind], but))]


def load(base: type[Choice], group: str, name: str, tmp_path: Path, **changes: Any) -> Any:
    """The object of a name of `names`; where a file asks for a log (`path: ???`), a generated one is put in."""
    keys = {"kind": name.removeprefix("kind=")} if name.startswith("kind=") else raw(files(group)[name])
    keys = keys | changes
    if keys.get("path") == "???":
        keys["path"] = str(tmp_path / "log.csv")
        write_sample_log(keys["path"], requests=4000, seed=3)
    return TypeAdapter(OneOf[base]).validate_python(keys)
