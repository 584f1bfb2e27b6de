"""What contracts are asked of: every file of a config group, and every class of its room that no file shows."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from pydantic import TypeAdapter

import hydra_plugins.sim_grid_sweeper  # noqa: F401  (what a configuration may call)
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
    keys = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if "defaults" not in keys:
        return keys  # most files: to merge nothing into them takes a third of the time of collecting the contracts
    merged: Any = {}
    for name in keys.pop("defaults"):
        part = keys if name == "_self_" else raw(files(path.parent.name)[name])
        merged = OmegaConf.merge(merged, part)
    return OmegaConf.to_container(OmegaConf.create(merged))


def engine_options(name: str, gpu: str = "h100_sxm") -> dict[str, Any]:
    """The keys of an engine file on a card, of which some of its numbers may depend."""
    around = {"engine": raw(files("engine")[name]), "gpu": raw(files("gpu")[gpu])}
    return OmegaConf.to_container(OmegaConf.create(around), resolve=True)["engine"]


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


def write_sample(folder: Path) -> str:
    """A generated log."""
    write_sample_log(str(folder / "log.csv"), requests=4000, seed=3)
    return str(folder / "log.csv")


def write_sample_usage(folder: Path) -> str:
    """A usage report of two days by the hour, busy from eight to six, without the hours in which nothing came."""
    counts = [0 if hour < 6 else 90 if 8 <= hour < 18 else 20 for hour in range(24)] * 2
    rows = [f"{1_770_076_800 + 3600 * i},{n},{n * 1500},{n * 200}\n" for i, n in enumerate(counts) if n]
    (folder / "usage.csv").write_text("start_time,num_model_requests,input_tokens,output_tokens\n" + "".join(rows))
    return str(folder / "usage.csv")


def write_sample_clients(folder: Path) -> str:
    """A day of two of ServeGen's clients: one steady by night and bursty by day, one that comes for two hours."""
    day = [f"{600 * i},0.02,1,Gamma,1,50\n" if i < 48 else f"{600 * i},0.05,3,Weibull,0.4,6\n" for i in range(144)]
    rare = [f"{600 * i},0.1,1.5,Gamma,0.4,25\n" if 60 <= i < 72 else f"{600 * i},0,0,,0,0\n" for i in range(144)]
    lengths = {
        str(21_600 * i): {"input_tokens": "{100: 0.5, 300: 0.5}", "output_tokens": "{50: 1.0}"} for i in range(4)
    }
    lengths["21600"] = {"input_tokens": "{}", "output_tokens": "{}"}
    for name, rows in (("3", day), ("12", rare)):
        (folder / f"chunk-{name}-trace.csv").write_text("".join(rows))
        (folder / f"chunk-{name}-dataset.json").write_text(json.dumps(lengths))
    return str(folder)


def load(base: type[Choice], group: str, name: str, tmp_path: Path, **changes: Any) -> Any:
    """The object of a name of `names`; where a file asks for a log (`path: ???`), a generated one is put in."""
    keys = {"kind": name.removeprefix("kind=")} if name.startswith("kind=") else raw(files(group)[name])
    around = {group: keys | changes, "engine": raw(files("engine")["vllm"])}  # a file may refer to keys of the engine
    keys = OmegaConf.to_container(OmegaConf.create(around), resolve=True)[group]
    if keys.get("path") == "???":
        write = {"rate_profile": write_sample_usage, "client_mix": write_sample_clients}.get(keys["kind"], write_sample)
        keys["path"] = write(tmp_path)
    return TypeAdapter(OneOf[base]).validate_python(keys)
