"""`python -m sim`: Hydra in, one output folder out. Every refusal is one line and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sim.conf_path import conf_dir
from sim.schema import ConfigError
from sim.study.refusals import INTERRUPTED, REFUSABLE, exit_code, one_line, refuse_code_in_arguments


def main() -> None:
    """Run `sys.argv`. Exits with 1 if a scenario of a sweep failed, 2 on bad input, 3 if a law is broken, 130 on Ctrl-C."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach this function instead of being printed on the way
    try:
        arguments = _arguments(sys.argv[1:])
        refuse_code_in_arguments(arguments.overrides, _config_folders(arguments))
        from sim.study.job import job  # after the cheap refusals: this loads the simulator

        _hydra_main()(job)()
    except KeyboardInterrupt:
        _leave("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except REFUSABLE as error:
        _leave(one_line(error, _groups()), exit_code(error))


def _hydra_main():
    import hydra

    return hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")


def _arguments(words: Sequence[str]):
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = _refuse_flag
    return parser.parse_args(list(words))


def _refuse_flag(message: str) -> NoReturn:
    raise ConfigError(f"{message}; see python -m sim --help")


def _config_folders(arguments) -> list[Path]:
    """The folders of the user's own YAML files, wherever Hydra is told to find them."""
    named = [arguments.config_dir, arguments.config_path]
    for override in arguments.overrides:
        if override.lstrip("+").startswith("hydra.searchpath="):
            named += [word.removeprefix("file://") for word in override.partition("=")[2].strip("[]").split(",")]
    return [Path(name) for name in named if name and Path(name).is_dir()]


def _groups() -> list[str]:
    return [p.name for p in conf_dir().iterdir() if p.is_dir() and p.name != "hydra"]


def _leave(line: str, code: int) -> NoReturn:
    print(line, file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
