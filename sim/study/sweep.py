"""A sweep of the command line: Hydra composes the grid and launches it; then one table, a verdict and figures."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from sim.errors import INTERRUPTED
from sim.schema import ConfigError
from sim.study.collect import collect, write_and_print
from sim.study.grid import Planned, plan, play_grid
from sim.study.job import plain_config


def run_sweep(
    loader: Any, config: DictConfig, params: dict[str, str], arguments: list[str], launcher: Launcher
) -> None:
    """Run every scenario of the grid once. Prints the table; raises SystemExit(1) if any scenario failed.

    `params` are the sweep's own values (of an experiment), overruled by `arguments`. Finished scenarios are
    skipped, failed ones run again. Raises ConfigError, with nothing written, if no scenario of the grid is valid.
    """
    planned = [_composed(loader, config, overrides) for overrides in expand(loader, params, arguments)]

    def launch(some: list[Planned], folder: Path) -> None:
        launcher.launch([_words(p, folder) for p in some], initial_job_idx=0)

    try:
        folder = play_grid(planned, launch)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    table = collect(folder)
    write_and_print(table, folder)
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


def _composed(loader: Any, config: DictConfig, overrides: dict[str, str]) -> Planned:
    composed = loader.load_sweep_config(config, [f"{key}={value}" for key, value in overrides.items()])
    HydraConfig.instance().set_config(composed)
    return plan(overrides, plain_config(composed))


def _words(p: Planned, folder: Path) -> list[str]:
    words = [f"{key}={value}" for key, value in p.overrides.items() if key.lstrip("+") != "output.study"]
    return [*words, f"output.study={folder.name}", f"output.folder='{p.digest}'"]  # quoted: 12e456789012 is a number
