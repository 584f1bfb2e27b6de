"""The YAML files of the workload's conf groups, as the objects they stand for."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from sim.schema import OneOf
from sim.workload.logs.sample_log import write_sample_log

ROOT = Path(__file__).parents[2]


def names(group: str) -> list[str]:
    found = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
    assert found, f"conf/{group} is empty"
    return found


def load(base: type, group: str, name: str, tmp_path: Path, **changes: Any):
    """The object of conf/<group>/<name>.yaml; where it asks for a log (`path: ???`), a generated one is put in."""
    raw = yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text()) | changes
    if raw.get("path") == "???":
        raw["path"] = str(tmp_path / "log.csv")
        write_sample_log(raw["path"], requests=4000, seed=3)
    return TypeAdapter(OneOf[base]).validate_python(raw)
