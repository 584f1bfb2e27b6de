"""Where the configuration files live: inside `sim/` in an installed wheel, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

from sim.schema import ConfigError


def conf_dir() -> Path:
    """The folder that holds `config.yaml` and the config groups. Raises ConfigError if neither place has one."""
    package = Path(__file__).resolve().parent
    candidates = (package / "conf", package.parent / "conf")
    for candidate in candidates:
        if (candidate / "config.yaml").is_file():
            return candidate
    raise ConfigError(f"no conf folder with config.yaml in {candidates[0]} or {candidates[1]}")
