"""Where the configuration files live: beside `sim/` in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from sim.schema import ConfigError


def conf_dir() -> Path:
    """The folder that holds `config.yaml` and the config groups. Raises ConfigError if neither place has one."""
    package = Path(__file__).resolve().parent
    candidates = (package.parent / "conf", package / "conf")
    for candidate in candidates:
        if (candidate / "config.yaml").is_file():
            return candidate
    for candidate in candidates:  # a checkout whose config.yaml is not written yet still has its groups
        if (candidate / "gpu").is_dir():
            return candidate
    raise ConfigError(f"no conf folder with config.yaml in {candidates[0]} or {candidates[1]}")
