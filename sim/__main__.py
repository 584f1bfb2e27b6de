"""`python -m sim`: Hydra in, one output folder out. Every refusal is one line and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


def main() -> None:
    """Run `sys.argv`. Exit codes: 1 a scenario of a sweep failed, 2 bad input, 3 a broken law, 130 Ctrl-C."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach this function instead of being printed on the way
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:  # also while modules load, so they load inside
        _leave("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _run(words: Sequence[str]) -> None:
    from sim.study.errors import REFUSABLE, exit_code, one_line, refuse_code_in_arguments

    try:
        arguments = _arguments(words)
        refuse_code_in_arguments(arguments.overrides, _config_folders(arguments))
        from sim.study.job import job  # after the cheap refusals: this loads the simulator

        _hydra_main()(job)()
    except REFUSABLE as error:
        _leave(one_line(error, _groups()), exit_code(error))


def _hydra_main():
    import hydra

    from sim.conf_path import conf_dir

    return hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")


def _arguments(words: Sequence[str]):
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = _refuse_flag
    return parser.parse_args(list(words))


def _refuse_flag(message: str) -> NoReturn:
    from sim.schema import ConfigError

    raise ConfigError(f"{message}; see python -m sim --help")


def _config_folders(arguments) -> list[Path]:
    """The folders of the user's own YAML files, wherever Hydra is told to find them."""
    named = [arguments.config_dir, arguments.config_path]
    for override in arguments.overrides:
        if override.lstrip("+").startswith("hydra.searchpath="):
            named += [word.removeprefix("file://") for word in override.partition("=")[2].strip("[]").split(",")]
    return [Path(name) for name in named if name and Path(name).is_dir()]


def _groups() -> list[str]:
    from sim.conf_path import conf_dir

    return [p.name for p in conf_dir().iterdir() if p.is_dir() and p.name != "hydra"]


def _leave(line: str, code: int) -> NoReturn:
    print(line, file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
