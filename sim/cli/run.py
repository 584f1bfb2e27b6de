"""Simulate one scenario, or with -m every combination of the given values (the default verb).

`llm-traffic-sim run [-m] key=value ...`: Hydra composes the configuration from conf/ and the words; results go to a
folder below `output.dir`.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_FOR_HYDRA = ("help", "hydra_help", "cfg", "info", "shell_completion")
"""Flags that ask Hydra for something to read; nothing is simulated."""
_NO_USE = ("config_name", "config_path", "package", "resolve", "experimental_rerun")
"""Flags that Hydra's parser takes and that mean nothing to a simulation."""


def main(argv: Sequence[str]) -> int:
    """Simulate what the words describe. Raises SimError, and what Hydra raises, for words that describe nothing."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's errors reach the caller instead of being printed on the way
    parser = _parser()
    arguments = parser.parse_args(list(argv))
    if any(getattr(arguments, flag) for flag in _FOR_HYDRA):
        return _shown_by_hydra(arguments, parser)
    for flag in _NO_USE:
        if getattr(arguments, flag):
            _refuse_flag(f"--{flag.replace('_', '-')}: means nothing without --help or --cfg")
    if arguments.run and arguments.multirun:
        _refuse_flag("--run and --multirun: one of the two")
    return _play(arguments.overrides, arguments.config_dir, arguments.multirun)


def _play(words: list[str], config_dir: str | None, is_sweep: bool) -> int:
    """Play one scenario, or a sweep if it is asked for, by a flag or by the configuration itself."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    from sim.composer import Composer
    from sim.hydra_door import plain
    from sim.study.shard import split_off

    words, shard = split_off(words)
    composer = Composer(Path(config_dir) if config_dir is not None else None)
    has_axes = any(word.is_sweep_override() for word in OverridesParser.create().parse_overrides(words))
    config = composer.of_sweep(words) if is_sweep or has_axes else composer.composed(words)
    if is_sweep or config.hydra.mode == RunMode.MULTIRUN:
        from sim.study.sweep import run_sweep

        return run_sweep(composer, config, words, shard)
    if shard is not None:
        _refuse_flag(f"shard={shard}: is a part of a sweep; a sweep has the flag -m")
    if has_axes:
        config = composer.composed(words)  # This says what several values need.
    from sim.study.job import run_alone  # This loads the simulator: only after the cheap refusals.

    run_alone(plain(config))
    return 0


def _shown_by_hydra(arguments: Namespace, parser: ArgumentParser) -> int:
    from hydra import version
    from hydra._internal.utils import _run_hydra

    from sim.conf_path import conf_dir
    from sim.hydra_door import hydra_door

    def nothing(config: Any) -> None:
        """Plays nothing: Hydra asks for a function even where it is not to call one."""

    version.setbase("1.3")  # what `hydra.main(version_base="1.3")` does: no run changes the working directory
    try:
        with hydra_door():
            _run_hydra(arguments, parser, task_function=nothing, config_path=str(conf_dir()), config_name="config")
    except SystemExit as stop:  # Hydra, after its help
        return int(stop.code or 0)
    return 0


def _parser() -> ArgumentParser:
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = _refuse_flag  # type: ignore[method-assign]  # Hydra makes the parser, so no subclass can do it.
    return parser


def _refuse_flag(message: str) -> NoReturn:
    from sim.schema import ConfigError

    raise ConfigError(f"{message}; see llm-traffic-sim run --help")
