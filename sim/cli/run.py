"""Simulate one scenario, or with -m every combination of the given values (the default verb).

`llm-traffic-sim run [-m] key=value ...`: Hydra composes the configuration from conf/ and the words; results go to a
folder below `output.dir`.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import NoReturn


def main(argv: Sequence[str]) -> int:
    """Simulate what the words describe. Raises SimError, and what Hydra raises, for words that describe nothing."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's errors reach the caller instead of being printed on the way
    parser = _parser()
    arguments = parser.parse_args(list(argv))
    from hydra import version
    from hydra._internal.utils import _run_hydra

    from sim.conf_path import conf_dir
    from sim.hydra_door import hydra_door
    from sim.study.job import job  # This loads the simulator: only after the cheap refusals.

    version.setbase("1.3")  # what `hydra.main(version_base="1.3")` does: no run changes the working directory
    try:
        with hydra_door():
            _run_hydra(arguments, parser, task_function=job, config_path=str(conf_dir()), config_name="config")
    except SystemExit as stop:  # a failed scenario of a sweep, or Hydra after its help
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
